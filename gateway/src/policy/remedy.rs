//! What would permit a request that no policy permits: a policy to paste.
//!
//! For plugins, whose grants are the operator's to write; it names this plugin and this resource and nothing wider.

use super::files::Origin;
use super::request::{Decision, Principal, Request, Resource};

/// What to do about a denial. Nothing when a policy forbids the request, because another would not help.
pub(super) fn remedy(origin: &Origin, request: &Request<'_>, decision: &Decision) -> String {
    if decision.allowed || decision.reason.policy.is_some() {
        return String::new();
    }
    let Some(policy) = permit(request, decision.reason.template.as_deref()) else { return String::new() };
    match origin {
        Origin::Shipped => {
            format!("make `policies.dir` with `causeway policy export` and add to a file there: {policy}")
        }
        Origin::Directory(directory) => {
            format!("add to {}: {policy}", directory.join("plugins.cedar").display())
        }
    }
}

/// The policy, in one line.
fn permit(request: &Request<'_>, template: Option<&str>) -> Option<String> {
    let Principal::Plugin { name, .. } = request.principal else { return None };
    let resource = match request.resource {
        Resource::Import(import) => format!("Import::{import:?}"),
        Resource::Collection(collection) => format!("Collection::{collection:?}"),
        Resource::Topic(_) => format!("Template::{:?}", template?),
        Resource::Filter(_) | Resource::Listener(_) | Resource::Area(_) => return None,
    };
    let action = request.action.name();
    Some(format!("permit (principal == Plugin::{name:?}, action == Action::{action:?}, resource == {resource});"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Action, PluginSource, Policies};
    use super::*;

    fn alarm() -> Principal {
        let (name, kind) = ("alarm".to_owned(), "telemetry".to_owned());
        Principal::Plugin { name, kind, source: PluginSource::File, repository: None, signer: None }
    }

    #[test]
    fn the_policy_that_is_proposed_permits_the_request() {
        let directory = tempfile::tempdir().unwrap();
        crate::policy::export(directory.path()).unwrap();
        let file = directory.path().join("plugins.cedar");
        let policies = Policies::load(Some(directory.path())).unwrap();
        let principal = alarm();
        for (action, resource) in [
            (Action::Write, Resource::Collection("cardata")),
            (Action::Read, Resource::Collection("alarms")),
            (Action::Publish, Resource::Topic("devices/d1/alarm")),
        ] {
            let request = Request { principal: &principal, action, resource };
            let remedy = policies.remedy(&request, &policies.decide(&request));
            let (place, policy) = remedy.split_once(": ").unwrap();
            assert!(place.ends_with("plugins.cedar"), "{remedy}");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, format!("{text}\n{policy}\n")).unwrap();
            policies.reload().unwrap();
            let decision = policies.decide(&request);
            assert!(decision.allowed, "{remedy}");
            assert_eq!(policies.remedy(&request, &decision), "");
        }
    }

    #[test]
    fn without_a_directory_the_remedy_says_how_to_make_one() {
        let policies = Policies::load(None).unwrap();
        let principal = alarm();
        let resource = Resource::Collection("alarms");
        let request = Request { principal: &principal, action: Action::Write, resource };
        let remedy = policies.remedy(&request, &policies.decide(&request));
        assert!(remedy.contains("causeway policy export"), "{remedy}");
    }
}
