//! Which canary a binding is to have: that of its configuration, or what an operator chose over it.

use std::sync::Arc;

use super::tally::Tally;
use super::{CanaryState, CanaryStatus, ChosenCanary, FeedHandle, Stage};
use crate::config::{BindingConfig, CanaryConfig};
use crate::store::choices::CanaryChoice;

/// Why a configured canary does not run although nothing is wrong with it.
const TAKEN_AWAY: &str = "`causeway plugin set --no-shadow` took it away";

/// The place for the canary of one binding.
pub(super) struct Place {
    binding: BindingConfig,
    choice: Option<CanaryChoice>,
    pub(super) running: Option<Running>,
}

/// A canary.
pub(super) struct Running {
    pub(super) config: CanaryConfig,
    pub(super) stage: Arc<Stage>,
}

impl Running {
    /// Whether it is what is wanted, and of use.
    pub(super) fn goes_on(&self, wanted: Option<&CanaryConfig>) -> bool {
        Some(&self.config) == wanted && self.stage.picture().state.reason().is_none()
    }
}

/// The canary that an operator chose, with the bounds of the configuration.
pub(super) fn chosen(binding: &BindingConfig, wanted: &ChosenCanary) -> CanaryConfig {
    let (plugin, signed_as) = (wanted.reference.clone(), wanted.signed_as.clone());
    CanaryConfig { plugin, signed_as, ..binding.canary.clone().unwrap_or_default() }
}

impl Place {
    pub(super) fn new(binding: &BindingConfig, choice: Option<CanaryChoice>) -> Self {
        Self { binding: binding.clone(), choice, running: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.binding.name
    }

    pub(super) fn binding(&self) -> BindingConfig {
        self.binding.clone()
    }

    /// Takes over what the configuration says now; whether an operator's choice is gone with that.
    pub(super) fn configure(&mut self, binding: &BindingConfig) -> bool {
        self.binding = binding.clone();
        let configured = self.configured();
        self.choice.take_if(|choice| choice.configured != configured).is_some()
    }

    fn configured(&self) -> Option<String> {
        self.binding.canary.as_ref().map(|canary| canary.plugin.clone())
    }

    /// What is to be kept of an operator's wish; nothing if the configuration says the same.
    pub(super) fn choice_of(&self, wanted: Option<ChosenCanary>, at_ms: u64) -> Option<CanaryChoice> {
        let same = match (&wanted, &self.binding.canary) {
            (None, None) => true,
            (Some(wanted), Some(canary)) => wanted.reference == canary.plugin && wanted.signed_as == canary.signed_as,
            _ => false,
        };
        let (reference, signed_as) = wanted.map(|wanted| (wanted.reference, wanted.signed_as)).unzip();
        let choice = CanaryChoice { reference, signed_as: signed_as.flatten(), configured: self.configured(), at_ms };
        (!same).then_some(choice)
    }

    pub(super) fn choose(&mut self, choice: Option<CanaryChoice>) {
        self.choice = choice;
    }

    /// The canary that there is to be.
    pub(super) fn wanted(&self) -> Option<CanaryConfig> {
        let Some(choice) = &self.choice else { return self.binding.canary.clone() };
        let (reference, signed_as) = (choice.reference.clone()?, choice.signed_as.clone());
        Some(chosen(&self.binding, &ChosenCanary { reference, signed_as }))
    }

    /// How the canary is; a configured one that an operator took away has ended.
    pub(super) fn status(&self) -> Option<CanaryStatus> {
        let chosen = self.choice.is_some();
        let Some(Running { config, stage }) = &self.running else {
            let plugin = self.configured().filter(|_| chosen)?;
            let state = CanaryState::Ended(TAKEN_AWAY.to_owned());
            return Some(CanaryStatus { plugin, chosen, state, ..CanaryStatus::default() });
        };
        let picture = stage.picture();
        let Tally { against, since_ms, counts, differences, .. } = &picture.tally;
        Some(CanaryStatus {
            plugin: config.plugin.clone(),
            chosen,
            digest: picture.digest.clone(),
            state: picture.state.clone(),
            against: (against.number > 0).then(|| against.digest.clone()),
            since_ms: *since_ms,
            counts: *counts,
            dropped: picture.feed.as_ref().map_or(0, FeedHandle::dropped),
            waiting: picture.feed.as_ref().map_or(0, FeedHandle::waiting),
            state_bytes: picture.state_bytes,
            differences: differences.iter().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(canary: Option<&str>) -> BindingConfig {
        let canary =
            canary.map(|plugin| CanaryConfig { plugin: plugin.to_owned(), differences: 7, ..CanaryConfig::default() });
        BindingConfig { canary, ..BindingConfig::default() }
    }

    /// What a place wants after an operator wished for this over that.
    fn wanted(configured: Option<&str>, wish: Option<&str>) -> (Place, Option<String>) {
        let mut place = Place::new(&binding(configured), None);
        let wish = wish.map(|reference| ChosenCanary { reference: reference.to_owned(), signed_as: None });
        let choice = place.choice_of(wish, 1);
        place.choose(choice);
        let wanted = place.wanted().map(|canary| canary.plugin);
        (place, wanted)
    }

    #[test]
    fn a_choice_goes_over_the_configuration_and_is_none_if_both_say_the_same() {
        for (configured, wish, kept) in [
            (None, None, false),
            (None, Some("a"), true),
            (Some("a"), Some("a"), false),
            (Some("a"), Some("b"), true),
            (Some("a"), None, true),
        ] {
            let (place, wanted) = wanted(configured, wish);
            assert_eq!((wanted.as_deref(), place.choice.is_some()), (wish, kept), "{configured:?} {wish:?}");
        }
    }

    #[test]
    fn a_choice_lasts_until_the_configuration_names_another_canary() {
        let (mut place, _) = wanted(Some("a"), Some("b"));
        assert_eq!(place.wanted().unwrap().differences, 7, "the bounds are those of the configuration");
        assert!(!place.configure(&binding(Some("a"))));
        assert!(place.configure(&binding(None)));
        assert_eq!(place.wanted(), None);
        let (mut place, _) = wanted(None, Some("b"));
        assert!(place.configure(&binding(Some("c"))));
        assert_eq!(place.wanted().unwrap().plugin, "c");
    }

    #[test]
    fn a_configured_canary_that_was_taken_away_is_shown_with_the_reason() {
        let status = wanted(Some("a"), None).0.status().unwrap();
        assert_eq!((status.plugin.as_str(), status.chosen, status.state.word()), ("a", true, "ended"));
        assert!(wanted(None, None).0.status().is_none());
    }
}
