//! Collections with a key: documents that are merged, and single documents read by their key.

use serde_json::{Value, json};

use super::*;

fn merging() -> Collection {
    Collection::new(declaration(Kind::Merge { key: vec!["vin".to_owned()] })).unwrap()
}

fn patch(collection: &Collection, position: u64, document: &Value) -> Row {
    Row::new(collection, &source(position), document.to_string()).unwrap()
}

fn stored(connection: &Connection, collection: &Collection, vin: &str) -> Value {
    let document = get(connection, collection, &[vin]).unwrap();
    document.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

#[test]
fn patches_of_several_writers_meet_in_one_document() {
    scratch(|tx| {
        let collection = merging();
        install(tx, &collection)?;
        let rows = [
            patch(&collection, 1, &json!({"vin": "A", "devices": {"d1": {"at": 1}}, "sendtimestamp": 5})),
            patch(&collection, 2, &json!({"vin": "B", "fuel": 7, "gone": null})),
            patch(&collection, 3, &json!({"vin": "A", "devices": {"d2": {"at": 2}}})),
        ];
        let done = insert(tx, &collection, &rows, MINUTE)?;
        assert_eq!((done.inserted, done.replaced, done.dropped), (2, 1, 0));
        let more = [patch(&collection, 4, &json!({"vin": "A", "devices": {"d1": null}, "fuel": 3.5}))];
        assert_eq!(insert(tx, &collection, &more, MINUTE)?.replaced, 1);
        let expected = json!({"vin": "A", "devices": {"d2": {"at": 2}}, "sendtimestamp": 5, "fuel": 3.5});
        assert_eq!(stored(tx, &collection, "A"), expected);
        assert_eq!(stored(tx, &collection, "B"), json!({"vin": "B", "fuel": 7}), "nothing is stored as null");
        // Columns are those of the whole document, not of the last patch.
        assert_eq!(documents(tx, &[("sent", "5"), ("fuel", "3.5")]).len(), 1);
        let totals = &list(tx)?[0];
        let bytes: usize = documents(tx, &[]).iter().map(String::len).sum();
        assert_eq!((totals.rows, totals.bytes), (2, bytes as u64));
        Ok(())
    });
}

#[test]
fn a_replayed_merge_changes_nothing() {
    scratch(|tx| {
        let collection = merging();
        install(tx, &collection)?;
        let rows = [
            patch(&collection, 1, &json!({"vin": "A", "x": {"a": 1}})),
            patch(&collection, 2, &json!({"vin": "A", "x": null})),
            patch(&collection, 3, &json!({"vin": "A", "x": {"b": 2}})),
        ];
        insert(tx, &collection, &rows, MINUTE)?;
        let before = (stored(tx, &collection, "A"), list(tx)?[0].rows, list(tx)?[0].bytes);
        for from in 0..rows.len() {
            insert(tx, &collection, &rows[from..], MINUTE)?;
            assert_eq!((stored(tx, &collection, "A"), list(tx)?[0].rows, list(tx)?[0].bytes), before);
        }
        Ok(())
    });
}

/// A replay by a changed plugin may give an output's place to another key.
#[test]
fn a_row_replaces_that_of_its_key_whatever_else_came_from_its_place() {
    for collection in [merging(), upsert()] {
        scratch(|tx| {
            install(tx, &collection)?;
            insert(tx, &collection, &[row(&collection, 1, "A", 1), row(&collection, 2, "B", 2)], MINUTE)?;
            let moved = row(&collection, 2, "A", 3);
            assert_eq!(insert(tx, &collection, &[moved], MINUTE)?.replaced, 1);
            assert_eq!(list(tx)?[0].rows, 2);
            Ok(())
        });
    }
}

#[test]
fn only_the_key_can_be_required_of_a_patch() {
    let mut declaration = merging().declaration().clone();
    declaration.columns[0].required = true;
    Collection::new(declaration.clone()).unwrap();
    declaration.columns[3].required = true;
    assert!(matches!(Collection::new(declaration).unwrap_err(), DeclarationError::Partial(name) if name == "fuel"));
    let source = source(1);
    let keyless = Row::new(&merging(), &source, r#"{"fuel":1}"#.to_owned()).unwrap_err();
    assert!(keyless.to_string().contains("`/vin` is missing"), "{keyless}");
    let wrong = Row::new(&merging(), &source, r#"{"vin":"A","fuel":"full"}"#.to_owned()).unwrap_err();
    assert!(wrong.to_string().contains("`/fuel` is a string"), "{wrong}");
}

#[test]
fn a_document_is_found_by_the_text_of_its_key() {
    let key = vec!["vin".to_owned(), "code".to_owned(), "sent".to_owned()];
    let kind = Kind::Upsert { key, newest_by: "sent".to_owned() };
    let collection = Collection::new(declaration(kind)).unwrap();
    scratch(|tx| {
        install(tx, &collection)?;
        let document = json!({"vin": "A", "dtc": {"code": 7}, "sendtimestamp": "2020-06-15T12:34:56Z"});
        insert(tx, &collection, &[patch(&collection, 1, &document)], u64::MAX)?;
        let found = |key: &[&str]| get(tx, &collection, key).unwrap().is_some();
        assert!(found(&["A", "7", "2020-06-15T12:34:56Z"]));
        assert!(found(&["A", "7", "1592224496000"]));
        assert!(!found(&["A", "8", "1592224496000"]));
        assert!(!found(&["A", "seven", "1592224496000"]));
        assert!(!found(&["A", "7"]));
        assert!(!found(&[]));
        Ok(())
    });
    scratch(|tx| {
        let collection = append();
        install(tx, &collection)?;
        insert(tx, &collection, &[row(&collection, 1, "A", 1)], MINUTE)?;
        assert_eq!(get(tx, &collection, &["A"])?, None);
        assert_eq!(get(tx, &collection, &[])?, None);
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What a plugin is told about rows that wait is what it will be told once they are committed.
    #[test]
    fn a_document_read_before_the_commit_is_that_read_after_it(
        merges in any::<bool>(),
        committed in prop::collection::vec((1..9u64, "[AB]", 0..5u64), 0..6),
        pending in prop::collection::vec((1..9u64, "[AB]", prop_oneof![0..5u64, Just(10 * MINUTE)]), 0..6),
    ) {
        let collection = if merges { merging() } else { upsert() };
        let rows = |given: &[(u64, String, u64)]| -> Vec<_> {
            given.iter().map(|(position, vin, sent)| row(&collection, *position, vin, *sent)).collect()
        };
        let (committed, pending) = (rows(&committed), rows(&pending));
        scratch(|tx| {
            install(tx, &collection)?;
            insert(tx, &collection, &committed, MINUTE)?;
            let before = ["A", "B"].map(|vin| get_after(tx, &collection, &[vin], &pending, MINUTE).unwrap());
            insert(tx, &collection, &pending, MINUTE)?;
            let after = ["A", "B"].map(|vin| get(tx, &collection, &[vin]).unwrap());
            assert_eq!(before, after);
            Ok(())
        });
    }
}
