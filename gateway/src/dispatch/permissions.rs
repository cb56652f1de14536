//! What a binding's plugin may import, read, write and publish, and what the operator is told when it may not.
//!
//! The answer to a question is kept while the policies stay the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::plugins::{Origin, Source};
use crate::policy::{Action, PluginSource, Policies, Principal, Request, Resource};

/// Answers that are kept of one action; beyond them all are asked for anew.
const MOST_KEPT: usize = 1024;

/// Why a plugin may not do something, and the policy that would let it.
#[derive(Clone, Debug)]
pub struct Denial {
    /// Who may not do what, and why: policy, file and line if there is one.
    pub text: String,
    /// What the operator can add; empty if nothing helps.
    pub remedy: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(out, "; {}", self.remedy) }
    }
}

type Answer = Result<(), Arc<Denial>>;

/// What one plugin may do.
pub struct Permissions {
    principal: Principal,
    policies: Policies,
    generation: u64,
    kept: HashMap<Action, HashMap<String, Answer>>,
}

impl Permissions {
    /// The permissions of a binding's plugin of this kind that came from there.
    pub fn new(binding: &str, kind: &str, origin: &Origin, policies: Policies) -> Self {
        let principal = principal(binding, kind, origin);
        Self { principal, generation: policies.generation(), policies, kept: HashMap::new() }
    }

    /// Another version is asked from now on: what was said of the one before says nothing of it.
    pub(super) fn take_over(&mut self, binding: &str, kind: &str, origin: &Origin) {
        self.principal = principal(binding, kind, origin);
        self.kept.clear();
    }

    /// Whether the plugin may import what its component imports; all that it may not is named.
    pub(super) fn imports(&mut self, imports: &[String]) -> Result<(), Denial> {
        let denied = |import| self.ask(Action::Import, Resource::Import(import)).err();
        let denials: Vec<_> = imports.iter().filter_map(|import| interface(import)).filter_map(denied).collect();
        let Some((first, others)) = denials.split_first() else { return Ok(()) };
        let mut all = Denial::clone(first);
        for Denial { text, remedy } in others.iter().map(AsRef::as_ref) {
            all.text.push_str(&format!("; {text}"));
            all.remedy.push_str(&format!("\n{remedy}"));
        }
        Err(all)
    }

    /// Whether the plugin may do this.
    ///
    /// # Errors
    /// Why not.
    pub fn ask(&mut self, action: Action, resource: Resource<'_>) -> Result<(), Arc<Denial>> {
        // Read before the question, so that an answer is never kept beyond the policies that gave it.
        let generation = self.policies.generation();
        if generation != self.generation {
            self.generation = generation;
            self.kept.clear();
        }
        let (Resource::Topic(name) | Resource::Import(name) | Resource::Collection(name)) = resource else {
            return self.decide(action, resource);
        };
        if let Some(answer) = self.kept.get(&action).and_then(|kept| kept.get(name)) {
            return answer.clone();
        }
        let answer = self.decide(action, resource);
        let kept = self.kept.entry(action).or_default();
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(name.to_owned(), answer.clone());
        answer
    }

    fn decide(&self, action: Action, resource: Resource<'_>) -> Answer {
        let request = Request { principal: &self.principal, action, resource };
        let decision = self.policies.decide(&request);
        if decision.allowed {
            return Ok(());
        }
        let what = match action {
            Action::Publish => "publish to",
            other => other.name(),
        };
        let text = format!("{} may not {what} {resource}: {}", self.principal, decision.reason);
        Err(Arc::new(Denial { text, remedy: self.policies.remedy(&request, &decision) }))
    }
}

fn principal(binding: &str, kind: &str, origin: &Origin) -> Principal {
    let source = match origin.source {
        Source::Builtin => PluginSource::Builtin,
        Source::File => PluginSource::File,
        Source::Oci => PluginSource::Oci,
    };
    let Origin { repository, signer, .. } = origin.clone();
    Principal::Plugin { name: binding.to_owned(), kind: kind.to_owned(), source, repository, signer }
}

/// The name in policies of an import such as `causeway:plugin/log@0.1.0`; none for types, which reach nothing.
pub(super) fn interface(import: &str) -> Option<&str> {
    let name = import.strip_prefix("causeway:plugin/")?.split('@').next()?;
    (name != "types").then_some(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn permissions(policies: &Policies) -> Permissions {
        Permissions::new("alarm", "telemetry", &Origin::new(Source::File, "alarm.wasm"), policies.clone())
    }

    #[test]
    fn an_answer_is_kept_until_the_policies_change() {
        let directory = tempfile::tempdir().unwrap();
        crate::policy::export(directory.path()).unwrap();
        let policies = Policies::load(Some(directory.path())).unwrap();
        let mut permissions = permissions(&policies);
        let mut ask = || permissions.ask(Action::Write, Resource::Collection("alarms"));
        let denial = ask().unwrap_err();
        assert!(denial.text.contains("plugin alarm of kind telemetry may not write alarms: no policy permits it"));
        let (_, policy) = denial.remedy.split_once(": ").unwrap();
        fs::write(directory.path().join("mine.cedar"), policy).unwrap();
        assert!(ask().is_err());
        policies.reload().unwrap();
        assert!(ask().is_ok());
        fs::write(directory.path().join("mine.cedar"), "@id(\"no\") forbid (principal is Plugin, action, resource);")
            .unwrap();
        policies.reload().unwrap();
        let denial = ask().unwrap_err();
        assert!(denial.text.contains("`no`") && denial.text.contains("mine.cedar:1"), "{denial}");
        assert_eq!(denial.remedy, "", "a permit would change nothing");
    }

    #[test]
    fn every_import_without_a_grant_is_named_with_its_policy() {
        let directory = tempfile::tempdir().unwrap();
        crate::policy::export(directory.path()).unwrap();
        let shipped = fs::read_to_string(directory.path().join("plugins.cedar")).unwrap();
        let narrow = shipped.replace(
            "action == Action::\"import\", resource)",
            "action == Action::\"import\", resource == Import::\"log\")",
        );
        fs::write(directory.path().join("plugins.cedar"), narrow).unwrap();
        let policies = Policies::load(Some(directory.path())).unwrap();
        let mut permissions = permissions(&policies);
        let imports =
            |names: &[&str]| names.iter().map(|name| format!("causeway:plugin/{name}@0.1.0-draft")).collect::<Vec<_>>();
        assert!(permissions.imports(&imports(&["types", "log"])).is_ok());
        let denial = permissions.imports(&imports(&["log", "state", "records"])).unwrap_err();
        assert!(denial.text.contains("may not import state") && denial.text.contains("may not import records"));
        assert!(denial.remedy.contains("resource == Import::\"state\");"), "{}", denial.remedy);
        assert!(denial.remedy.contains("resource == Import::\"records\");"), "{}", denial.remedy);
    }
}
