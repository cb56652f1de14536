//! Why a campaign is not made, shown or changed: each is one line that an operator can act on.

use causeway_core::dfu::campaign::{CommandError, State};
use thiserror::Error;

use crate::store::WriteError;

/// Why a campaign is not made, shown or changed.
#[derive(Debug, Error)]
pub enum CampaignError {
    /// No such campaign.
    #[error("there is no campaign `{0}`")]
    Unknown(String),
    /// There is one already.
    #[error("there is a campaign `{0}` already")]
    Exists(String),
    /// There was one, and its word still counts.
    #[error("`{id}` was a campaign before, and the updates of {devices} devices still go by it; choose another name")]
    Used {
        /// Its id.
        id: String,
        /// Devices that have not been given anything else since.
        devices: u64,
    },
    /// An id outside the grammar.
    #[error("`{0}` is no name for a campaign: 1 to 64 letters, digits and . _ -, beginning with a letter or digit")]
    Name(String),
    /// Devices that are not registered.
    #[error("there is no device {0}")]
    Devices(String),
    /// Nobody.
    #[error("it would be for no device: no registered device is meant")]
    NoDevices,
    /// The bound of the configuration.
    #[error("there may be {0} campaigns (campaigns.max_campaigns); delete some that are over")]
    Full(usize),
    /// The bound of the configuration.
    #[error("campaigns that are not over may have {most} devices (campaigns.max_devices), and would have {devices}")]
    TooManyDevices {
        /// How many they would have.
        devices: u64,
        /// The bound.
        most: usize,
    },
    /// Not now.
    #[error("campaign `{id}`: {error}")]
    Command {
        /// The campaign.
        id: String,
        /// Why not.
        error: CommandError,
    },
    /// It goes on.
    #[error("campaign `{id}` is {state}; abort it before it is deleted", state = .state.word())]
    NotOver {
        /// The campaign.
        id: String,
        /// Its state.
        state: State,
    },
    /// The store's refusal.
    #[error("the change could not be written: {0}")]
    Store(String),
}

impl From<rusqlite::Error> for CampaignError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl<E: Into<Self> + std::fmt::Display> From<WriteError<E>> for CampaignError {
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            error => Self::Store(error.to_string()),
        }
    }
}
