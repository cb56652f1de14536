//! The imports: one file and one plain trait for each. The gateway implements the trait; only this package knows how a
//! guest reaches it.

pub(crate) mod log;
