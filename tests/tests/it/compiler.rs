//! Plugins are compiled in a child of the gateway: what a component takes beyond its bounds ends the child, with a line
//! that says which key of the configuration it was.

use crate::setup;
use causeway_tests::bulk::alone as component;
use causeway_tests::{Setup, wait};
use serde_json::json;
use std::fs;
use std::process::{Child, Command, Stdio};

fn with_plugin(component: &[u8]) -> Setup {
    let setup = setup();
    fs::write(setup.path("plugin.wasm"), component).unwrap();
    let filters = ["devices/+/door"];
    setup.set("bindings", json!([{ "name": "doors", "plugin": "plugin.wasm", "filters": filters }]))
}

/// What `causeway check` says of a configuration that it refuses.
fn refused(setup: &Setup) -> String {
    let output = setup.command(&["check", "--config", setup.write_config().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_component_that_takes_too_much_memory_to_compile_is_refused_by_the_name_of_the_bound() {
    let setup = with_plugin(&component(1, 1_000_000)).set("plugins", json!({ "compile_memory": "256MiB" }));
    let said = refused(&setup);
    assert!(said.contains("more than 256 MiB of memory") && said.contains("plugins.compile_memory"), "{said}");
}

#[test]
fn a_component_that_takes_too_long_to_compile_is_refused_by_the_name_of_the_bound() {
    let setup = with_plugin(&component(3_000, 1_000)).set("plugins", json!({ "compile_time": "1s" }));
    let said = refused(&setup);
    assert!(said.contains("compiling the component takes more than 1 s"), "{said}");
    assert!(said.contains("plugins.compile_time"), "{said}");
}

#[test]
fn a_component_that_is_too_large_is_refused_before_it_is_compiled() {
    let setup = with_plugin(&component(1, 1_000)).set("plugins", json!({ "max_component": "1KiB" }));
    assert!(refused(&setup).contains("plugins.max_component"));
}

#[test]
fn what_the_compiler_says_of_a_bad_component_reaches_the_operator() {
    let mut bad = component(1, 10);
    let end = bad.len() - 1;
    bad[end] = 0x06;
    let said = refused(&with_plugin(&bad));
    assert!(said.contains("not a usable WebAssembly component") && said.contains("offset"), "{said}");
}

/// A started program and all that it started.
struct Family(Child);

impl Drop for Family {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The process that this one started to compile.
fn compiler_of(parent: u32) -> Option<u32> {
    let of_parent = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        status.contains(&format!("PPid:\t{parent}\n")) && command.contains("compile-plugin")
    };
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    processes.into_iter().find(of_parent)
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_compiler_ends_with_the_gateway_that_started_it() {
    let setup = with_plugin(&component(8_000, 1_000));
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-under-test"));
    command.args(["check", "--config"]).arg(setup.write_config()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut gateway = Family(command.spawn().unwrap());
    let compiler = wait::until("a compiler", async || compiler_of(gateway.0.id())).await;
    gateway.0.kill().unwrap();
    gateway.0.wait().unwrap();
    let gone =
        || !fs::read_to_string(format!("/proc/{compiler}/status")).is_ok_and(|status| !status.contains("(zombie)"));
    wait::until("the compiler is gone", async || gone().then_some(())).await;
}
