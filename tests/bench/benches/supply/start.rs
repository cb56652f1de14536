//! From a reference to an instance that has taken its configuration, as a gateway that starts goes there.

use super::super::plugins::nothing;
use super::SMALL;
use crate::peer::program;
use crate::table::{Table, ms};
use causeway::artifacts::{Access, Artifacts, Settings};
use causeway::config::{ArtifactsConfig, KeyConfig, RegistryConfig, TrustConfig};
use causeway::plugins::{COMPILE, Plugins, PluginsMetrics, Wanted};
use causeway_host::{ChildCompiler, Compiler, EngineConfig, Limits, Setup, TelemetryPlugin};
use causeway_tests::Mutating;
use causeway_tests::artifact::{Artifact, Key, Signature};
use causeway_tests::mutating::Answer;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const STARTS: usize = if SMALL { 3 } else { 20 };
const REPOSITORY: &str = "plugins/telemetry";

/// The three places that a plugin may come from.
pub(super) fn cold() {
    let (registry, key) = (Mutating::plain(), Key::p256());
    let artifact = Artifact::component(causeway_plugins::TELEMETRY, "1.0.0");
    let repository = format!("{}/{REPOSITORY}", registry.host());
    registry.shelf().put(REPOSITORY, "1.0.0", &artifact);
    let signature = Signature::of(&artifact.digest(), &repository, &key);
    registry.shelf().sign(REPOSITORY, &artifact.digest(), &signature);
    let oci = format!("oci://{repository}:1.0.0@{}", artifact.digest());

    let settings = format!(
        "The built-in telemetry plugin ({} KB), as a part of the program and as a signed artifact; {STARTS} times. From \
         nothing open to an instance with its configuration: keys, cache and engine opened, signature and digests verified, \
         native code verified and mapped or made by a compiler in a child, component checked, instance started. Opening \
         alone is the first row. The registry is on loopback, without TLS.",
        causeway_plugins::TELEMETRY.len() / 1000
    );
    let head = ["plugin", "median ms", "slowest ms", "aim ms"];
    let mut table = Table::new("From a reference to a running plugin", &settings, &head);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let home = tempfile::tempdir().unwrap();
    let config = settings_of(home.path(), &registry, &key);
    let mut row = |name: &str, aim: &str, start: &mut dyn FnMut() -> Duration| {
        let mut times: Vec<_> = (0..STARTS).map(|_| start().as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        table.row(vec![name.into(), ms(times[STARTS / 2]), ms(times[STARTS - 1]), aim.into()]);
    };
    let start = |reference: Option<&str>| run(home.path(), &config, &runtime, reference);
    start(Some("builtin:telemetry"));
    row("none: keys, cache and engine alone", "", &mut || start(None));
    row("built-in, compiled before", "5", &mut || start(Some("builtin:telemetry")));
    row("from the registry, nothing known of it", "250", &mut || {
        fs::remove_dir_all(home.path().join("artifacts")).unwrap();
        fs::remove_dir_all(home.path().join("plugins")).unwrap();
        start(Some(&oci))
    });
    registry.mutate(|_, answer| *answer = Answer::new(503, "away"));
    row("cached and compiled before, the registry is away", "5", &mut || start(Some(&oci)));
    table.print();
}

fn settings_of(home: &Path, registry: &Mutating, key: &Key) -> Settings {
    Settings {
        artifacts: ArtifactsConfig {
            dir: home.join("artifacts"),
            lockfile: home.join("plugins.lock"),
            ..ArtifactsConfig::default()
        },
        registries: vec![RegistryConfig {
            host: registry.host(),
            plain_http: true,
            docker_config: false,
            ..RegistryConfig::default()
        }],
        trust: TrustConfig {
            keys: vec![KeyConfig { id: "release".into(), pem: Some(key.public()), ..KeyConfig::default() }],
            ..TrustConfig::default()
        },
    }
}

/// How long it takes until the plugin of a reference runs.
fn run(home: &Path, config: &Settings, runtime: &Runtime, reference: Option<&str>) -> Duration {
    let child = ChildCompiler {
        program: program("causeway"),
        command: COMPILE,
        memory_bytes: 1 << 30,
        time: Duration::from_secs(180),
    };
    let engine = EngineConfig { compiler: Compiler::Child(child), ..EngineConfig::default() };
    let began = Instant::now();
    let artifacts = Artifacts::open(config, runtime.handle().clone(), Access::Gateway).unwrap();
    let plugins = Plugins::open(home, engine, artifacts, PluginsMetrics::default()).unwrap();
    let Some(reference) = reference else { return began.elapsed() };
    let (component, _) = plugins.load(&Wanted::locked("telemetry", reference, None)).unwrap();
    let plugin = TelemetryPlugin::new(plugins.engine(), &component).unwrap();
    let setup = Setup { gateway: "bench".into(), binding: "bench".into(), config: "{}".into() };
    let imports = nothing();
    let instance = plugin.start(&setup, &Limits::default(), imports).unwrap();
    let took = began.elapsed();
    drop(instance);
    took
}
