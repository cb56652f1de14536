//! The kind `telemetry`: messages of devices in, rows and publications out.
//!
//! What only this kind needs: the collections that its plugins are granted, and the batch that a plugin gets. When it is
//! called and what becomes of its effects is the business of [`crate::dispatch`].

mod collections;
mod guest;

pub use collections::{CollectionsError, collections};
pub use guest::{Answering, Answers, Asked, Guest, World};

/// The word for this kind in the configuration, in policies and in logs.
pub const KIND: &str = "telemetry";
