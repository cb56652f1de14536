//! What ran before is asked about again.

use super::*;
use crate::artifacts::{Access, Settings};
use crate::config::{ArtifactsConfig, TrustConfig};

#[test]
fn a_file_that_ran_runs_again_only_while_files_need_no_signature() {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (dir, lockfile) = (home.path().join("artifacts"), home.path().join("plugins.lock"));
    let artifacts = ArtifactsConfig { dir, lockfile, ..ArtifactsConfig::default() };
    let settings = Settings { artifacts, ..Settings::default() };
    let artifacts = Artifacts::open(&settings, runtime.handle().clone(), Access::Shared).unwrap();
    let plugins = Plugins::without_cache(EngineConfig::default(), Some(artifacts.clone())).unwrap();

    let digest = Digest::of(b"component").to_string();
    plugins.keep(&Binary::of(b"component".as_slice()));
    let came = Origin::new(Source::File, "file:///opt/alarm.wasm").came();
    let again = || plugins.again(&digest, &came, "telemetry");
    assert_eq!(again().unwrap().binary.bytes(), b"component");
    artifacts.retrust(&TrustConfig { unsigned: Vec::new(), ..TrustConfig::default() }).unwrap();
    let told = again().unwrap_err();
    assert!(told.is_refused() && told.to_string().contains("no signature"), "{told}");
    let revoked = TrustConfig { revoked: vec![digest.clone()], ..TrustConfig::default() };
    artifacts.retrust(&revoked).unwrap();
    assert!(again().unwrap_err().is_refused());
}
