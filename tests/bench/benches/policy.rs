//! What a decision costs: asked of Cedar, and remembered; and how many effects of a plugin are authorised in a second.

use crate::table::{Table, count};
use causeway::devices::Device;
use causeway::dispatch::Permissions as PluginPermissions;
use causeway::mqtt::permissions::{Answer, Permissions};
use causeway::plugins::{Origin, Source};
use causeway::policy::{self, Action, Policies, Principal, Request, Resource};
use causeway_core::message::Message;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COLLECTIONS: [&str; 4] = ["cardata", "latest_telemetry", "dtc", "trip"];

/// Seconds that each figure is taken over.
const SPAN: Duration = Duration::from_secs(2);

pub(crate) fn policy() {
    decisions();
    effects();
}

/// A device that publishes to its own topic.
fn decisions() {
    let settings = "A device publishes to its own topic; the shipped policies, and more of the same shape for other \
                    topics. Remembered: as a connection remembers it.";
    let head = ["policies", "µs asked", "ns remembered", "ratio"];
    let mut table = Table::new("Policy decisions", settings, &head);
    for more in [0, 100, 900] {
        let (_folder, policies) = policies(more);
        let device = Device { id: "d1".into(), enabled: true, ..Device::default() };
        let principal = Principal::Device(Arc::new(device));
        let topic = Message { topic: "dt/cvra/d1/cardata".into(), ..Message::default() }.topic;
        let request =
            Request { principal: &principal, action: Action::Publish, resource: Resource::Topic("dt/cvra/d1/cardata") };
        assert!(policies.decide(&request).allowed);
        let asked = each(|| drop(black_box(policies.decide(black_box(&request)))));
        let mut permissions = Permissions::new(principal.clone());
        let remembered = each(|| assert!(matches!(permissions.publish(&policies, black_box(&topic)), Answer::Allowed)));
        table.row(vec![
            policies.size().0.to_string(),
            format!("{:.1}", asked * 1e6),
            format!("{:.0}", remembered * 1e9),
            count(asked / remembered),
        ]);
    }
    table.print();
}

/// The built-in telemetry plugin puts rows into the collections of vehicles.
fn effects() {
    let settings = "The built-in telemetry plugin puts rows into four collections in turn; the shipped policies. One \
                    thread. Asked: the policies change before each effect.";
    let mut table = Table::new("Effects authorised", settings, &["answers", "effects/s"]);
    let (_folder, policies) = policies(0);
    let origin = Origin::new(Source::Builtin, "builtin:telemetry");
    let mut permissions = PluginPermissions::new("telemetry", "telemetry", &origin, policies.clone());
    let mut next = COLLECTIONS.iter().cycle();
    let mut ask = || {
        let collection = next.next().copied().unwrap_or_default();
        permissions.ask(Action::Write, black_box(Resource::Collection(collection))).expect("it is granted");
    };
    let remembered = each(&mut ask);
    let asked = each(|| {
        policies.bump();
        ask();
    });
    table.row(vec!["remembered".into(), count(1.0 / remembered)]);
    table.row(vec!["asked".into(), count(1.0 / asked)]);
    table.print();
}

/// The shipped policies and so many more.
fn policies(more: usize) -> (tempfile::TempDir, Policies) {
    let folder = tempfile::tempdir().unwrap();
    policy::export(folder.path()).unwrap();
    let mut text = String::new();
    for number in 0..more {
        writeln!(
            text,
            "permit (principal is Device, action == Action::\"publish\", resource == Template::\"own\")\n\
             when {{ context has device && context.device == \"d{number}\" }};"
        )
        .unwrap();
    }
    fs::write(folder.path().join("more.cedar"), text).unwrap();
    let policies = Policies::load(Some(folder.path())).map_err(|problems| problems[0].to_string()).unwrap();
    (folder, policies)
}

/// Seconds of one call.
fn each(mut call: impl FnMut()) -> f64 {
    let (started, mut calls) = (Instant::now(), 0_u64);
    while started.elapsed() < SPAN {
        for _ in 0..100 {
            call();
        }
        calls += 100;
    }
    started.elapsed().as_secs_f64() / calls as f64
}
