//! The harness of the integration tests: a throw-away PKI, the gateway as a process of its own, devices that speak
//! MQTT byte by byte, a registry that changes one thing of what it serves, and the real clients of others.
//!
//! It knows nothing of the gateway's insides: its encoder and decoder are its own, so that a fault in the gateway's
//! codec cannot hide in the tests. A harness that cannot do its job fails the test that asked for it, hence the panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness fails the test that uses it"
)]

pub mod artifact;
pub mod bulk;
pub mod device;
pub mod disk;
pub mod gateway;
pub mod mutating;
pub mod packet;
pub mod peers;
pub mod pki;
mod process;
pub mod registry;
pub mod simulated;
pub mod vehicle;
pub mod wait;
pub mod wire;

pub use artifact::Artifact;
pub use device::Device;
pub use disk::SmallDisk;
pub use gateway::{Gateway, Setup};
pub use mutating::Mutating;
pub use packet::{Connect, Packet, Publish, Version, Will};
pub use pki::{Identity, Pki};
pub use registry::Registry;
pub use simulated::Simulated;
