//! A real registry (Debian's `docker-registry`) in a process of its own, and the two programs of others that people
//! push and copy with: `oras` and `skopeo`.
//!
//! Each registry has a loopback address to itself. What a hostile registry does is not its job.

use crate::gateway::own_address;
use crate::pki::Pki;
use crate::{peers, wait};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const PORT: u16 = 5000;
pub const USER: &str = "gateway";
pub const PASSWORD: &str = "a password: with a colon";

/// A running registry; killed when dropped.
pub struct Registry {
    folder: TempDir,
    address: SocketAddr,
    /// The authority of its certificate; none: plain HTTP.
    pki: Option<Pki>,
    child: Option<Child>,
}

impl Registry {
    /// A registry with TLS by an authority of its own, for [`USER`] with [`PASSWORD`] alone; `None` after it said that
    /// the test is skipped.
    pub async fn start() -> Option<Self> {
        let htpasswd = peers::require("htpasswd")?;
        let mut registry = Self::prepare()?;
        registry.pki = Some(Pki::create(&registry.path("pki"), registry.address.ip()));
        let output = Command::new(htpasswd).args(["-Bbn", USER, PASSWORD]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::write(registry.path("htpasswd"), output.stdout).unwrap();
        registry.plug_in().await;
        Some(registry)
    }

    /// A registry without TLS that lets everyone in.
    pub async fn start_plain() -> Option<Self> {
        let mut registry = Self::prepare()?;
        registry.plug_in().await;
        Some(registry)
    }

    fn prepare() -> Option<Self> {
        peers::require("docker-registry")?;
        let folder = tempfile::Builder::new().prefix("causeway-registry-").tempdir().unwrap();
        let address = SocketAddr::new(own_address(), PORT);
        Some(Self { folder, address, pki: None, child: None })
    }

    /// `address:port`, as references name it.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `oci://` and `name` in this registry.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.host())
    }

    /// A file in the registry's folder, which goes when the registry does.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The certificate of its authority.
    ///
    /// # Panics
    /// If the registry has no TLS.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.pki.as_ref().unwrap().authority_file()
    }

    /// What a configuration has to say of it under `registries`.
    #[must_use]
    pub fn config(&self) -> Value {
        if self.pki.is_none() {
            return json!({"host": self.host(), "plain_http": true});
        }
        let password = self.path("password");
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        json!({"host": self.host(), "ca": self.ca(), "username": USER, "password_file": password})
    }

    /// Starts it, again after [`Self::unplug`] with all it had.
    pub async fn plug_in(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let child = Command::new(peers::require("docker-registry").unwrap())
            .arg("serve")
            .arg(self.write_config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait::until("the registry listens", async || TcpStream::connect(self.address).ok()).await;
    }

    /// Kills it; its data stay.
    pub fn unplug(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The file in which it keeps the blob of this hexadecimal SHA-256.
    #[must_use]
    pub fn blob_file(&self, hex: &str) -> PathBuf {
        self.path("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    fn write_config(&self) -> PathBuf {
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": self.path("data")}},
            "http": {"addr": self.host(), "secret": "of one test"},
        });
        if let Some(pki) = &self.pki {
            config["http"]["tls"] = json!({"certificate": pki.path("server.pem"), "key": pki.path("server-key.pem")});
            config["auth"] = json!({"htpasswd": {"realm": "test registry", "path": self.path("htpasswd")}});
        }
        let file = self.path("config.yml");
        fs::write(&file, config.to_string()).unwrap();
        file
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.unplug();
        if std::thread::panicking() {
            eprintln!("the registry's log:\n{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}

/// What `oras` pushes: an artifact of one layer.
pub struct Artifact<'a> {
    pub layer: &'a [u8],
    pub layer_type: &'a str,
    pub config: &'a [u8],
    pub config_type: &'a str,
    pub annotations: &'a [(&'a str, &'a str)],
}

const PUSH: &str = "
import json, sys, oras.client
wanted = json.load(sys.stdin)
client = oras.client.OrasClient(hostname=wanted['host'], insecure=wanted['ca'] is None, tls_verify=wanted['ca'] or False, auth_backend='basic')
if wanted['user']:
    client.auth.set_basic_auth(wanted['user'], wanted['password'])
answer = client.push(target=wanted['target'], files=['layer:' + wanted['layer_type']], manifest_config='config:' + wanted['config_type'],
    manifest_annotations=wanted['annotations'], quiet=True)
print(answer.headers['Docker-Content-Digest'])
";

impl Registry {
    /// Pushes `artifact` as `name` (`repository:tag`) with `oras`, and returns the digest of its manifest; `None` after
    /// it said that the test is skipped.
    #[must_use]
    pub fn push_with_oras(&self, name: &str, artifact: &Artifact<'_>) -> Option<String> {
        let python = peers::python_with("oras", "oras==0.2.43")?;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("layer"), artifact.layer).unwrap();
        fs::write(folder.path().join("config"), artifact.config).unwrap();
        let annotations: serde_json::Map<_, _> =
            artifact.annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let wanted = json!({
            "host": self.host(),
            "ca": self.pki.as_ref().map(Pki::authority_file),
            "user": self.pki.as_ref().map(|_| USER),
            "password": PASSWORD,
            "target": format!("{}/{name}", self.host()),
            "layer_type": artifact.layer_type,
            "config_type": artifact.config_type,
            "annotations": annotations,
        });
        fs::write(folder.path().join("wanted"), wanted.to_string()).unwrap();
        let output = Command::new(python)
            .args(["-c", PUSH])
            .current_dir(folder.path())
            .env("DOCKER_CONFIG", folder.path())
            .stdin(fs::File::open(folder.path().join("wanted")).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// Copies `name` (`repository:tag`) into the OCI layout `folder` with `skopeo`, as `tag` there.
    pub fn copy_to_layout(&self, name: &str, folder: &Path, tag: &str) {
        let registry = format!("docker://{}/{name}", self.host());
        self.skopeo("src", &[&registry, &format!("oci:{}:{tag}", folder.display())]);
    }

    /// Copies `tag` of the OCI layout `folder` to `name` (`repository:tag`) with `skopeo`.
    pub fn copy_from_layout(&self, folder: &Path, tag: &str, name: &str) {
        let registry = format!("docker://{}/{name}", self.host());
        self.skopeo("dest", &[&format!("oci:{}:{tag}", folder.display()), &registry]);
    }

    /// The same, as `docker push` would have pushed it.
    pub fn copy_from_layout_as_docker(&self, folder: &Path, tag: &str, name: &str) {
        let registry = format!("docker://{}/{name}", self.host());
        self.skopeo("dest", &["--format=v2s2", &format!("oci:{}:{tag}", folder.display()), &registry]);
    }

    fn skopeo(&self, side: &str, arguments: &[&str]) {
        let skopeo = peers::require("skopeo").expect("whoever copies has asked for skopeo before");
        let mut command = Command::new(skopeo);
        command.args(["copy", "--insecure-policy"]);
        match &self.pki {
            Some(_) => {
                let trusted = self.path("trusted");
                fs::create_dir_all(&trusted).unwrap();
                fs::copy(self.ca(), trusted.join("ca.crt")).unwrap();
                command.arg(format!("--{side}-cert-dir={}", trusted.display()));
                command.arg(format!("--{side}-creds={USER}:{PASSWORD}"));
            }
            None => {
                command.arg(format!("--{side}-tls-verify=false"));
            }
        }
        let output: Output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
