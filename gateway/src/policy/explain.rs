//! Explains a decision: what the request became, which policy decided, and which policies came near.
//!
//! For operators, on demand: it costs many evaluations where a decision costs one.

use causeway_core::template::{Template, Vars};
use cedar_policy::{Effect, Policy, PolicySet};
use serde_json::{Map, Value, json};

use super::compile::Compiled;
use super::evaluate::{Question, Subject};
use super::request::{Action, Decision, PolicySource, Request, Resource};

/// A decision and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// What was asked of the policies: once for a topic, once for each template that a filter reaches.
    pub asked: Vec<Asked>,
}

/// One question to the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The type of the topic; none if it is not about topics.
    pub template: Option<String>,
    /// The template's pattern; none for an untyped topic.
    pub pattern: Option<String>,
    /// The variables that are bound.
    pub variables: Vec<(String, String)>,
    /// The answer to this question.
    pub decision: Decision,
    /// Permits that nearly apply: for this principal, action and resource, with a condition that does not hold. None if
    /// the request is allowed or forbidden, as another permit would change nothing.
    pub unmet: Vec<PolicySource>,
}

impl Explanation {
    /// The explanation as the API and the command line write it.
    pub fn json(&self) -> Value {
        let mut json = decision_json(&self.decision);
        if let Some(json) = json.as_object_mut() {
            json.insert("asked".to_owned(), self.asked.iter().map(Asked::json).collect());
        }
        json
    }
}

impl Asked {
    fn json(&self) -> Value {
        let variables = self.variables.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        json!({
            "template": self.template,
            "pattern": self.pattern,
            "variables": Map::from_iter(variables),
            "decision": decision_json(&self.decision),
            "unmet": self.unmet.iter().map(source_json).collect::<Vec<_>>(),
        })
    }
}

fn decision_json(decision: &Decision) -> Value {
    json!({
        "allowed": decision.allowed,
        "reason": decision.reason.text,
        "template": decision.reason.template,
        "policy": decision.reason.policy.as_deref().map(source_json),
    })
}

fn source_json(policy: &PolicySource) -> Value {
    json!({ "id": policy.id, "file": policy.file, "line": policy.line })
}

impl Compiled {
    /// Decides a request once more, with everything that led to the answer.
    pub(super) fn explain(&self, request: &Request<'_>) -> Explanation {
        let decision = self.decide(request);
        let asked = match self.subject(request.principal) {
            Some(Ok(subject)) => self.asked(&subject, request),
            None | Some(Err(_)) => vec![],
        };
        Explanation { decision, asked }
    }

    fn asked(&self, subject: &Subject, request: &Request<'_>) -> Vec<Asked> {
        let action = request.action;
        match request.resource {
            Resource::Listener(_) | Resource::Area(_) | Resource::Import(_) | Resource::Collection(_) => {
                vec![self.answer(&self.plain(subject, action, request.resource), None)]
            }
            Resource::Topic(topic) => vec![self.answer_typed(subject, action, self.templates.match_topic(topic))],
            Resource::Filter(filter) => {
                let reached = self.templates.intersections(filter);
                if reached.is_empty() {
                    return vec![self.answer_typed(subject, action, None)];
                }
                reached.into_iter().map(|typed| self.answer_typed(subject, action, Some(typed))).collect()
            }
        }
    }

    fn answer_typed(&self, subject: &Subject, action: Action, typed: Option<(&Template, Vars<'_>)>) -> Asked {
        self.answer(&self.typed(subject, action, typed), typed.map(|(template, _)| template.pattern()))
    }

    fn answer(&self, question: &Question<'_>, pattern: Option<&str>) -> Asked {
        let decision = self.ask(question);
        let decided = decision.reason.policy.is_some();
        let unmet = if decided { vec![] } else { self.unmet(question) };
        let bound = question.vars.iter().flat_map(Vars::bound);
        Asked {
            template: question.template.map(str::to_owned),
            pattern: pattern.map(str::to_owned),
            variables: bound.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            decision,
            unmet,
        }
    }

    /// The permits that nearly apply: where to look first.
    fn unmet(&self, question: &Question<'_>) -> Vec<PolicySource> {
        let permits = self.set.policies().filter(|policy| policy.effect() == Effect::Permit);
        let near = permits.filter(|policy| self.is_near(policy, question).unwrap_or(false));
        let mut near =
            near.filter_map(|policy| Some(self.sources.get(policy.id())?.as_ref().clone())).collect::<Vec<_>>();
        near.sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
        near
    }

    /// Whether a policy's scope fits and only a part of its `when` clauses fails, or the only one.
    fn is_near(&self, policy: &Policy, question: &Question<'_>) -> Option<bool> {
        let mut json = policy.to_json().ok()?;
        let clauses = std::mem::take(json.as_object_mut()?.get_mut("conditions")?.as_array_mut()?);
        let holds_with = |clauses: &[Value]| {
            let mut json = json.clone();
            json.as_object_mut()?.insert("conditions".to_owned(), Value::from(clauses));
            let alone = PolicySet::from_policies([Policy::from_json(None, json).ok()?]).ok()?;
            let response = self.evaluate(&alone, question).ok()?;
            Some(response.diagnostics().reason().next().is_some())
        };
        if !holds_with(&[])? {
            return Some(false);
        }
        let failed = clauses.iter().filter(|clause| holds_with(std::slice::from_ref(clause)) == Some(false)).count();
        Some(failed > 0 && (failed < clauses.len() || clauses.len() == 1))
    }
}
