//! `causeway policy`: check a policy directory, run its tables, explain a decision, write the shipped set out.
//!
//! All of it works without a gateway, from files and from what the arguments say about the one who asks; an explanation
//! can also be had from the running one.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::client::Client;
use super::output::problem_json;
use super::show::{items, plain};
use super::{ConfigFile, Exit, Failure, Output};
use crate::devices::Device;
use crate::policy::{self, Action, File, PluginSource, Policies, Principal, Request, Resource};

#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Find every mistake in the policies and templates.
    Check(Check),
    /// Decide the tables of expected decisions.
    Test(Test),
    /// Say whether a request is allowed, by which policy, and which policies nearly apply; ends with 1 if it is denied.
    Explain(Box<Explain>),
    /// Write the shipped policies, templates and tables into a directory, to start from.
    Export(Export),
}

impl Policy {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Check(check) => check.run(output),
            Verb::Test(test) => test.run(output),
            Verb::Explain(explain) => explain.run(output),
            Verb::Export(export) => export.run(output),
        }
    }
}

/// Which policies are meant.
#[derive(Debug, Args)]
struct Place {
    /// The policy directory; without it the configuration's, and without that the shipped policies.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Place {
    fn load(&self) -> Result<Policies, Failure> {
        let directory = match &self.dir {
            Some(directory) => Some(directory.clone()),
            None if self.config.file.is_some() || self.config.path().exists() => self.config.load()?.policies.dir,
            None => None,
        };
        Policies::load(directory.as_deref()).map_err(Failure::problems)
    }
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    place: Place,
}

impl Check {
    fn run(self, output: &mut Output) -> Result<(), Failure> {
        let policies = self.place.load()?;
        let (count, templates) = policies.size();
        if output.is_json() {
            output.json(&json!({ "ok": true, "policies": count, "templates": templates }));
        } else {
            output.line(format_args!("{}: ok ({count} policies, {templates} templates)", policies.origin()));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Test {
    #[command(flatten)]
    place: Place,
    /// Tables to decide; without any, those in `tests/` of the policy directory.
    #[arg(value_name = "TABLE")]
    tables: Vec<PathBuf>,
}

impl Test {
    fn run(self, output: &mut Output) -> Result<(), Failure> {
        let policies = self.place.load()?;
        let tables = if self.tables.is_empty() { policies.origin().tables() } else { read(&self.tables) };
        let report = policies.test(&tables.map_err(Failure::problems)?);
        let (passed, failed) = (report.passed, report.failed.len());
        if output.is_json() {
            let problems: Vec<_> = report.failed.iter().map(problem_json).collect();
            output.json(&json!({ "passed": passed, "failed": failed, "problems": problems }));
        } else {
            for problem in &report.failed {
                output.line(problem);
            }
            output.line(format_args!("{passed} passed, {failed} failed"));
        }
        match (passed, failed) {
            (0, 0) => Err(Failure::new(Exit::No, "there are no tables, so nothing was tested")),
            (_, 0) => Ok(()),
            _ => Err(Failure::new(Exit::No, "the policies do not decide as the tables expect")),
        }
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<File>, Vec<crate::config::Problem>> {
    paths.iter().map(|path| File::read(path)).collect()
}

#[derive(Debug, Args)]
struct Export {
    /// The directory; it is made if it is missing, and no file in it is overwritten.
    directory: PathBuf,
}

impl Export {
    fn run(self, output: &mut Output) -> Result<(), Failure> {
        let written = policy::export(&self.directory).map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        if output.is_json() {
            output.json(&json!({ "written": written }));
        } else {
            written.iter().map(|path| path.display()).for_each(|path| output.line(path));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Explain {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    who: Who,
    /// What is known of the device, such as `vin=WVWZZZ1KZAW000001`; may be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", requires = "device", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// A group of the device; may be repeated.
    #[arg(long = "group", value_name = "GROUP", requires = "device")]
    groups: Vec<String>,
    /// The device that this one hangs on.
    #[arg(long, value_name = "DEVICE", requires = "device")]
    parent: Option<String>,
    /// The device is disabled.
    #[arg(long, requires = "device")]
    disabled: bool,
    /// The kind of the plugin.
    #[arg(long, value_name = "KIND", requires = "plugin", default_value = crate::telemetry::KIND)]
    kind: String,
    /// Where the plugin comes from: `builtin`, `file` or `oci`.
    #[arg(long, value_name = "SOURCE", requires = "plugin", default_value = "file")]
    source: PluginSource,
    /// The repository that the plugin was published in, such as `registry.example.com/plugins/alarm`.
    #[arg(long, value_name = "REPOSITORY", requires = "plugin")]
    repository: Option<String>,
    /// The id of the key that signed the plugin.
    #[arg(long, value_name = "KEY", requires = "plugin")]
    signer: Option<String>,
    /// A role of the operator; may be repeated.
    #[arg(long = "role", value_name = "ROLE", requires = "operator")]
    roles: Vec<String>,
    /// Ask the running gateway, which takes what it knows of the device from its registry.
    #[arg(long, requires = "device", conflicts_with_all = ["dir", "attributes", "groups", "parent", "disabled"])]
    live: bool,
    /// The admin socket of the running gateway; without it the one that the configuration names.
    #[arg(long, value_name = "PATH", requires = "live")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    what: What,
}

/// The one who asks.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// A device asks.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// A client of a plain listener asks.
    #[arg(long, value_name = "NAME")]
    unverified: Option<String>,
    /// A plugin asks, by the name of its binding.
    #[arg(long, value_name = "BINDING")]
    plugin: Option<String>,
    /// An operator asks.
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

/// What is asked for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// To connect to a listener.
    #[arg(long, value_name = "LISTENER")]
    connect: Option<String>,
    /// To publish to a topic.
    #[arg(long, value_name = "TOPIC")]
    publish: Option<String>,
    /// To leave a will on a topic.
    #[arg(long, value_name = "TOPIC")]
    will: Option<String>,
    /// To subscribe to a filter.
    #[arg(long, value_name = "FILTER")]
    subscribe: Option<String>,
    /// To be delivered a message of a topic.
    #[arg(long, value_name = "TOPIC")]
    receive: Option<String>,
    /// To import an interface: `log`, `state` or `records`.
    #[arg(long, value_name = "INTERFACE")]
    import: Option<String>,
    /// To read documents of a collection.
    #[arg(long, value_name = "COLLECTION")]
    read: Option<String>,
    /// To put rows into a collection.
    #[arg(long, value_name = "COLLECTION")]
    write: Option<String>,
    /// To look at an area of the gateway.
    #[arg(long, value_name = "AREA")]
    view: Option<String>,
    /// To change an area so that it can be undone.
    #[arg(long, value_name = "AREA")]
    operate: Option<String>,
    /// To change who may do what.
    #[arg(long, value_name = "AREA")]
    administer: Option<String>,
}

impl What {
    fn action(&self) -> Option<(Action, &str)> {
        let asked = [
            (Action::Connect, &self.connect),
            (Action::Publish, &self.publish),
            (Action::Will, &self.will),
            (Action::Subscribe, &self.subscribe),
            (Action::Receive, &self.receive),
            (Action::Import, &self.import),
            (Action::Read, &self.read),
            (Action::Write, &self.write),
            (Action::View, &self.view),
            (Action::Operate, &self.operate),
            (Action::Administer, &self.administer),
        ];
        asked.into_iter().find_map(|(action, name)| Some((action, name.as_deref()?)))
    }
}

impl Explain {
    fn run(self, output: &mut Output) -> Result<(), Failure> {
        let wrong = |message: String| Failure::new(Exit::Usage, message);
        let (action, name) = self.what.action().ok_or_else(|| wrong("nothing is asked for".to_owned()))?;
        let resource = Resource::for_action(action, name).map_err(|error| wrong(format!("`{name}`: {error}")))?;
        let principal = self.principal().ok_or_else(|| wrong("nobody asks".to_owned()))?;
        let request = Request { principal: &principal, action, resource };
        let explanation = if self.live { self.ask(action, name)? } else { self.place.load()?.explain(&request).json() };
        if output.is_json() {
            output.json(&explanation);
        } else {
            print(output, &format!("{principal}: {} {resource}", action.name()), &explanation);
        }
        if explanation["allowed"] == true { Ok(()) } else { Err(Failure::new(Exit::No, "denied")) }
    }

    /// Asks the running gateway, which knows the device and has the policies in force.
    fn ask(&self, action: Action, name: &str) -> Result<Json, Failure> {
        let question = json!({ "device": self.who.device, "action": action.name(), "resource": name });
        let client = Client::new(self.place.config.clone(), self.socket.clone());
        client.change("POST", &["v1", "policies", "explain"], Some(&question))
    }

    fn principal(&self) -> Option<Principal> {
        let Who { device, unverified, plugin, operator } = &self.who;
        let device = device.as_ref().map(|id| {
            Principal::Device(Arc::new(Device {
                id: id.clone(),
                enabled: !self.disabled,
                attributes: self.attributes.iter().cloned().collect(),
                groups: self.groups.clone(),
                parent: self.parent.clone(),
                ..Device::default()
            }))
        });
        let unverified = || unverified.clone().map(|id| Principal::Unverified { id });
        let plugin = || {
            let (kind, source) = (self.kind.clone(), self.source);
            let (repository, signer) = (self.repository.clone(), self.signer.clone());
            plugin.clone().map(|name| Principal::Plugin { name, kind, source, repository, signer })
        };
        let operator = || operator.clone().map(|name| Principal::Operator { name, roles: self.roles.clone() });
        device.or_else(unverified).or_else(plugin).or_else(operator)
    }
}

/// The decision first, then what it is made of.
fn print(output: &mut Output, question: &str, explanation: &Json) {
    let allowed = |decision: &Json| if decision["allowed"] == true { "allowed" } else { "denied" };
    let reason = plain(&explanation["reason"]);
    let by =
        if explanation["policy"].is_null() { String::new() } else { format!(" by {}", place(&explanation["policy"])) };
    let template =
        explanation["template"].as_str().map(|template| format!(", template `{template}`")).unwrap_or_default();
    output.line(format_args!("{}: {reason}{by}{template}", allowed(explanation)));
    output.line(question);
    for asked in items(explanation, "asked") {
        if let Some(template) = asked["template"].as_str() {
            let variables = asked["variables"].as_object().into_iter().flatten();
            let variables: String = variables.map(|(name, value)| format!(", {name}={}", plain(value))).collect();
            let pattern = asked["pattern"].as_str().unwrap_or("no template matches");
            output.line(format_args!("template `{template}` ({pattern}{variables}): {}", allowed(&asked["decision"])));
        }
        for policy in items(asked, "unmet") {
            output.line(format_args!("    {} nearly permits it: a condition does not hold", place(policy)));
        }
    }
}

/// A policy with its place.
fn place(policy: &Json) -> String {
    format!("`{}` ({}:{})", plain(&policy["id"]), plain(&policy["file"]), plain(&policy["line"]))
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
