//! What a component says of itself: what it imports and exports, read from its bytes without compiling or running it.
//!
//! It is a claim until the engine has loaded the component: enough to show what a plugin would ask for, not enough to
//! grant it. Names alone are read, so a component of gigabytes costs no more than a walk over its sections.

use thiserror::Error;
use wasmparser::{Parser, Payload};

use crate::{dfu, telemetry};

/// More names than any world has; a component with more is not worth reading on.
const MAX_NAMES: usize = 1_000;

/// The package of all interfaces that a gateway offers or asks for.
const PACKAGE: &str = "causeway:plugin/";

/// The names at the edge of a component, in its own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// The bytes are not a component.
#[derive(Debug, Error)]
pub enum OutlineError {
    /// They are a core module.
    #[error("it is a core module, not a component; `causeway plugin componentize` makes one of it")]
    Module,
    /// They are something else, or damaged.
    #[error("it is not a WebAssembly component: {0}")]
    Malformed(String),
    /// It has more names than are read.
    #[error("it has more than {MAX_NAMES} imports and exports")]
    TooMany,
}

/// A kind of plugin, as far as it is seen from outside.
struct Kind {
    name: &'static str,
    /// The interface that makes a component one of this kind.
    exports: &'static str,
    offered: &'static [&'static str],
}

const KINDS: [Kind; 2] = [
    Kind { name: telemetry::KIND, exports: telemetry::EXPORT, offered: telemetry::OFFERED },
    Kind { name: dfu::KIND, exports: dfu::EXPORT, offered: dfu::OFFERED },
];

impl Outline {
    /// Reads the names.
    ///
    /// # Errors
    /// [`OutlineError`].
    pub fn read(bytes: &[u8]) -> Result<Self, OutlineError> {
        if Parser::is_core_wasm(bytes) {
            return Err(OutlineError::Module);
        }
        let (mut outline, mut depth) = (Self::default(), 0_usize);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(malformed)? {
                // What is inside of a component is its own business.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(names) if depth == 0 => {
                    for import in names {
                        outline.imports.push(import.map_err(malformed)?.name.name.to_owned());
                        outline.check_count()?;
                    }
                }
                Payload::ComponentExportSection(names) if depth == 0 => {
                    for export in names {
                        outline.exports.push(export.map_err(malformed)?.name.name.to_owned());
                        outline.check_count()?;
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    /// What it imports, with versions.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What it exports, with versions.
    #[must_use]
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// The kind of plugin that it would be; none when it exports no interface of a kind that this gateway knows.
    #[must_use]
    pub fn kind(&self) -> Option<&'static str> {
        self.of_kind().map(|kind| kind.name)
    }

    /// What the plugin can reach, if policies let it: the interfaces with functions that its kind is offered, by their
    /// names in policies.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        let offered = self.offered();
        self.imports.iter().filter(|import| offered.contains(&import.as_str())).filter_map(|import| {
            let name = import.strip_prefix(PACKAGE)?.split('@').next()?;
            (name != "types").then_some(name)
        })
    }

    /// The imports that no plugin of its kind is offered: with one of them it is never loaded. All imports of a
    /// component of no known kind are.
    pub fn refused(&self) -> impl Iterator<Item = &str> {
        let offered = self.offered();
        self.imports.iter().map(String::as_str).filter(move |import| !offered.contains(import))
    }

    fn offered(&self) -> &'static [&'static str] {
        self.of_kind().map_or(&[], |kind| kind.offered)
    }

    fn of_kind(&self) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| self.exports.iter().any(|export| export == kind.exports))
    }

    fn check_count(&self) -> Result<(), OutlineError> {
        if self.imports.len() + self.exports.len() > MAX_NAMES { Err(OutlineError::TooMany) } else { Ok(()) }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn malformed(error: wasmparser::BinaryReaderError) -> OutlineError {
    // The parser shows bytes over many lines.
    OutlineError::Malformed(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Result<Outline, OutlineError> {
        Outline::read(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn the_names_at_the_edge_are_read_and_those_inside_are_not() {
        let outline = outline(
            r#"(component
                (import "causeway:plugin/log@0.1.0-draft" (instance))
                (import "causeway:plugin/types@0.1.0-draft" (instance))
                (import "wasi:clocks/wall-clock@0.2.0" (instance $clock))
                (component (import "inner" (instance)))
                (export "causeway:plugin/telemetry-router@0.1.0-draft" (instance $clock)))"#,
        )
        .unwrap();
        assert_eq!(outline.imports().len(), 3);
        assert_eq!(outline.kind(), Some("telemetry"));
        assert_eq!(outline.capabilities().collect::<Vec<_>>(), ["log"]);
        assert_eq!(outline.refused().collect::<Vec<_>>(), ["wasi:clocks/wall-clock@0.2.0"]);
    }

    #[test]
    fn a_component_of_no_known_kind_is_offered_nothing() {
        let outline = outline(r#"(component (import "causeway:plugin/log@0.1.0-draft" (instance)))"#).unwrap();
        assert_eq!(outline.kind(), None);
        assert_eq!((outline.refused().count(), outline.capabilities().count()), (1, 0));
    }

    #[test]
    fn what_is_no_component_is_said_to_be_what_it_is() {
        assert!(matches!(outline("(module)"), Err(OutlineError::Module)));
        let mut cut = wat::parse_str(r#"(component (import "some:name/that-is-long" (instance)))"#).unwrap();
        cut.truncate(cut.len() - 4);
        for bytes in [&b""[..], b"{}", b"\0asm\x0d\0\x01\0\xff\xff", &cut] {
            assert!(matches!(Outline::read(bytes), Err(OutlineError::Malformed(_))), "{bytes:?}");
        }
    }

    #[test]
    fn names_without_end_are_not_read_to_the_end() {
        let names: String = (0..=MAX_NAMES).map(|number| format!("(import \"i{number}\" (instance))")).collect();
        assert!(matches!(outline(&format!("(component {names})")), Err(OutlineError::TooMany)));
    }
}
