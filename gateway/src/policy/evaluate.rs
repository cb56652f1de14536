//! Decides a request: types the topic, builds the few entities that the request needs, asks Cedar.
//!
//! Nothing is looked up: the principal brings its attributes and groups along, and a template's variables are in the
//! context. Requests are built here as the schema has them, so they are not validated again; a test does that.

use std::borrow::Cow;
use std::error::Error;

use causeway_core::coverage::{Coverage, coverage};
use causeway_core::template::{Template, UNTYPED, Vars};
use cedar_policy::{
    AuthorizationError, Context, Decision as Verdict, Entities, Entity, EntityId, EntityTypeName, EntityUid, Response,
    RestrictedExpression,
};

use super::compile::{Compiled, Names};
use super::request::{Action, Decision, Principal, Reason, Request, Resource};
use crate::devices::Device;

/// The attributes of a device that the schema names; all others are tags.
const NAMED_ATTRIBUTES: [&str; 3] = ["vin", "type", "hardware"];

/// The principal of a request, as Cedar sees it.
pub(super) struct Subject {
    pub uid: EntityUid,
    pub entities: Entities,
}

/// A principal, an action and a resource for Cedar.
pub(super) struct Question<'a> {
    pub subject: &'a Subject,
    pub action: Action,
    pub resource: EntityUid,
    pub vars: Option<Vars<'a>>,
    pub template: Option<&'a str>,
}

impl Question<'_> {
    /// The variables that are bound; the others are absent.
    pub(super) fn context(&self) -> Result<Context, Box<dyn Error>> {
        let bound = self.vars.iter().flat_map(Vars::bound);
        Ok(Context::from_pairs(bound.map(|(name, value)| (name.to_owned(), string(value))))?)
    }
}

impl Compiled {
    /// Answers a request.
    pub(super) fn decide(&self, request: &Request<'_>) -> Decision {
        let Some(subject) = self.subject(request.principal) else { return owner() };
        let subject = match subject {
            Ok(subject) => subject,
            Err(error) => return denial(None, format!("evaluation error: {error}").into()),
        };
        match request.resource {
            Resource::Listener(_) | Resource::Area(_) | Resource::Import(_) | Resource::Collection(_) => {
                self.ask(&self.plain(&subject, request.action, request.resource))
            }
            Resource::Topic(topic) => {
                self.ask(&self.typed(&subject, request.action, self.templates.match_topic(topic)))
            }
            Resource::Filter(filter) => self.decide_filter(&subject, request.action, filter),
        }
    }

    /// Applies the coverage rule, and keeps the answer that decided.
    fn decide_filter(&self, subject: &Subject, action: Action, filter: &str) -> Decision {
        let mut last = None;
        let covered = coverage(&self.templates, filter, |template, vars| {
            let decision = self.ask(&self.typed(subject, action, Some((template, *vars))));
            last.insert(decision).allowed
        });
        match (covered, last) {
            (Coverage::Covered | Coverage::Uncovered(..), Some(decision)) => decision,
            _ => self.ask(&self.typed(subject, action, None)),
        }
    }

    /// A question about a resource that is only a name.
    pub(super) fn plain<'a>(&self, subject: &'a Subject, action: Action, resource: Resource<'_>) -> Question<'a> {
        let (kind, name) = match resource {
            Resource::Listener(name) => (&self.names.listener, name),
            Resource::Import(name) => (&self.names.import, name),
            Resource::Collection(name) => (&self.names.collection, name),
            Resource::Area(area) => (&self.names.area, area.name()),
            Resource::Topic(name) | Resource::Filter(name) => (&self.names.template, name),
        };
        Question { subject, action, resource: uid(kind, name), vars: None, template: None }
    }

    /// A question about a topic of this type, or of none.
    pub(super) fn typed<'a>(
        &self,
        subject: &'a Subject,
        action: Action,
        typed: Option<(&'a Template, Vars<'a>)>,
    ) -> Question<'a> {
        let template = typed.map_or(UNTYPED, |(template, _)| template.name());
        let resource = uid(&self.names.template, template);
        Question { subject, action, resource, vars: typed.map(|(_, vars)| vars), template: Some(template) }
    }

    /// Asks Cedar. An error of any policy's evaluation is a denial: Cedar itself would go on without that policy.
    pub(super) fn ask(&self, question: &Question<'_>) -> Decision {
        let response = match self.evaluate(&self.set, question) {
            Ok(response) => response,
            Err(error) => return denial(question.template, format!("evaluation error: {error}").into()),
        };
        let diagnostics = response.diagnostics();
        if let Some(AuthorizationError::PolicyEvaluationError(error)) = diagnostics.errors().next() {
            let mut decision = denial(question.template, format!("evaluation error: {}", error.inner()).into());
            decision.reason.policy = self.sources.get(error.policy_id()).cloned();
            return decision;
        }
        // Several policies may have led to the answer; the first by place is named, so that it is always the same.
        let sources = diagnostics.reason().filter_map(|id| self.sources.get(id));
        let policy = sources.min_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line))).cloned();
        let allowed = response.decision() == Verdict::Allow;
        let text = match (allowed, policy.is_some()) {
            (true, _) => "permitted",
            (false, true) => "forbidden",
            (false, false) => "no policy permits it",
        };
        let template = question.template.map(str::to_owned);
        Decision { allowed, reason: Reason { policy, template, text: Cow::Borrowed(text) } }
    }

    /// Evaluates these policies for a question.
    pub(super) fn evaluate(
        &self,
        set: &cedar_policy::PolicySet,
        question: &Question<'_>,
    ) -> Result<Response, Box<dyn Error>> {
        let context = question.context()?;
        let action = uid(&self.names.action, question.action.in_policies());
        let request =
            cedar_policy::Request::new(question.subject.uid.clone(), action, question.resource.clone(), context, None)?;
        Ok(self.authorizer.is_authorized(&request, set, &question.subject.entities))
    }

    /// The principal as an entity; none for the gateway itself.
    pub(super) fn subject(&self, principal: &Principal) -> Option<Result<Subject, Box<dyn Error>>> {
        let entity = entity(&self.names, principal)?;
        Some(entity.and_then(|entity| {
            let uid = entity.uid();
            Ok(Subject { uid, entities: Entities::from_entities([entity], None)? })
        }))
    }
}

fn entity(names: &Names, principal: &Principal) -> Option<Result<Entity, Box<dyn Error>>> {
    let parents = |kind, parents: &[String]| parents.iter().map(|parent| uid(kind, parent)).collect();
    let entity = match principal {
        Principal::Gateway => return None,
        Principal::Device(device) => {
            let groups: Vec<_> = parents(&names.group, &device.groups);
            Entity::new_with_tags(uid(&names.device, &device.id), attributes(device), groups, tags(device))
        }
        Principal::Unverified { id } => {
            let attributes = [("id".to_owned(), string(id))].into();
            Entity::new(uid(&names.unverified, id), attributes, Default::default())
        }
        Principal::Plugin { name, kind, source, repository, signer } => {
            let always = [("name", name.as_str()), ("kind", kind), ("source", source.name())];
            let published = [("repository", repository), ("signer", signer)];
            let published = published.iter().filter_map(|(attribute, value)| Some((*attribute, value.as_deref()?)));
            let attributes = always.into_iter().chain(published);
            let attributes = attributes.map(|(attribute, value)| (attribute.to_owned(), string(value))).collect();
            Entity::new(uid(&names.plugin, name), attributes, Default::default())
        }
        Principal::Operator { name, roles } => {
            let attributes = [("name".to_owned(), string(name))].into();
            let roles = roles.iter().map(|role| uid(&names.role, role)).collect();
            Entity::new(uid(&names.operator, name), attributes, roles)
        }
    };
    Some(entity.map_err(Into::into))
}

fn attributes(device: &Device) -> Vec<(String, RestrictedExpression)> {
    let mut attributes = vec![
        ("id".to_owned(), string(&device.id)),
        ("enabled".to_owned(), RestrictedExpression::new_bool(device.enabled)),
    ];
    let named =
        NAMED_ATTRIBUTES.iter().filter_map(|name| Some(((*name).to_owned(), string(device.attributes.get(*name)?))));
    attributes.extend(named);
    attributes.extend(device.parent.as_ref().map(|parent| ("parent".to_owned(), string(parent))));
    attributes
}

fn tags(device: &Device) -> impl Iterator<Item = (String, RestrictedExpression)> {
    let free = device.attributes.iter().filter(|(name, _)| !NAMED_ATTRIBUTES.contains(&name.as_str()));
    free.map(|(name, value)| (name.clone(), string(value)))
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn string(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn owner() -> Decision {
    let text = Cow::Borrowed("the gateway itself may do everything");
    Decision { allowed: true, reason: Reason { policy: None, template: None, text } }
}

fn denial(template: Option<&str>, text: Cow<'static, str>) -> Decision {
    Decision { allowed: false, reason: Reason { policy: None, template: template.map(str::to_owned), text } }
}
