//! `devices:` how devices become known.

use super::section::section;
use super::setting::choice;

section! {
    /// How devices become known.
    DevicesConfig {
        /// `explicit`: only devices that were added may connect; `on-first-connect`: a valid certificate adds its device.
        registration: Registration = Registration::Explicit => restart;
        /// Devices that may be known.
        max_devices: usize = 100_000 => restart, in 1..=10_000_000, hit "causeway_devices_refused_total";
        /// Devices whose last refusals are remembered for `causeway device show`; sixteen each.
        max_refusal_devices: usize = 1_000 => restart, in 1..=1_000_000;
    }
}

choice! {
    /// How a device becomes known.
    Registration {
        /// An operator adds it.
        Explicit = "explicit",
        /// Its first connection with a valid certificate adds it.
        OnFirstConnect = "on-first-connect",
    }
}
