//! Every test that needs the whole gateway, in one binary: each starts the real program as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../gateway/host/tests/support/guest.rs"]
mod guest;

#[path = "../../gateway/host/tests/support/dfu_guest.rs"]
mod dfu_guest;

mod it {
    mod admin;
    mod bindings;
    mod bounds;
    mod campaigns;
    mod canary;
    mod certificates;
    mod compiler;
    mod crash_points;
    mod deadletters;
    mod dfu;
    mod dfu_devices;
    mod dfu_fleet;
    mod dfu_patches;
    mod dfu_permission;
    mod dfu_plugin;
    mod durability;
    mod examples;
    mod extend;
    mod firmware;
    mod first_light;
    mod hostile;
    mod house;
    mod plugin_artifacts;
    mod policies;
    mod qos;
    mod real_clients;
    mod reasons;
    mod recordings;
    mod registry;
    mod retained;
    mod router_death;
    mod sessions;
    mod state;
    mod store_damage;
    mod supply_chain;
    mod swap;
    mod telemetry;
    mod v5;
    mod wills;
}

use causeway_tests::{Gateway, Setup};

/// What a gateway under test is started with.
fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_causeway-under-test"))
}

/// An open gateway without bindings.
async fn gateway() -> Gateway {
    setup().start().await
}
