//! Where a device's update can be, and the words for it.

/// Where a device's update is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum State {
    /// It is to get nothing.
    #[default]
    Idle,
    /// It is to get a release, and none of it went out.
    Assigned,
    /// Blocks go out.
    Transferring,
    /// It was told to start what it has.
    Swapping,
    /// It runs the release.
    Confirmed,
    /// The last attempt failed.
    Failed,
    /// Too many attempts failed.
    Quarantined,
}

impl State {
    /// All states, in their order.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Assigned,
        Self::Transferring,
        Self::Swapping,
        Self::Confirmed,
        Self::Failed,
        Self::Quarantined,
    ];

    /// The state in a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Assigned => "assigned",
            Self::Transferring => "transferring",
            Self::Swapping => "swapping",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether an attempt has begun and its end is not known.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Transferring | Self::Swapping)
    }
}
