//! Reads `templates.yaml`: a mapping of names to patterns in the order in which they are tried.

use causeway_core::template::{Template, Templates};
use serde_yaml::{Mapping, Value};

use super::Problem;
use super::files::File;
use super::problem::problem;

const SHAPE: &str = "write one `name: pattern` for each template, such as `cardata: dt/cvra/{device}/cardata`";

/// Reads the templates of a set; one that an earlier one makes unreachable is a problem, as a policy on it would never
/// take effect.
pub(super) fn read(file: &File) -> Result<Templates, Vec<Problem>> {
    let problem = |line, message: String, remedy: &str| problem(&file.path, line, message, remedy);
    let mapping = serde_yaml::from_str::<Option<Mapping>>(&file.text)
        .map_err(|error| vec![problem(error.location().map(|at| at.line()), error.to_string(), SHAPE)])?
        .unwrap_or_default();
    let (mut templates, mut problems) = (vec![], vec![]);
    for (name, pattern) in &mapping {
        let (Value::String(name), Value::String(pattern)) = (name, pattern) else {
            let line = name.as_str().and_then(|name| line_of(&file.text, name));
            problems.push(problem(line, "a name or a pattern is not a string".to_owned(), SHAPE));
            continue;
        };
        match Template::parse(name, pattern) {
            Ok(template) => templates.push(template),
            Err(error) => problems.push(problem(line_of(&file.text, name), format!("{name}: {error}"), "")),
        }
    }
    let templates = Templates::new(templates).map_err(|error| vec![problem(None, error.to_string(), "")])?;
    for shadowed in templates.shadowed() {
        let (name, by) = (shadowed.template.name(), shadowed.by.name());
        let message =
            format!("no topic ever is of type `{name}`: `{by}` stands before it and matches all of its topics");
        let remedy = format!("move `{name}` before `{by}`, or take it out");
        problems.push(problem(line_of(&file.text, name), message, &remedy));
    }
    if problems.is_empty() { Ok(templates) } else { Err(problems) }
}

/// The line of a key; YAML keeps no positions, but a key starts its line.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let is_key = |line: &str| {
        let line = line.trim_start();
        let after = line.strip_prefix(name).or_else(|| line.strip_prefix(['"', '\''])?.strip_prefix(name));
        after.is_some_and(|after| after.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    };
    text.lines().position(is_key).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(Option<usize>, &str)]) {
        let file = File { path: "t.yaml".to_owned(), text: text.to_owned() };
        let problems = read(&file).map_or_else(|problems| problems, |_| vec![]);
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, (line, message)) in problems.iter().zip(expected) {
            assert_eq!(problem.line, *line, "{problem}");
            assert!(problem.message.contains(message), "{problem}");
        }
    }

    #[test]
    fn templates_keep_the_order_of_the_file() {
        let text = "# first\nb: x/{y}/z\n\"a\": \"{rest...}\"\n".to_owned();
        let templates = read(&File { path: "t.yaml".to_owned(), text }).unwrap();
        assert_eq!(templates.iter().map(Template::name).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        check(
            "a: x\nb: y/+\nc: '{q'\nd: [1]\n",
            &[(Some(2), "wildcard"), (Some(3), "neither"), (Some(4), "not a string")],
        );
        check("untyped: x\n", &[(Some(1), "reserved")]);
        check("a: x\na: y\n", &[(Some(1), "duplicate")]);
        check("- a\n", &[(Some(1), "expected a YAML mapping")]);
        check("", &[]);
    }

    #[test]
    fn a_shadowed_template_is_reported_with_its_shadow() {
        check(
            "all: x/{rest...}\none: x/{y}/z\n",
            &[(Some(2), "no topic ever is of type `one`: `all` stands before it")],
        );
    }
}
