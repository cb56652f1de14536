//! What a plugin would ask the policies for before it runs, and what they would answer today.

use causeway_host::Outline;
use serde_json::{Value as Json, json};

use crate::artifacts::Reference;
use crate::policy::{Action, PluginSource, Policies, Principal, Request, Resource};

/// One import, and what comes of it.
pub(super) struct Grant {
    /// The interface, by its name in policies; the whole name when no plugin of this kind is offered it.
    pub(super) import: String,
    answer: Answer,
}

enum Answer {
    /// The policies permit it.
    Granted(String),
    /// They do not; what to add, if that would help.
    Denied { reason: String, remedy: String },
    /// There is no binding to ask for.
    NotAsked,
    /// It is not offered to plugins of this kind, whatever policies say.
    Refused,
}

impl Grant {
    /// Whether the plugin may have it; unknown without a binding.
    pub(super) const fn allowed(&self) -> Option<bool> {
        match self.answer {
            Answer::Granted(_) => Some(true),
            Answer::Denied { .. } | Answer::Refused => Some(false),
            Answer::NotAsked => None,
        }
    }

    /// For people, in one line.
    pub(super) fn text(&self) -> String {
        match &self.answer {
            Answer::Granted(reason) => format!("granted: {reason}"),
            Answer::Denied { reason, remedy } if remedy.is_empty() => format!("not granted: {reason}"),
            Answer::Denied { reason, remedy } => format!("not granted: {reason}; {remedy}"),
            Answer::NotAsked => "to be granted to the binding".to_owned(),
            Answer::Refused => "refused: plugins of this kind are not offered it".to_owned(),
        }
    }

    pub(super) fn json(&self) -> Json {
        json!({ "import": self.import, "granted": self.allowed(), "reason": self.text() })
    }
}

/// Who would ask: the binding of this name, with a plugin of this kind from this place that this key signed.
pub(super) fn principal(binding: &str, kind: &str, reference: &Reference, signer: Option<String>) -> Principal {
    let source = match reference {
        Reference::Builtin(_) => PluginSource::Builtin,
        Reference::File(_) => PluginSource::File,
        Reference::Registry(_) | Reference::Layout { .. } => PluginSource::Oci,
    };
    let repository = reference.repository_name();
    Principal::Plugin { name: binding.to_owned(), kind: kind.to_owned(), source, repository, signer }
}

/// All imports that reach something, in the component's order, then those that it cannot have.
pub(super) fn grants(outline: &Outline, asks: Option<(&Policies, &Principal)>) -> Vec<Grant> {
    let offered = outline.capabilities().map(|import| Grant { import: import.to_owned(), answer: ask(import, asks) });
    let refused = outline.refused().map(|import| Grant { import: import.to_owned(), answer: Answer::Refused });
    offered.chain(refused).collect()
}

fn ask(import: &str, asks: Option<(&Policies, &Principal)>) -> Answer {
    let Some((policies, principal)) = asks else { return Answer::NotAsked };
    let request = Request { principal, action: Action::Import, resource: Resource::Import(import) };
    let decision = policies.decide(&request);
    let reason = decision.reason.to_string();
    match decision.allowed {
        true => Answer::Granted(reason),
        false => Answer::Denied { reason, remedy: policies.remedy(&request, &decision) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(imports: &[&str]) -> Outline {
        let imports: String = imports.iter().map(|name| format!("(import {name:?} (instance))")).collect();
        let router = "causeway:plugin/telemetry-router@0.1.0-draft";
        let text = format!("(component {imports} (instance $own) (export {router:?} (instance $own)))");
        Outline::read(&wat::parse_str(text).unwrap()).unwrap()
    }

    fn told(imports: &[&str], asks: Option<(&Policies, &Principal)>) -> Vec<(String, Option<bool>)> {
        let grants = grants(&outline(imports), asks);
        grants.iter().map(|grant| (grant.import.clone(), grant.allowed())).collect()
    }

    const LOG: &str = "causeway:plugin/log@0.1.0-draft";
    const TYPES: &str = "causeway:plugin/types@0.1.0-draft";

    #[test]
    fn what_the_policies_permit_is_granted_and_types_need_no_grant() {
        let policies = Policies::load(None).unwrap();
        let principal = principal("alarm", "telemetry", &Reference::File("alarm.wasm".into()), None);
        let asks = Some((&policies, &principal));
        assert_eq!(told(&[LOG, TYPES], asks), [("log".to_owned(), Some(true))]);
        assert_eq!(told(&[LOG, TYPES], None), [("log".to_owned(), None)]);
    }

    #[test]
    fn what_is_not_offered_is_refused_whatever_the_policies_say() {
        let newer = "causeway:plugin/log@9.0.0";
        let told = told(&[LOG, "wasi:io/poll@0.2.0", newer], None);
        let expected = [("log", None), ("wasi:io/poll@0.2.0", Some(false)), (newer, Some(false))];
        assert_eq!(told, expected.map(|(import, allowed)| (import.to_owned(), allowed)));
    }

    #[test]
    fn a_policy_that_is_missing_is_written_out() {
        let folder = tempfile::tempdir().unwrap();
        crate::policy::export(folder.path()).unwrap();
        let file = folder.path().join("plugins.cedar");
        std::fs::write(&file, "").unwrap();
        let policies = Policies::load(Some(folder.path())).unwrap();
        let principal = principal("alarm", "telemetry", &Reference::File("alarm.wasm".into()), None);
        let grants = grants(&outline(&[LOG]), Some((&policies, &principal)));
        let text = grants[0].text();
        assert!(text.starts_with("not granted") && text.contains("Import::\"log\""), "{text}");
    }
}
