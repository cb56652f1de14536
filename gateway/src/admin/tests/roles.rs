//! Every route with every role.

use super::super::route::Route;
use super::super::routes::ROUTES;
use super::*;
use crate::policy::Action;

fn address(route: &Route) -> String {
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    route.path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_is_open_to_exactly_the_roles_of_its_action() {
    let fixture = fixture();
    for route in ROUTES {
        let least = match route.action {
            Action::View => Role::Viewer,
            Action::Operate => Role::Operator,
            Action::Administer => Role::Admin,
            other => panic!("{}: operators do not {}", route.path, other.name()),
        };
        for role in [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)] {
            let (status, answer) = fixture.ask(role, route.method.word(), &address(route), "{}").await;
            let open = role.is_some_and(|role| role >= least);
            let about = format!("{} {} as {role:?}: {status} {answer}", route.method.word(), route.path);
            assert_eq!(status != 403, open, "{about}");
            assert!(status != 401 && status < 500, "{about}");
        }
    }
}

#[test]
fn only_routes_that_look_use_get() {
    for route in ROUTES {
        let get = route.method == route::Method::Get;
        assert!(!get || !route.changes(), "{} changes something on GET", route.path);
    }
}

#[test]
fn no_two_routes_are_the_same() {
    let mut seen = std::collections::HashSet::new();
    for route in ROUTES {
        assert!(seen.insert((route.method.word(), route.path)), "{} {}", route.method.word(), route.path);
    }
}

#[tokio::test]
async fn a_role_that_policies_do_not_know_of_may_nothing() {
    let fixture = fixture();
    let (status, answer) = fixture.ask(None, "GET", "/v1/status", "").await;
    assert_eq!(status, 403);
    assert!(answer["error"].as_str().unwrap().contains("ops may not view gateway"), "{answer}");
}
