//! `policies:` the rules of who may do what.

use std::path::PathBuf;

use super::section::section;

section! {
    /// Who may do what: Cedar policies and topic templates.
    PoliciesConfig {
        /// A folder with a schema, policies and topic templates; without it the shipped ones apply, by which a device has its own topics and nothing else.
        dir: Option<PathBuf> = None => live;
    }
}
