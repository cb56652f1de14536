//! Firmware updates of devices: what they say, what they are to get, and what becomes of it.
//!
//! When a plugin is called is the business of [`crate::dispatch`], and which bytes there are is that of
//! [`crate::firmware`].

mod blocks;
#[cfg(feature = "native-dfu")]
#[path = "../../tests/bench/native_dfu.rs"]
mod called;
pub mod campaigns;
mod conversation;
mod desire;
mod desired;
pub mod fleet;
mod guest;
mod ledger;
mod metrics;
mod progress;
mod topics;
mod vehicles;

use std::sync::Arc;

use causeway_core::message::Message;
#[cfg(not(feature = "native-dfu"))]
use causeway_host::dfu as called;

pub use campaigns::{CampaignError, Campaigns, CampaignsMetrics};
pub use conversation::{Conversation, Ground, Status};
pub use desire::Desire;
pub use desired::{Desired, Releases};
pub use fleet::{DeviceView, Filter, Fleet, Line, Sources};
pub use guest::{Asked, Guest};
pub use ledger::Also;
pub use metrics::DfuMetrics;

/// The way of a message to whoever may receive it. It does not wait, and what is not taken is lost: devices ask again.
pub type Publish = Arc<dyn Fn(Message) + Send + Sync>;
