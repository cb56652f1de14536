//! A signed plugin in a registry, and a configuration that trusts its key: all is well until a case changes one thing.

use crate::guest;
use causeway_tests::artifact::{Artifact, Key, Signature, digest};
use causeway_tests::{Mutating, Pki, pki};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The repository of the plugin, behind the registry's host.
pub(super) const REPOSITORY: &str = "plugins/doors";

/// Where the registries of these tests are.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The plugin, made once.
pub(super) fn component() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| guest::component("(call $ok (local.get 3))"))
}

/// What a case starts from.
pub(super) struct Scene {
    pub(super) folder: TempDir,
    pub(super) registry: Mutating,
    pub(super) key: Key,
    pub(super) artifact: Artifact,
    pub(super) reference: String,
    /// The repository that the signature names, when the reference is of another place.
    pub(super) signed_as: Option<String>,
    pub(super) config: Value,
    /// Where programs are looked for before the usual places.
    pub(super) programs: Option<PathBuf>,
    /// Other servers of the case; they end with it.
    pub(super) others: Vec<Mutating>,
    /// Where the certificate of a registry over HTTPS comes from.
    pub(super) pki: Option<Pki>,
}

impl Scene {
    /// Everything in order, over plain HTTP.
    pub(super) fn new() -> Self {
        Self::with(Mutating::plain(), json!({ "plain_http": true }))
    }

    /// Everything in order, over HTTPS with a CA that the configuration names.
    pub(super) fn secure() -> Self {
        let mut scene = Self::with(Mutating::plain(), json!({}));
        let pki = Pki::create(&scene.path("pki"), LOOPBACK);
        scene.registry.present(Some(pki.server(&pki::server(LOOPBACK))));
        scene.config["registries"][0]["ca"] = "pki/ca.pem".into();
        scene.pki = Some(pki);
        scene
    }

    /// Everything in order, with another registry and what the configuration says of it.
    pub(super) fn with(registry: Mutating, mut about: Value) -> Self {
        let folder = tempfile::Builder::new().prefix("causeway-test-").tempdir().unwrap();
        let key = Key::p256();
        fs::write(folder.path().join("key.pub"), key.public()).unwrap();
        about["host"] = registry.host().into();
        about["docker_config"] = false.into();
        let config = json!({
            "gateway": { "id": "gateway-under-test" },
            "data_dir": "data",
            "listeners": [{ "name": "plain", "bind": "127.0.0.1:1883", "plain": { "identity": { "client-id": "{client-id}" } } }],
            "artifacts": { "retries": 0, "connect_timeout": "2s", "idle_timeout": "1s", "timeout": "5s" },
            "registries": [about],
            "trust": { "keys": [{ "id": "release", "file": "key.pub" }] },
        });
        let reference = format!("oci://{}/{REPOSITORY}:1.0.0", registry.host());
        let artifact = Artifact::component(component(), "1.0.0");
        let mut scene = Self {
            folder,
            registry,
            key,
            artifact,
            reference,
            signed_as: None,
            config,
            programs: None,
            others: Vec::new(),
            pki: None,
        };
        scene.publish(scene.artifact.clone());
        scene
    }

    /// Another server with the same things on its shelf.
    pub(super) fn other(&mut self) -> &Mutating {
        let other = Mutating::plain();
        other.shelf().put(REPOSITORY, "1.0.0", &self.artifact);
        self.others.push(other);
        self.others.last().unwrap()
    }

    /// Puts an artifact, with a good signature, in the place of the one before.
    pub(super) fn publish(&mut self, artifact: Artifact) {
        let signature = Signature::of(&artifact.digest(), &self.repository(), &self.key);
        let mut shelf = self.registry.shelf();
        shelf.put(REPOSITORY, "1.0.0", &artifact);
        shelf.sign(REPOSITORY, &artifact.digest(), &signature);
        drop(shelf);
        self.artifact = artifact;
    }

    /// The same artifact with a changed manifest, and a good signature of that.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let edited = self.artifact.clone().edit(change);
        self.publish(edited);
    }

    /// Puts another signature in the place of the good one.
    pub(super) fn sign(&self, signature: &Signature) {
        let mut shelf = self.registry.shelf();
        shelf.unsign();
        shelf.sign(REPOSITORY, &self.artifact.digest(), signature);
    }

    /// `host:port/repository`, as signatures name it.
    pub(super) fn repository(&self) -> String {
        format!("{}/{REPOSITORY}", self.registry.host())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `causeway plugin VERB REFERENCE`.
    pub(super) fn plugin(&self, verb: &str) -> Output {
        let mut arguments = vec!["plugin", verb, &self.reference];
        if let Some(repository) = &self.signed_as {
            arguments.extend(["--signed-as", repository]);
        }
        self.run(&arguments)
    }

    /// Runs one command with this configuration.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        fs::write(self.path("causeway.yaml"), self.config.to_string()).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = self.programs.iter().cloned().chain(std::env::split_paths(&path));
        Command::new(env!("CARGO_BIN_EXE_causeway-under-test"))
            .args(arguments)
            .args(["-c", "causeway.yaml"])
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("DOCKER_CONFIG")
            .env("PATH", std::env::join_paths(path).unwrap())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Forgets what was pulled and locked, and what the registry was asked.
    pub(super) fn forget(&self) {
        for name in ["data", "artifacts"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
        self.registry.forget();
    }

    /// The file of a blob in the cache.
    pub(super) fn cached(&self, digest: &str) -> PathBuf {
        self.path("data/artifacts/blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// Fails if the cache holds anything that is not what its name says, or the component although it was refused.
    pub(super) fn assert_nothing_bad_is_cached(&self, name: &str) {
        let component = self.artifact.layer_digest();
        for file in files(&self.path("data/artifacts/blobs")) {
            let bytes = fs::read(&file).unwrap();
            let found = digest(&bytes);
            let told = file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(format!("sha256:{told}"), found, "{name}: {} is in the cache", file.display());
            assert_ne!(found, component, "{name}: the component is in the cache");
        }
    }
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
    }
    found
}

/// One way in which something is not as it should be.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What is special also when all is well.
    pub(super) arrange: fn(&mut Scene),
    /// The one thing that is changed.
    pub(super) change: fn(&mut Scene),
    /// What the one line says.
    pub(super) says: &'static [&'static str],
    pub(super) exit: i32,
    /// What must hold besides.
    pub(super) besides: fn(&Scene),
}

impl Case {
    /// A case of which the registry's answer is believed to be a lie: refused for good.
    pub(super) const fn new(name: &'static str, change: fn(&mut Scene), says: &'static [&'static str]) -> Self {
        Self { name, arrange: |_| {}, change, says, exit: REFUSED, besides: |_| {} }
    }

    /// The exit code of another reason.
    pub(super) const fn exit(self, exit: i32) -> Self {
        Self { exit, ..self }
    }

    /// What is special also when all is well.
    pub(super) const fn arranged(self, arrange: fn(&mut Scene)) -> Self {
        Self { arrange, ..self }
    }

    /// What must hold besides.
    pub(super) const fn besides(self, besides: fn(&Scene)) -> Self {
        Self { besides, ..self }
    }

    /// The unchanged artifact is taken; the changed one is refused by both verbs, and leaves nothing behind.
    fn run(&self) -> Result<(), String> {
        let mut scene = Scene::new();
        (self.arrange)(&mut scene);
        // A file is here already: there is nothing to pull.
        let is_pulled = !scene.reference.starts_with("file://");
        let good = scene.plugin(if is_pulled { "pull" } else { "verify" });
        if !good.status.success() {
            return Err(format!("{}: the good one is refused: {}", self.name, said(&good)));
        }
        if is_pulled && !scene.cached(&scene.artifact.layer_digest()).is_file() {
            return Err(format!("{}: the good one is not in the cache", self.name));
        }
        scene.forget();
        (self.change)(&mut scene);
        for verb in ["verify", "pull"].into_iter().filter(|verb| is_pulled || *verb == "verify") {
            self.judge(verb, &scene.plugin(verb))?;
            scene.assert_nothing_bad_is_cached(self.name);
        }
        (self.besides)(&scene);
        Ok(())
    }

    /// The exit code, and one line with the reason.
    pub(super) fn judge(&self, verb: &str, output: &Output) -> Result<(), String> {
        let said = said(output);
        let right = output.status.code() == Some(self.exit)
            && said.lines().count() == 1
            && said.starts_with("causeway: ")
            && self.says.iter().all(|words| said.contains(words));
        if right { Ok(()) } else { Err(format!("{}: {verb} ends with {}: {said}", self.name, output.status)) }
    }
}

/// The answer is no: it is not trusted, or not there.
pub(super) const REFUSED: i32 = 1;
/// There is nobody to ask.
pub(super) const UNAVAILABLE: i32 = 69;
/// The disk does not play along.
pub(super) const DISK: i32 = 74;

/// Runs all cases and tells of all that did not end as they should.
pub(super) fn check(cases: &[Case]) {
    let wrong: Vec<_> = cases.iter().filter_map(|case| case.run().err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What a command said to people.
pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}
