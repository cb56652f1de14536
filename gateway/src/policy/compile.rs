//! Turns files into a set that can decide: split, parse, validate strictly, all problems at once.
//!
//! Strict validation matters for safety, not for comfort: Cedar skips a policy whose evaluation fails, a `forbid` too.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use causeway_core::template::{Templates, UNTYPED};
use cedar_policy::{
    Authorizer, EntityTypeName, Policy, PolicyId, PolicySet, Schema, ValidationError, ValidationMode, Validator,
};
use miette::Diagnostic;

use super::files::{File, SCHEMA, TEMPLATES};
use super::problem::problem;
use super::request::PolicySource;
use super::split::{Piece, line_at, split};
use super::{Problem, templates};

/// Evaluation looks at every policy, at about a microsecond each.
const MAX_POLICIES: usize = 1000;

/// A set of policies that has no mistakes.
pub(super) struct Compiled {
    /// What it was made of; a reload compares.
    pub files: Vec<File>,
    pub templates: Templates,
    pub set: PolicySet,
    pub sources: HashMap<PolicyId, Arc<PolicySource>>,
    pub authorizer: Authorizer,
    pub names: Names,
}

/// The entity types of the schema, parsed once.
pub(super) struct Names {
    pub action: EntityTypeName,
    pub area: EntityTypeName,
    pub collection: EntityTypeName,
    pub device: EntityTypeName,
    pub group: EntityTypeName,
    pub import: EntityTypeName,
    pub listener: EntityTypeName,
    pub operator: EntityTypeName,
    pub plugin: EntityTypeName,
    pub role: EntityTypeName,
    pub template: EntityTypeName,
    pub unverified: EntityTypeName,
}

impl Names {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            action: "Action".parse()?,
            area: "Area".parse()?,
            collection: "Collection".parse()?,
            device: "Device".parse()?,
            group: "Group".parse()?,
            import: "Import".parse()?,
            listener: "Listener".parse()?,
            operator: "Operator".parse()?,
            plugin: "Plugin".parse()?,
            role: "Role".parse()?,
            template: "Template".parse()?,
            unverified: "Unverified".parse()?,
        })
    }
}

impl Compiled {
    /// Builds a set from its files, or reports everything that is wrong with them.
    pub(super) fn build(files: Vec<File>) -> Result<Self, Vec<Problem>> {
        let templates = read_templates(&files);
        let parsed = parse(&files);
        // The schema depends on the templates, so validation needs them right.
        let (templates, parsed) = match (templates, parsed) {
            (Ok(templates), Ok(parsed)) => (templates, parsed),
            (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => return Err(problems),
            (Err(first), Err(second)) => return Err([first, second].concat()),
        };
        let schema = schema(&templates).map_err(|error| vec![schema_problem(&error.to_string())])?;
        let names = Names::new().map_err(|error| vec![schema_problem(&error.to_string())])?;
        let problems = validate(&parsed, schema);
        if !problems.is_empty() {
            return Err(problems);
        }
        let sources = parsed.pieces.into_iter().map(|(id, piece)| (id, Arc::new(piece.source))).collect();
        let authorizer = Authorizer::new();
        Ok(Self { templates, set: parsed.set, sources, authorizer, names, files })
    }

    /// The number of policies.
    pub(super) fn policies(&self) -> usize {
        self.sources.len()
    }
}

fn read_templates(files: &[File]) -> Result<Templates, Vec<Problem>> {
    let file = files.iter().find(|file| file.name() == TEMPLATES);
    file.map_or_else(|| Ok(Templates::default()), templates::read)
}

/// The program's schema and what it says of these templates.
pub(super) fn schema(templates: &Templates) -> Result<Schema, Box<dyn Error>> {
    // Its warnings are about names of Cedar's own that the schema hides, and it hides none.
    let (schema, _warnings) = Schema::from_cedarschema_str(&schema_text(templates))?;
    Ok(schema)
}

/// Declares the types of topics and all their variables, each of them optional, as a filter may leave it open.
fn schema_text(templates: &Templates) -> String {
    let mut text = String::from(SCHEMA);
    let names = templates.iter().map(|template| template.name()).chain([UNTYPED]);
    let names = names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let mut variables = templates.iter().flat_map(|template| template.variables()).collect::<Vec<_>>();
    variables.sort();
    variables.dedup();
    let variables = variables.iter().map(|name| format!("{name:?}?: String")).collect::<Vec<_>>().join(", ");
    // Writing to a string never fails.
    let _ = write!(text, "\nentity Template enum [{names}];\ntype Variables = {{ {variables} }};\n");
    text
}

/// A policy's text, and where it is.
struct Placed {
    source: PolicySource,
    file: usize,
    offset: usize,
}

struct Parsed<'f> {
    files: &'f [File],
    set: PolicySet,
    pieces: HashMap<PolicyId, Placed>,
}

fn parse(files: &[File]) -> Result<Parsed<'_>, Vec<Problem>> {
    let mut parsed = Parsed { files, set: PolicySet::new(), pieces: HashMap::new() };
    let mut problems = vec![];
    for (index, file) in files.iter().enumerate().filter(|(_, file)| file.name() != TEMPLATES) {
        for (number, piece) in split(&file.text).into_iter().enumerate() {
            parsed.add(index, number + 1, piece).unwrap_or_else(|found| problems.extend(found));
        }
    }
    if parsed.pieces.len() > MAX_POLICIES {
        let file = files.first().map_or_else(String::new, |file| file.path.clone());
        let message = format!("there are more than {MAX_POLICIES} policies");
        let remedy = "say it in fewer: groups and attributes of devices replace a policy for each";
        problems.push(problem(&file, None, message, remedy));
    }
    if problems.is_empty() { Ok(parsed) } else { Err(problems) }
}

impl Parsed<'_> {
    /// Parses one policy and gives it its id.
    fn add(&mut self, file: usize, number: usize, piece: Piece<'_>) -> Result<(), Vec<Problem>> {
        let Some(text) = self.files.get(file) else { return Ok(()) };
        let policy = Policy::parse(None, piece.text)
            .map_err(|errors| errors.iter().map(|error| placed(text, piece.offset, error)).collect::<Vec<_>>())?;
        let stem = text.name().strip_suffix(".cedar").unwrap_or_else(|| text.name());
        let id = policy.annotation("id").map_or_else(|| format!("{stem}-{number}"), str::to_owned);
        let line = line_at(&text.text, piece.offset);
        let key = PolicyId::new(&id);
        if let Some(other) = self.pieces.get(&key) {
            let message =
                format!("the id `{id}` is taken by the policy at {}:{}", other.source.file, other.source.line);
            let remedy = "give each policy an `@id` of its own";
            return Err(vec![problem(&text.path, Some(line), message, remedy)]);
        }
        let added = self.set.add(policy.new_id(key.clone()));
        added.map_err(|error| vec![placed(text, piece.offset, &error)])?;
        let source = PolicySource { id, file: text.path.clone(), line };
        self.pieces.insert(key, Placed { source, file, offset: piece.offset });
        Ok(())
    }

    fn problem(&self, policy: &PolicyId, error: &dyn Diagnostic) -> Problem {
        let place = self.pieces.get(policy).and_then(|placed| Some((self.files.get(placed.file)?, placed.offset)));
        place.map_or_else(|| schema_problem(&error.to_string()), |(file, offset)| placed(file, offset, error))
    }
}

/// Validates strictly. Cedar's warnings count: they tell of policies that can never apply and of look-alike letters.
fn validate(parsed: &Parsed<'_>, schema: Schema) -> Vec<Problem> {
    let result = Validator::new(schema).validate(&parsed.set, ValidationMode::Strict);
    // A policy with an error applies to nothing, and Cedar says that, too. The error itself is what helps.
    let follows = |error: &ValidationError| matches!(error, ValidationError::InvalidActionApplication(_));
    let errors = result.validation_errors().collect::<Vec<_>>();
    let causes = errors.iter().filter(|error| !follows(error)).map(|error| error.policy_id()).collect::<HashSet<_>>();
    let faulty = errors.iter().map(|error| error.policy_id()).collect::<HashSet<_>>();
    let errors = errors.iter().filter(|error| !follows(error) || !causes.contains(error.policy_id()));
    let errors = errors.map(|error| parsed.problem(error.policy_id(), *error));
    let warnings = result.validation_warnings().filter(|warning| !faulty.contains(warning.policy_id()));
    let warnings = warnings.map(|warning| parsed.problem(warning.policy_id(), warning));
    let mut problems = errors.chain(warnings).collect::<Vec<_>>();
    problems
        .sort_by(|left, right| (&left.file, left.line, &left.message).cmp(&(&right.file, right.line, &right.message)));
    // One mistake is found once for each kind of principal that the policy is for.
    problems.dedup();
    problems
}

/// Puts an error of Cedar's into its place: its first label, or the start of the policy.
fn placed(file: &File, offset: usize, error: &dyn Diagnostic) -> Problem {
    let label = error.labels().and_then(|mut labels| labels.next());
    let at = offset + label.as_ref().map_or(0, miette::LabeledSpan::offset);
    let label = label.as_ref().and_then(miette::LabeledSpan::label).filter(|label| !label.is_empty());
    let message = label.map_or_else(|| error.to_string(), |label| format!("{error}: {label}"));
    let remedy = error.help().map(|help| help.to_string()).unwrap_or_default();
    problem(&file.path, Some(line_at(&file.text, at)), message, remedy)
}

/// The schema is the program's own, and what is added to it is checked before; so this is a fault of the program.
fn schema_problem(message: &str) -> Problem {
    problem("schema.cedarschema", None, message, "report this: the schema is part of the gateway")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE_LINES: &str = "cardata: dt/cvra/{device}/cardata\n";

    fn build(cedar: &str) -> Result<Compiled, Vec<Problem>> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        Compiled::build(vec![file("p/a.cedar", cedar), file("p/templates.yaml", TEMPLATE_LINES)])
    }

    /// Each expected problem is a line and a part of what is said about it.
    fn check(cedar: &str, expected: &[(usize, &str)]) {
        let problems = build(cedar).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, (line, part)) in problems.iter().zip(expected) {
            assert_eq!(problem.line, Some(*line), "{problem}");
            assert!(problem.to_string().contains(part), "{problem}");
        }
    }

    #[test]
    fn policies_are_named_by_annotation_or_by_place() {
        let set = build("permit(principal, action, resource);\n\n@id(\"mine\")\nforbid(principal, action, resource);")
            .unwrap();
        let mut sources = set.sources.values().map(ToString::to_string).collect::<Vec<_>>();
        sources.sort();
        assert_eq!(sources, ["`a-1` (p/a.cedar:1)", "`mine` (p/a.cedar:3)"]);
    }

    #[test]
    fn an_id_is_given_once() {
        let twice =
            "@id(\"x\")\npermit(principal, action, resource);\n@id(\"x\")\nforbid(principal, action, resource);";
        check(twice, &[(3, "taken by the policy at p/a.cedar:1")]);
    }

    #[test]
    fn all_syntax_errors_are_reported_at_their_lines() {
        check(
            "permit(principal, action);\n\npermit(principal, action, resource)\nwhen { 1 == };\n",
            &[(1, "resource"), (4, "unexpected")],
        );
        check("permit(principal, action, resource)", &[(1, ";")]);
        check("permit(principal == ?principal, action, resource);", &[(1, "template")]);
    }

    #[test]
    fn names_that_nothing_has_are_refused_with_a_hint() {
        check("permit(principal, action == Action::\"pubish\", resource);", &[(1, "publish")]);
        check("permit(principal is Devise, action, resource);", &[(1, "Device")]);
        check("permit(principal, action, resource == Template::\"cardate\");", &[(1, "cardat")]);
    }

    #[test]
    fn a_variable_must_be_asked_for_before_it_is_used() {
        let rule = |condition| {
            format!("permit(principal is Device, action == Action::\"publish\", resource)\nwhen {{ {condition} }};")
        };
        assert!(build(&rule("context has device && context.device == principal.id")).is_ok());
        check(&rule("context.device == principal.id"), &[(2, "device")]);
        check(&rule("context has device && context.device == principal.vin"), &[(2, "vin")]);
        check(&rule("context has vehicle && context.vehicle == principal.id"), &[(1, "impossible")]);
        check(&rule("context has device && context.device == 7"), &[(2, "")]);
    }

    #[test]
    fn the_shipped_policies_have_no_mistake() {
        let files = super::super::Origin::Shipped.read().unwrap();
        let set = Compiled::build(files).map_err(|problems| format!("{problems:#?}")).unwrap();
        assert!(set.policies() > 5);
    }
}
