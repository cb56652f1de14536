//! From a Rust package or a core module to a component that the gateway takes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use causeway_host::dfu::DfuPlugin;
use causeway_host::{Component, Outline, TelemetryPlugin};
use causeway_plugins::{PROFILE, TARGET};
use serde_json::{Value as Json, json};
use wit_component::ComponentEncoder;

use crate::cli::{Exit, Failure, Output};
use crate::config::{PluginsConfig, Size};
use crate::plugins::{self, Plugins, Wanted};

/// How a component begins; a core module has 1 in place of 13.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Compiles the library of a package as the embedded plugins are compiled, and makes a component of it.
pub(super) fn build(package: &Path, to: Option<PathBuf>, output: &mut Output) -> Result<(), Failure> {
    let module = compile(package)?;
    let named = || module.with_extension("wasm").file_name().map(|name| name.to_string_lossy().replace('_', "-"));
    let to = to.or_else(|| named().map(PathBuf::from)).unwrap_or_else(|| "plugin.wasm".into());
    componentize(&module, &to, output)
}

/// Makes a component of a core module; nothing is left at `to` that the gateway would not take.
pub(super) fn componentize(module: &Path, to: &Path, output: &mut Output) -> Result<(), Failure> {
    let bytes = fs::read(module).map_err(|error| io(module, &error))?;
    let component = encode(module, &bytes)?;
    let unfinished = to.with_extension("part");
    let checked = place(&component, &unfinished, to).inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    show(to, component.len(), &checked, output);
    Ok(())
}

/// The file appears under its name only when it has passed the check.
fn place(component: &[u8], unfinished: &Path, to: &Path) -> Result<Component, Failure> {
    fs::write(unfinished, component).map_err(|error| io(unfinished, &error))?;
    let checked = check(unfinished)?;
    fs::rename(unfinished, to).map_err(|error| io(to, &error))?;
    Ok(checked)
}

fn encode(module: &Path, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    if bytes.starts_with(COMPONENT) {
        return Err(refused(module, "it is a component already: a binding can name it as it is"));
    }
    let mut encoder = ComponentEncoder::default();
    let encoded = encoder.module(bytes).and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| {
        let text = format!("no component comes of it: {error:#}");
        let hint = format!("; plugins have no WASI: compile for {TARGET}");
        refused(module, &if text.contains("wasi") { text + &hint } else { text })
    })
}

/// What the gateway would check when it starts.
fn check(file: &Path) -> Result<Component, Failure> {
    let plugins = Plugins::without_cache(plugins::engine(&PluginsConfig::default()), None)
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let component = plugins.load(&Wanted::locked(crate::telemetry::KIND, &file.to_string_lossy(), None));
    let (component, _) = component.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let bytes = fs::read(file).map_err(|error| io(file, &error))?;
    let outline = Outline::read(&bytes).map_err(|error| refused(file, &error.to_string()))?;
    // What is of no kind is told what the most usual one lacks.
    let checked = match outline.kind() {
        Some("dfu") => DfuPlugin::new(plugins.engine(), &component).map(drop),
        _ => TelemetryPlugin::new(plugins.engine(), &component).map(drop),
    };
    checked.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(component)
}

/// The import list is what the plugin will ask policies for.
fn show(file: &Path, bytes: usize, component: &Component, output: &mut Output) {
    let (file, digest) = (file.display(), component.digest());
    let imports: Vec<_> = component.imports().iter().filter_map(|import| interface(import)).collect();
    if output.is_json() {
        let (file, digest) = (file.to_string(), digest.to_string());
        return output.json(&json!({ "file": file, "bytes": bytes, "digest": digest, "imports": imports }));
    }
    let imports = if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") };
    let kib = u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(1 << 10);
    output.line(format_args!("{file}: {}, imports {imports}, {digest}", Size::kib(kib)));
}

/// The name of an import that has functions: `log` of `causeway:plugin/log@0.1.0-draft`.
fn interface(import: &str) -> Option<&str> {
    let name = import.rsplit('/').next()?.split('@').next()?;
    (name != "types").then_some(name)
}

/// Has cargo compile the library to a core module and tell where it is.
fn compile(package: &Path) -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(package).args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    command.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let failed = |error: std::io::Error| Failure::new(Exit::Usage, format!("cargo in {}: {error}", package.display()));
    let mut child = command.spawn().map_err(failed)?;
    let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    let module = lines.map_while(Result::ok).filter_map(|line| module_of(&line)).last();
    let status = child.wait().map_err(failed)?;
    match module {
        Some(module) if status.success() => Ok(module),
        _ => {
            let text = format!("the package in {} does not compile; see the lines above", package.display());
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

/// The module that a line of cargo's messages speaks of.
fn module_of(line: &str) -> Option<PathBuf> {
    let message: Json = serde_json::from_str(line).ok()?;
    let files = message.get("filenames")?.as_array()?.iter().filter_map(Json::as_str);
    files.map(PathBuf::from).find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

fn io(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("{}: {error}", file.display()))
}

fn refused(file: &Path, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_messages_name_the_module() {
        let artifact = r#"{"reason":"compiler-artifact","filenames":["/t/liba.rlib","/t/a.wasm"]}"#;
        assert_eq!(module_of(artifact), Some("/t/a.wasm".into()));
        assert_eq!(module_of(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(module_of("not json"), None);
    }

    #[test]
    fn what_is_no_module_makes_no_component() {
        for bytes in [b"".as_slice(), b"{}", COMPONENT, b"\0asm\x01\0\0\0\xff"] {
            assert!(encode(Path::new("a.wasm"), bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_import_is_named_without_package_and_version() {
        assert_eq!(interface("causeway:plugin/log@0.1.0-draft"), Some("log"));
        assert_eq!(interface("causeway:plugin/types@0.1.0-draft"), None);
    }
}
