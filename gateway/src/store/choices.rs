//! Which plugin, and which canary, an operator chose for a binding over what its configuration names.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// What an operator chose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// Where the plugin comes from.
    pub reference: String,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
    /// Whether it may be older than what ran before.
    pub allow_downgrade: bool,
    /// The configured reference that it was chosen over: with another one the choice is gone.
    pub configured: String,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// What was chosen for a binding.
pub fn get(connection: &Connection, binding: &str) -> rusqlite::Result<Option<Choice>> {
    connection
        .prepare_cached(
            "select reference, signed_as, allow_downgrade, configured, at_ms from plugin_choices where binding = ?1",
        )?
        .query_row([binding], |row| {
            Ok(Choice {
                reference: row.get(0)?,
                signed_as: row.get(1)?,
                allow_downgrade: row.get(2)?,
                configured: row.get(3)?,
                at_ms: row.get(4)?,
            })
        })
        .optional()
}

/// Keeps a choice in place of the one before; none is the configuration's again.
pub fn set(tx: &Transaction<'_>, binding: &str, choice: Option<&Choice>) -> rusqlite::Result<()> {
    let Some(Choice { reference, signed_as, allow_downgrade, configured, at_ms }) = choice else {
        return tx.execute("delete from plugin_choices where binding = ?1", [binding]).map(drop);
    };
    tx.execute(
        "insert or replace into plugin_choices values (?1, ?2, ?3, ?4, ?5, ?6)",
        params![binding, reference, signed_as, allow_downgrade, configured, at_ms],
    )
    .map(drop)
}

/// Which canary an operator chose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CanaryChoice {
    /// Where its version comes from; none if there is to be no canary.
    pub reference: Option<String>,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
    /// The configured canary that it was chosen over, if there was one: with another one the choice is gone.
    pub configured: Option<String>,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// Which canary was chosen for a binding.
pub fn get_canary(connection: &Connection, binding: &str) -> rusqlite::Result<Option<CanaryChoice>> {
    connection
        .prepare_cached("select reference, signed_as, configured, at_ms from canary_choices where binding = ?1")?
        .query_row([binding], |row| {
            Ok(CanaryChoice {
                reference: row.get(0)?,
                signed_as: row.get(1)?,
                configured: row.get(2)?,
                at_ms: row.get(3)?,
            })
        })
        .optional()
}

/// Keeps a choice of a canary in place of the one before; none is the configuration's again.
pub fn set_canary(tx: &Transaction<'_>, binding: &str, choice: Option<&CanaryChoice>) -> rusqlite::Result<()> {
    let Some(CanaryChoice { reference, signed_as, configured, at_ms }) = choice else {
        return tx.execute("delete from canary_choices where binding = ?1", [binding]).map(drop);
    };
    tx.execute(
        "insert or replace into canary_choices values (?1, ?2, ?3, ?4, ?5)",
        params![binding, reference, signed_as, configured, at_ms],
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_canary_is_chosen_or_none_is_and_that_is_taken_back() {
        scratch(|tx| {
            let choice = |reference: Option<&str>| CanaryChoice {
                reference: reference.map(str::to_owned),
                signed_as: None,
                configured: None,
                at_ms: 7,
            };
            assert_eq!(get_canary(tx, "a")?, None);
            set_canary(tx, "a", Some(&choice(Some("file:///one.wasm"))))?;
            set_canary(tx, "a", Some(&choice(None)))?;
            assert_eq!(get_canary(tx, "a")?, Some(choice(None)));
            set_canary(tx, "a", None)?;
            assert_eq!(get_canary(tx, "a")?, None);
            Ok(())
        });
    }

    #[test]
    fn a_choice_is_replaced_and_taken_back() {
        scratch(|tx| {
            let choice = |reference: &str| Choice {
                reference: reference.to_owned(),
                signed_as: None,
                allow_downgrade: true,
                configured: "builtin:telemetry".to_owned(),
                at_ms: 7,
            };
            assert_eq!(get(tx, "a")?, None);
            set(tx, "a", Some(&choice("file:///one.wasm")))?;
            set(tx, "a", Some(&choice("file:///two.wasm")))?;
            set(tx, "b", Some(&choice("file:///one.wasm")))?;
            assert_eq!(get(tx, "a")?, Some(choice("file:///two.wasm")));
            set(tx, "a", None)?;
            assert_eq!(get(tx, "a")?, None);
            assert!(get(tx, "b")?.is_some());
            Ok(())
        });
    }
}
