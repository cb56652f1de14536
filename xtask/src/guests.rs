//! The one thing that a fresh toolchain may lack: the target that plugins are compiled for.
//!
//! A build script must not change a toolchain, so the task runner does it before cargo starts, and says so.

use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// Adds the target of the plugins when the toolchain does not have it.
///
/// # Errors
/// One line that says what to type, when it is missing and could not be added.
pub(crate) fn ensure_target() -> Result<(), String> {
    if is_installed() {
        return Ok(());
    }
    println!("xtask: adding the compilation target {TARGET}, which the plugins are built for");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status().is_ok_and(|status| status.success());
    if added && is_installed() {
        return Ok(());
    }
    Err(format!("the compilation target {TARGET} is missing; type: rustup target add {TARGET}"))
}

/// Asks the compiler itself, because a toolchain need not come from rustup.
fn is_installed() -> bool {
    let Ok(output) = Command::new("rustc").args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir()
}
