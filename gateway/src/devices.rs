//! Placeholder.

pub use crate::store::devices::DeviceRow as Device;
