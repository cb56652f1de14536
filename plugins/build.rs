//! Builds the first-party guests for `wasm32-unknown-unknown`, makes components of them and leaves them in `OUT_DIR`.
//!
//! The guests have a target directory of their own there, so no native build waits for their lock and none of its flags
//! reach them. It never changes the toolchain: a missing target is one line that says what to type.

mod profile;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use profile::{PROFILE, TARGET};
use wit_component::ComponentEncoder;

/// Package of each guest and the name under which it is embedded.
const GUESTS: &[(&str, &str)] = &[("causeway-plugin-dfu", "dfu"), ("causeway-plugin-telemetry", "telemetry")];

/// What a guest is made from, below this folder. Nothing else makes it stale.
const SOURCES: &[&str] = &[
    "build.rs",
    "profile.rs",
    "dfu/Cargo.toml",
    "dfu/src",
    "sdk/Cargo.toml",
    "sdk/src",
    "telemetry/Cargo.toml",
    "telemetry/src",
    "../wit/config.wit",
    "../wit/dfu-handler.wit",
    "../wit/firmware.wit",
    "../wit/log.wit",
    "../wit/records.wit",
    "../wit/state.wit",
    "../wit/telemetry-router.wit",
    "../wit/types.wit",
    "../Cargo.toml",
    "../Cargo.lock",
];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    if let Err(error) = build_guests() {
        println!("cargo::error={error}");
    }
}

fn build_guests() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let plugins = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = plugins.parent().ok_or("the plugins folder lies in the workspace")?;
    require_target()?;
    for (package, name) in GUESTS {
        let module = compile(workspace, &out.join("guests"), package)?;
        let component = ComponentEncoder::default().module(&fs::read(&module)?)?.validate(true).encode()?;
        write_if_changed(&out.join(format!("{name}.wasm")), &component)?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<OsString, String> {
    std::env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}

/// Fails when the standard library of the target is not installed.
fn require_target() -> Result<(), Box<dyn Error>> {
    let mut rustc = Command::new(variable("RUSTC")?);
    forget_outer_build(&mut rustc);
    let answer = rustc.args(["--print", "target-libdir", "--target", TARGET]).output()?;
    if answer.status.success() && Path::new(String::from_utf8(answer.stdout)?.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the target {TARGET} is missing; type: rustup target add {TARGET}").into())
}

/// Compiles one guest to a core module and returns its path.
fn compile(workspace: &Path, target_dir: &Path, package: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(variable("CARGO")?);
    forget_outer_build(&mut cargo);
    cargo.current_dir(workspace).args(["rustc", "--quiet", "--locked", "--release", "--lib"]);
    cargo.args(["--crate-type", "cdylib", "--package", package, "--target", TARGET]);
    cargo.arg("--target-dir").arg(target_dir);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    if !cargo.status()?.success() {
        return Err(format!("the plugin {package} does not compile; see the lines above").into());
    }
    let file = format!("{}.wasm", package.replace('-', "_"));
    Ok(target_dir.join(TARGET).join("release").join(file))
}

/// Removes what the outer build says about itself (flags, profile, clippy as the compiler), but keeps the user's
/// registry, network and toolchain settings and cargo's job server.
fn forget_outer_build(command: &mut Command) {
    const KEPT: &[&str] =
        &["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRY_", "CARGO_REGISTRIES_"];
    const FORGOTTEN: &[&str] =
        &["CARGO_", "RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_LINKER", "CLIPPY_", "DEP_"];
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if is(FORGOTTEN) && !is(KEPT) {
            command.env_remove(name);
        }
    }
}

/// Keeps the file's time when nothing changed, so that what embeds it is not compiled again.
fn write_if_changed(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) { Ok(()) } else { fs::write(path, bytes) }
}
