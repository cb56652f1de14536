//! What an operator is told when the store cannot be used: one line, and the command that says more.

use crate::setup;
use causeway_tests::{Gateway, Publish, vehicle, wait};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A gateway that has stored something and was stopped.
async fn stopped() -> Gateway {
    let mut gateway = setup().telemetry().start().await;
    let mut device = gateway.v5("v1").await;
    for number in 1..=20 {
        let payload = vehicle::cardata("v1", number).to_string();
        assert!(device.publish(Publish::new("dt/cvra/v1/cardata", payload, 1)).await < 0x80);
    }
    assert!(gateway.stop().await.success());
    gateway
}

/// The store's file, without the log beside it that would mend what is done to it.
fn file(gateway: &Gateway) -> PathBuf {
    for beside in ["data/store.sqlite-wal", "data/store.sqlite-shm"] {
        drop(fs::remove_file(gateway.setup().path(beside)));
    }
    gateway.setup().path("data/store.sqlite")
}

/// Starting ends at once, and says these things in one line.
async fn refuses_to_start(gateway: &mut Gateway, words: &[&str]) {
    let before = gateway.log().len();
    gateway.launch_only();
    wait::until("the end of the process", async || (!gateway.is_alive()).then_some(())).await;
    let log = gateway.log();
    let said = log.get(before..).unwrap_or(&log);
    let errors: Vec<_> = said.lines().filter(|line| line.contains("store verify")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(words.iter().all(|word| errors[0].contains(word)), "{said}");
}

#[tokio::test]
async fn a_whole_store_is_found_whole() {
    let gateway = stopped().await;
    let output = gateway.setup().command(&["store", "verify"]);
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{found}");
    assert!(found.contains("collections") && found.contains("records in"), "{found}");
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_said_to_be_damaged() {
    let mut gateway = stopped().await;
    // The header stays, so that it is still a database; the root of its schema does not.
    let damaged = fs::File::options().write(true).open(file(&gateway)).unwrap();
    damaged.write_all_at(&[0xff; 512], 100).unwrap();
    refuses_to_start(&mut gateway, &["is damaged"]).await;
    assert!(!gateway.setup().command(&["store", "verify"]).status.success());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let mut gateway = stopped().await;
    fs::write(file(&gateway), "not a database ".repeat(1000)).unwrap();
    refuses_to_start(&mut gateway, &["is damaged"]).await;
}

#[tokio::test]
async fn a_store_that_another_process_has_locked_is_refused() {
    let mut gateway = stopped().await;
    let holder = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    holder.execute_batch("pragma locking_mode = exclusive; begin exclusive").unwrap();
    refuses_to_start(&mut gateway, &["is locked by another process"]).await;
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_told_who_has_it() {
    let gateway = setup().telemetry().start().await;
    let output = gateway.setup().command(&["run"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains(&format!("in use by process {}", gateway.pid())), "{said}");
}
