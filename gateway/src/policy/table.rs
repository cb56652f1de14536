//! Tables of expected decisions: an operator's tests of a policy set.
//!
//! A table names principals and lists requests under `allow` and `deny`, a request as one line: `d1 publish a/b`.
//! A row that cannot be read fails like a row that is decided otherwise: no test passes by mistake.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use causeway_core::topic::{check_filter, check_topic};
use serde::Deserialize;

use super::Problem;
use super::compile::Compiled;
use super::files::File;
use super::problem::problem;
use super::request::{Action, Area, IMPORTS, PluginSource, Principal, Request, Resource};
use crate::devices::Device;

/// What the tables say of a policy set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableReport {
    /// Rows that are decided as expected.
    pub passed: usize,
    /// Rows that are not, and tables that cannot be read.
    pub failed: Vec<Problem>,
}

/// A table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    principals: BTreeMap<String, Written>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

/// A principal as a table writes it: one of the first four keys says which kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    device: Option<String>,
    unverified: Option<String>,
    plugin: Option<String>,
    operator: Option<String>,
    #[serde(default = "enabled")]
    enabled: bool,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    groups: Vec<String>,
    parent: Option<String>,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    source: Option<String>,
    repository: Option<String>,
    signer: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

fn enabled() -> bool {
    true
}

impl Written {
    fn principal(self) -> Option<Principal> {
        match (self.device, self.unverified, self.plugin, self.operator) {
            (Some(id), None, None, None) => Some(Principal::Device(Arc::new(Device {
                id,
                enabled: self.enabled,
                attributes: self.attributes,
                groups: self.groups,
                parent: self.parent,
                ..Device::default()
            }))),
            (None, Some(id), None, None) => Some(Principal::Unverified { id }),
            (None, None, Some(name), None) => {
                let source = self.source.map_or(Some(PluginSource::File), |source| source.parse().ok())?;
                let Self { kind, repository, signer, .. } = self;
                Some(Principal::Plugin { name, kind, source, repository, signer })
            }
            (None, None, None, Some(name)) => Some(Principal::Operator { name, roles: self.roles }),
            _ => None,
        }
    }
}

/// Decides every row of every table.
pub(super) fn run(set: &Compiled, tables: &[File]) -> TableReport {
    let mut report = TableReport::default();
    for file in tables {
        match read(file) {
            Ok((principals, rows)) => {
                for row in rows {
                    match row.failure(set, file, &principals) {
                        None => report.passed += 1,
                        Some(failure) => report.failed.push(failure),
                    }
                }
            }
            Err(failures) => report.failed.extend(failures),
        }
    }
    report
}

type Principals = BTreeMap<String, Principal>;

fn read(file: &File) -> Result<(Principals, Vec<Row>), Vec<Problem>> {
    let table = serde_yaml::from_str::<Table>(&file.text).map_err(|error| {
        let line = error.location().map(|at| at.line());
        vec![problem(&file.path, line, error.to_string(), "a table has `principals`, `allow` and `deny`")]
    })?;
    let mut principals = Principals::new();
    for (name, written) in table.principals {
        let principal = written.principal().ok_or_else(|| {
            let message = format!("the principal `{name}` is not of one kind");
            let remedy = "give it one of `device`, `unverified`, `plugin` and `operator`, with its name; a plugin's `source` is `builtin` or `file`";
            vec![problem(&file.path, None, message, remedy)]
        })?;
        principals.insert(name, principal);
    }
    let rows = |texts: Vec<String>, allowed| texts.into_iter().map(move |text| Row { text, allowed });
    let rows = rows(table.allow, true).chain(rows(table.deny, false)).collect();
    Ok((principals, rows))
}

/// One request and the decision that is expected.
struct Row {
    text: String,
    allowed: bool,
}

impl Row {
    /// What is wrong with the row; nothing if it is decided as expected.
    fn failure(&self, set: &Compiled, file: &File, principals: &Principals) -> Option<Problem> {
        let fail = |message: String, remedy: &str| {
            Some(problem(&file.path, self.line(&file.text), format!("`{}`: {message}", self.text), remedy))
        };
        let request = match parse(&self.text, principals) {
            Ok(request) => request,
            Err(error) => return fail(error, "write `<principal> <action> <topic>`, and the filter `#` as `\"#\"`"),
        };
        let decision = set.decide(&request);
        if decision.allowed == self.allowed {
            return None;
        }
        let word = |allowed| if allowed { "allowed" } else { "denied" };
        let (expected, found) = (word(self.allowed), word(decision.allowed));
        fail(format!("should be {expected}, is {found}: {}", decision.reason), "")
    }

    /// The line of the row in its list.
    fn line(&self, text: &str) -> Option<usize> {
        let list = if self.allowed { "allow:" } else { "deny:" };
        let is_row = |line: &str| line.trim_start().strip_prefix('-').is_some_and(|row| row.trim() == self.text);
        let mut lines = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with(list));
        lines.find_map(|(index, line)| is_row(line).then_some(index + 1))
    }
}

fn parse<'a>(text: &'a str, principals: &'a Principals) -> Result<Request<'a>, String> {
    let mut words = text.splitn(3, ' ');
    let (Some(name), Some(action), Some(resource)) = (words.next(), words.next(), words.next()) else {
        return Err("a row has three parts".to_owned());
    };
    let principal = principals.get(name).ok_or_else(|| format!("there is no principal `{name}` in this table"))?;
    let action = Action::from_str(action)?;
    let resource = resource.trim();
    let bare = resource.strip_prefix('"').and_then(|resource| resource.strip_suffix('"'));
    let resource = Resource::for_action(action, bare.unwrap_or(resource))?;
    Ok(Request { principal, action, resource })
}

impl FromStr for PluginSource {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|source| source.name() == name);
        found.ok_or_else(|| format!("`{name}` is not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|action| action.name() == name);
        found.ok_or_else(|| format!("`{name}` is not one of the actions {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl<'a> Resource<'a> {
    /// Reads what an action is for, as it is written in a table or on a command line.
    pub fn for_action(action: Action, text: &'a str) -> Result<Self, String> {
        match action {
            Action::Connect => Ok(Self::Listener(text)),
            Action::Publish | Action::Will | Action::Receive => {
                check_topic(text).map_err(|error| error.to_string())?;
                Ok(Self::Topic(text))
            }
            Action::Subscribe => {
                check_filter(text).map_err(|error| error.to_string())?;
                Ok(Self::Filter(text))
            }
            Action::Import if IMPORTS.contains(&text) => Ok(Self::Import(text)),
            Action::Import => Err(format!("it is not one of the imports {}", IMPORTS.join(", "))),
            Action::Read | Action::Write if text.is_empty() => Err("a collection has a name".to_owned()),
            Action::Read | Action::Write => Ok(Self::Collection(text)),
            Action::View | Action::Operate | Action::Administer => {
                let area = Area::ALL.into_iter().find(|area| area.name() == text);
                let areas = || Area::ALL.map(Area::name).join(", ");
                area.map(Self::Area).ok_or_else(|| format!("it is not one of the areas {}", areas()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, Policies};
    use super::*;

    const PRINCIPALS: &str = "principals:\n  d1: {device: d1}\n";

    fn check(rows: &str) -> TableReport {
        let text = format!("{PRINCIPALS}{rows}");
        Policies::load(None).unwrap().test(&[File { path: "t.yaml".to_owned(), text }])
    }

    /// The only failure's line and message.
    fn failure(rows: &str) -> (Option<usize>, String) {
        let report = check(rows);
        assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
        (report.failed[0].line, report.failed[0].message.clone())
    }

    #[test]
    fn the_shipped_policies_pass_the_shipped_tables() {
        let report = Policies::load(None).unwrap().test(&Origin::Shipped.tables().unwrap());
        assert_eq!(report.failed, []);
        assert!(report.passed > 60, "{}", report.passed);
    }

    #[test]
    fn a_row_that_is_decided_otherwise_fails_with_line_and_policy() {
        let (line, message) = failure("allow:\n- d1 publish devices/d1/x\ndeny:\n- d1 publish devices/d1/x\n");
        assert_eq!(line, Some(6));
        assert!(
            message.contains("should be denied, is allowed: permitted by `device-uses-its-own-topics`"),
            "{message}"
        );
        let (line, message) = failure("allow:\n- d1 publish devices/d2/x\n");
        assert_eq!(line, Some(4));
        assert!(message.contains("no policy permits it, template `own`"), "{message}");
    }

    #[test]
    fn a_row_that_cannot_be_read_fails() {
        let check = |row: &str, expected: &str| {
            let (_, message) = failure(&format!("deny:\n- {row}\n"));
            assert!(message.contains(expected), "{message}");
        };
        check("d1 publish", "three parts");
        check("d2 publish a", "no principal `d2`");
        check("d1 pubish a", "not one of the actions");
        check("d1 publish a/+", "wildcard");
        check("d1 subscribe a/#/b", "not the last");
        check("d1 view everything", "not one of the areas");
        check("d1 import clock", "not one of the imports");
    }

    #[test]
    fn a_table_that_cannot_be_read_fails() {
        assert!(failure("alow: []\n").1.contains("unknown field"));
        assert!(failure("  x: {}\n").1.contains("not of one kind"));
        assert!(failure("  x: {device: a, plugin: b}\n").1.contains("not of one kind"));
        assert!(failure("  x: {plugin: b, source: registry}\n").1.contains("not of one kind"));
    }
}
