//! The gateway's decisions, as pure functions and small state machines.
//!
//! Nothing here reads a clock, a file or a socket: time and bytes are arguments, so every rule is tested by value.

pub mod coverage;
pub mod dfu;
pub mod digest;
pub mod frame;
pub mod inflight;
pub mod message;
pub mod record;
pub mod selector;
pub mod template;
pub mod topic;
pub mod topic_tree;
pub mod trie;
