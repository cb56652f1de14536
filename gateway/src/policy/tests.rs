//! Decisions end to end: from the text of a policy to an answer, and from one set to the next.

use std::fs;
use std::sync::Arc;

use cedar_policy::{Context, Entities, EntityUid};

use super::*;
use crate::devices::Device;

const TEMPLATES: &str =
    "cardata: dt/cvra/{device}/cardata\ndtc: dt/cvra/{device}/dtc\nown: devices/{device}/{rest...}\n";
const OWN: &str = r#"
@id("own")
permit (principal is Device, action, resource == Template::"own")
when { context has device && context.device == principal.id };
"#;

fn device(id: &str) -> Device {
    Device { id: id.to_owned(), enabled: true, ..Device::default() }
}

fn principal(device: Device) -> Principal {
    Principal::Device(Arc::new(device))
}

/// A directory with this one policy file.
fn directory(cedar: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("templates.yaml"), TEMPLATES).unwrap();
    fs::write(directory.path().join("site.cedar"), cedar).unwrap();
    directory
}

fn policies(cedar: &str) -> Policies {
    Policies::load(Some(directory(cedar).path())).map_err(|problems| format!("{problems:#?}")).unwrap()
}

/// The decision in words: `yes` or `no`, and the reason up to the place of the policy.
fn ask(policies: &Policies, principal: &Principal, action: Action, resource: &str) -> String {
    let resource = Resource::for_action(action, resource).unwrap();
    let decision = policies.decide(&Request { principal, action, resource });
    let policy = decision.reason.policy.as_ref().map_or("-", |policy| policy.id.as_str());
    let template = decision.reason.template.as_deref().unwrap_or("-");
    format!("{} {policy} {template}", if decision.allowed { "yes" } else { "no" })
}

#[test]
fn a_decision_names_its_policy_and_the_type_of_the_topic() {
    let policies = policies(OWN);
    let d1 = principal(device("d1"));
    assert_eq!(ask(&policies, &d1, Action::Publish, "devices/d1/a"), "yes own own");
    assert_eq!(ask(&policies, &d1, Action::Publish, "devices/d2/a"), "no - own");
    assert_eq!(ask(&policies, &d1, Action::Publish, "nobody/knows"), "no - untyped");
    assert_eq!(ask(&policies, &d1, Action::Will, "devices/d1/a"), "yes own own");
    let resource = Resource::Topic("devices/d1/a");
    let reason = policies.decide(&Request { principal: &d1, action: Action::Publish, resource }).reason.to_string();
    assert!(
        reason.starts_with("permitted by `own` (") && reason.ends_with("site.cedar:2), template `own`"),
        "{reason}"
    );
}

#[test]
fn a_filter_is_decided_by_all_that_it_reaches() {
    let all_of_dtc = r#"@id("dtc") permit(principal, action == Action::"subscribe", resource == Template::"dtc");"#;
    let policies = policies(&format!("{OWN}{all_of_dtc}"));
    let d1 = principal(device("d1"));
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "devices/d1/#"), "yes own own");
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "devices/+/a"), "no - own");
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "dt/cvra/+/dtc"), "yes dtc dtc");
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "dt/cvra/d1/+"), "no - cardata");
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "#"), "no - cardata");
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "nobody/#"), "no - untyped");
}

#[test]
fn a_forbid_on_one_value_holds_back_its_messages_and_not_the_wildcard() {
    let policies = policies(
        r#"
@id("all") permit(principal, action in [Action::"subscribe", Action::"receive"], resource == Template::"dtc");
@id("not-d9") forbid(principal, action, resource == Template::"dtc")
when { context has device && context.device == "d9" };
"#,
    );
    let d1 = principal(device("d1"));
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "dt/cvra/+/dtc"), "yes all dtc");
    assert_eq!(ask(&policies, &d1, Action::Subscribe, "dt/cvra/d9/dtc"), "no not-d9 dtc");
    assert_eq!(ask(&policies, &d1, Action::Receive, "dt/cvra/d9/dtc"), "no not-d9 dtc");
    assert_eq!(ask(&policies, &d1, Action::Receive, "dt/cvra/d8/dtc"), "yes all dtc");
}

#[test]
fn groups_attributes_and_tags_reach_the_policies() {
    let policies = policies(
        r#"
@id("group") permit(principal in Group::"testers", action == Action::"publish", resource == Template::"dtc");
@id("type") permit(principal is Device, action == Action::"publish", resource == Template::"cardata")
when { principal has type && principal.type == "car" };
@id("tag") permit(principal is Device, action == Action::"publish", resource == Template::"own")
when { context has device && principal.hasTag("twin") && principal.getTag("twin") == context.device };
@id("parent") permit(principal is Device, action == Action::"receive", resource)
when { context has device && principal has parent && context.device == principal.parent };
"#,
    );
    let attributes = [("type", "car"), ("twin", "d7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let d1 = principal(Device {
        groups: vec!["fleet".to_owned(), "testers".to_owned()],
        attributes: attributes.into(),
        parent: Some("gw".to_owned()),
        ..device("d1")
    });
    let d2 = principal(device("d2"));
    let check = |action, topic, expected| {
        assert_eq!(ask(&policies, &d1, action, topic), expected);
        assert!(ask(&policies, &d2, action, topic).starts_with("no - "));
    };
    check(Action::Publish, "dt/cvra/x/dtc", "yes group dtc");
    check(Action::Publish, "dt/cvra/x/cardata", "yes type cardata");
    check(Action::Publish, "devices/d7/a", "yes tag own");
    check(Action::Receive, "devices/gw/a", "yes parent own");
}

#[test]
fn an_error_of_the_evaluation_is_a_denial_even_beside_a_permit() {
    let overflow = r#"
@id("overflows")
forbid (principal, action == Action::"publish", resource)
when { 9223372036854775807 + 1 == 0 };
"#;
    let policies = policies(&format!("{OWN}{overflow}"));
    let d1 = principal(device("d1"));
    assert_eq!(ask(&policies, &d1, Action::Publish, "devices/d1/a"), "no overflows own");
    let resource = Resource::Topic("devices/d1/a");
    let decision = policies.decide(&Request { principal: &d1, action: Action::Publish, resource });
    assert!(decision.reason.text.starts_with("evaluation error: "), "{}", decision.reason);
    assert_eq!(ask(&policies, &d1, Action::Receive, "devices/d1/a"), "yes own own");
}

#[test]
fn the_gateway_itself_may_do_everything() {
    let policies = policies(r#"forbid (principal, action, resource);"#);
    assert_eq!(ask(&policies, &Principal::Gateway, Action::Publish, "any/thing"), "yes - -");
}

#[test]
fn a_reload_changes_answers_and_the_generation() {
    let directory = directory("");
    let policies = Policies::load(Some(directory.path())).unwrap();
    let d1 = principal(device("d1"));
    assert_eq!(ask(&policies, &d1, Action::Publish, "devices/d1/a"), "no - own");
    fs::write(directory.path().join("site.cedar"), OWN).unwrap();
    let (changed, before) = (policies.changed(), policies.generation());
    assert_eq!(policies.reload(), Ok(Reloaded::Changed { policies: 1, templates: 3 }));
    assert!(policies.generation() > before && changed.has_changed().unwrap());
    assert_eq!(ask(&policies, &d1, Action::Publish, "devices/d1/a"), "yes own own");
    let before = policies.generation();
    assert_eq!(policies.reload(), Ok(Reloaded::Unchanged));
    assert_eq!(policies.generation(), before);
    policies.bump();
    assert!(policies.generation() > before);
}

#[test]
fn a_broken_set_never_replaces_a_good_one() {
    let directory = directory(OWN);
    let policies = Policies::load(Some(directory.path())).unwrap();
    let before = policies.generation();
    let break_with = |name: &str, text: &str, expected: &[(&str, usize)]| {
        fs::write(directory.path().join(name), text).unwrap();
        let problems = policies.reload().unwrap_err();
        let places =
            problems.iter().map(|problem| (problem.file.file_name().unwrap().to_str().unwrap(), problem.line.unwrap()));
        assert_eq!(places.collect::<Vec<_>>(), expected, "{problems:#?}");
        assert_eq!(policies.generation(), before);
        assert_eq!(ask(&policies, &principal(device("d1")), Action::Publish, "devices/d1/a"), "yes own own");
    };
    break_with("a.cedar", "\npermit (principal, action, resource)", &[("a.cedar", 2)]);
    break_with("templates.yaml", "own: devices/{device}/+\n", &[("templates.yaml", 1), ("a.cedar", 2)]);
    fs::remove_file(directory.path().join("a.cedar")).unwrap();
    // A policy on a template that is gone is a mistake, too.
    break_with("templates.yaml", "other: devices/{device}/{rest...}\n", &[("site.cedar", 3)]);
    fs::write(directory.path().join("templates.yaml"), TEMPLATES).unwrap();
    assert_eq!(policies.reload(), Ok(Reloaded::Unchanged));
}

#[test]
fn an_explanation_shows_each_template_and_the_permits_that_nearly_apply() {
    let policies = Policies::load(None).unwrap();
    let d1 = principal(device("d1"));
    let explain = |action, resource| policies.explain(&Request { principal: &d1, action, resource });
    let ids = |asked: &Asked| asked.unmet.iter().map(|policy| policy.id.clone()).collect::<Vec<_>>();

    let foreign = explain(Action::Publish, Resource::Topic("dt/cvra/d2/cardata"));
    let [asked] = foreign.asked.as_slice() else { panic!("{foreign:?}") };
    assert_eq!(asked.pattern.as_deref(), Some("dt/cvra/{device}/cardata"));
    assert_eq!(asked.variables, [("device".to_owned(), "d2".to_owned())]);
    assert_eq!(ids(asked), ["device-publishes-as-itself", "device-publishes-as-its-vehicle"]);

    let wildcard = explain(Action::Subscribe, Resource::Filter("+/+/command"));
    let reached = wildcard.asked.iter().map(|asked| asked.template.as_deref().unwrap()).collect::<Vec<_>>();
    assert_eq!(reached, ["dfu-command", "own"]);
    assert!(wildcard.asked.iter().all(|asked| asked.variables.iter().all(|(name, _)| name == "rest")));
    assert_eq!(ids(&wildcard.asked[0]), ["device-receives-its-commands"]);

    let off = principal(Device { enabled: false, ..device("d1") });
    let resource = Resource::Topic("dt/cvra/d1/cardata");
    let forbidden = policies.explain(&Request { principal: &off, action: Action::Publish, resource });
    assert_eq!(forbidden.decision.reason.policy.as_ref().unwrap().id, "device-disabled");
    assert!(forbidden.asked[0].unmet.is_empty(), "{forbidden:?}");

    let allowed = explain(Action::Connect, Resource::Listener("devices"));
    assert!(allowed.decision.allowed && allowed.asked[0].unmet.is_empty(), "{allowed:?}");
}

/// Requests are not validated when they are decided, so every kind of them is validated here once.
#[test]
fn requests_are_built_as_the_schema_has_them() {
    let set = Compiled::build(Origin::Shipped.read().unwrap()).unwrap();
    let schema = compile::schema(&set.templates).unwrap();
    let full = Device {
        attributes: ["vin", "type", "hardware", "site"].map(|name| (name.to_owned(), "x".to_owned())).into(),
        groups: vec!["fleet".to_owned()],
        parent: Some("gw".to_owned()),
        ..device("d1")
    };
    let topics = [Action::Publish, Action::Will, Action::Subscribe, Action::Receive];
    let areas = [Action::View, Action::Operate, Action::Administer];
    let (name, kind) = ("p".to_owned(), "dfu".to_owned());
    let of = |source, published: Option<String>| {
        let (name, kind, signer) = (name.clone(), kind.clone(), published.clone());
        Principal::Plugin { name, kind, source, repository: published, signer }
    };
    let plugin = of(PluginSource::Builtin, None);
    let published = of(PluginSource::Oci, Some("x".to_owned()));
    let principals = [
        (principal(full), &topics[..]),
        (principal(device("d2")), &topics[..]),
        (Principal::Unverified { id: "u".to_owned() }, &topics[..]),
        (plugin, &topics[..2]),
        (published, &topics[..2]),
        (Principal::Operator { name: "o".to_owned(), roles: vec!["admin".to_owned()] }, &areas[..]),
    ];
    for (principal, actions) in &principals {
        let subject = set.subject(principal).unwrap().unwrap();
        Entities::from_entities(subject.entities.iter().cloned(), Some(&schema)).unwrap();
        let validate = |action: Action, resource: EntityUid, context: Context| {
            let action = format!("Action::{:?}", action.in_policies()).parse().unwrap();
            cedar_policy::Request::new(subject.uid.clone(), action, resource, context, Some(&schema)).unwrap();
        };
        for action in *actions {
            if topics.contains(action) {
                let typed = set.templates.match_topic("devices/d1/a/b");
                let question = set.typed(&subject, *action, typed);
                validate(*action, question.resource.clone(), question.context().unwrap());
                validate(*action, set.typed(&subject, *action, None).resource, Context::empty());
            } else {
                for area in Area::ALL {
                    let question = set.plain(&subject, *action, Resource::Area(area));
                    validate(*action, question.resource, Context::empty());
                }
            }
        }
        if matches!(principal, Principal::Device(_) | Principal::Unverified { .. }) {
            let listener = set.plain(&subject, Action::Connect, Resource::Listener("devices")).resource;
            validate(Action::Connect, listener, Context::empty());
        }
        if matches!(principal, Principal::Plugin { .. }) {
            for (action, resource) in [
                (Action::Import, Resource::Import("state")),
                (Action::Read, Resource::Collection("cardata")),
                (Action::Write, Resource::Collection("alarms")),
            ] {
                validate(action, set.plain(&subject, action, resource).resource, Context::empty());
            }
        }
    }
}
