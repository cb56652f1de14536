//! Collections: declarations, rows that meet, queries, retention.

mod changes;
mod keyed;

use super::*;
use crate::store::Slice;
use crate::store::tests::scratch;
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

fn column(name: &str, pointer: &str, kind: ColumnKind) -> Column {
    Column { name: name.to_owned(), pointer: pointer.to_owned(), kind, required: false }
}

fn declaration(kind: Kind) -> Declaration {
    Declaration {
        name: "cardata".to_owned(),
        kind,
        columns: vec![
            column("vin", "/vin", ColumnKind::Text),
            column("messageid", "/messageid", ColumnKind::Text),
            column("sent", "/sendtimestamp", ColumnKind::Time),
            column("fuel", "/fuel", ColumnKind::Real),
            column("code", "/dtc/code", ColumnKind::Integer),
        ],
        time: Some("sent".to_owned()),
        indexes: vec![vec!["vin".to_owned(), "sent".to_owned()]],
        retention: Retention::default(),
    }
}

fn append() -> Collection {
    let unique = vec!["messageid".to_owned()];
    Collection::new(declaration(Kind::Append { unique })).unwrap()
}

fn upsert() -> Collection {
    let kind = Kind::Upsert { key: vec!["vin".to_owned()], newest_by: "sent".to_owned() };
    Collection::new(declaration(kind)).unwrap()
}

fn source(position: u64) -> Source<'static> {
    Source { binding: "telemetry", position: Some(position), item: 0, sender: "d1", received_ms: position * 1000 }
}

/// A document about `vin` that was sent at `sent` ms.
fn row(collection: &Collection, position: u64, vin: &str, sent: u64) -> Row {
    let document = format!(r#"{{"vin":"{vin}","messageid":"{vin}-{position}","sendtimestamp":{sent}}}"#);
    Row::new(collection, &source(position), document).unwrap()
}

fn documents(connection: &Connection, conditions: &[(&str, &str)]) -> Vec<String> {
    let conditions = conditions.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let question = Query { collection: "cardata".to_owned(), conditions, since_ms: None, limit: 100 };
    query(connection, &question).unwrap().into_iter().map(|record| record.document).collect()
}

#[test]
fn a_replay_changes_nothing() {
    for collection in [append(), upsert()] {
        scratch(|tx| {
            install(tx, &collection)?;
            let rows = [row(&collection, 1, "A", 10), row(&collection, 2, "B", 20)];
            assert_eq!(insert(tx, &collection, &rows, MINUTE)?.inserted, 2);
            let before = (documents(tx, &[]), list(tx)?[0].bytes);
            let again = insert(tx, &collection, &rows, MINUTE)?;
            assert_eq!((again.inserted, again.replaced, again.dropped), (0, 0, 2));
            assert_eq!((documents(tx, &[]), list(tx)?[0].bytes), before);
            Ok(())
        });
    }
}

#[test]
fn one_position_of_two_bindings_is_two_rows() {
    scratch(|tx| {
        let collection = Collection::new(declaration(Kind::Append { unique: vec![] }))?;
        install(tx, &collection)?;
        for binding in ["one", "two", "one"] {
            let source = Source { binding, ..source(1) };
            insert(tx, &collection, &[Row::new(&collection, &source, "{}".to_owned())?], MINUTE)?;
        }
        assert_eq!(list(tx)?[0].rows, 2);
        Ok(())
    });
}

#[test]
fn rows_of_a_live_binding_are_never_taken_for_a_replay() {
    scratch(|tx| {
        let collection = Collection::new(declaration(Kind::Append { unique: vec![] }))?;
        install(tx, &collection)?;
        let source = Source { position: None, ..source(1) };
        let row = Row::new(&collection, &source, "{}".to_owned())?;
        assert_eq!(insert(tx, &collection, &[row.clone(), row], MINUTE)?.inserted, 2);
        Ok(())
    });
}

#[test]
fn a_copy_is_dropped_by_its_unique_key_and_only_for_the_same_sender() {
    scratch(|tx| {
        let collection = append();
        install(tx, &collection)?;
        let document = r#"{"vin":"A","messageid":"A-1"}"#;
        let from = |sender, position, document: &str| {
            let source = Source { sender, ..source(position) };
            Row::new(&collection, &source, document.to_owned()).unwrap()
        };
        let rows = [
            from("d1", 1, document),
            from("d1", 2, document),
            from("d2", 3, document),
            // Without the unique value nothing is a copy.
            from("d1", 4, "{}"),
            from("d1", 5, "{}"),
        ];
        let done = insert(tx, &collection, &rows, MINUTE)?;
        assert_eq!((done.inserted, done.dropped), (4, 1));
        assert_eq!(list(tx)?[0].rows, 4);
        Ok(())
    });
}

#[test]
fn an_upsert_keeps_the_newest_by_its_own_time_in_and_across_batches() {
    scratch(|tx| {
        let collection = upsert();
        install(tx, &collection)?;
        let put = |rows: &[Row]| insert(tx, &collection, rows, MINUTE).unwrap();
        let late = row(&collection, 3, "A", 100);
        let done = put(&[row(&collection, 1, "A", 200), row(&collection, 2, "B", 5), late.clone()]);
        assert_eq!((done.inserted, done.dropped), (2, 1));
        assert_eq!(put(&[late]).dropped, 1);
        let winner = row(&collection, 4, "A", 300);
        assert_eq!(put(std::slice::from_ref(&winner)).replaced, 1);
        // Of equal times the later message wins.
        let equal = row(&collection, 5, "A", 300);
        assert_eq!(put(std::slice::from_ref(&equal)).replaced, 1);
        assert_eq!(put(&[winner]).dropped, 1);
        assert_eq!(documents(tx, &[("vin", "A")]), std::slice::from_ref(&equal.document));
        let totals = &list(tx)?[0];
        let bytes: usize = documents(tx, &[]).iter().map(String::len).sum();
        assert_eq!((totals.rows, totals.bytes), (2, bytes as u64));
        Ok(())
    });
}

#[test]
fn a_time_in_the_future_never_wins() {
    scratch(|tx| {
        let collection = upsert();
        install(tx, &collection)?;
        let honest = row(&collection, 1, "A", 900);
        let liar = row(&collection, 2, "A", 2_000 + MINUTE + 1);
        assert_eq!(insert(tx, &collection, &[honest.clone(), liar], MINUTE)?.dropped, 1);
        assert_eq!(documents(tx, &[]), [honest.document]);
        Ok(())
    });
}

#[test]
fn documents_that_do_not_fit_are_refused_before_the_transaction() {
    let refused = |collection: &Collection, document: &str| {
        Row::new(collection, &source(1), document.to_owned()).unwrap_err().to_string()
    };
    assert!(refused(&append(), "{").contains("not JSON"));
    assert!(refused(&append(), "[]").contains("not a JSON object"));
    assert!(refused(&append(), r#"{"vin":7}"#).contains("`/vin` is a number: column `vin`"));
    assert!(refused(&append(), r#"{"dtc":{"code":1.5}}"#).contains("a whole number"));
    assert!(refused(&append(), r#"{"sendtimestamp":"soon"}"#).contains("a time"));
    assert!(refused(&upsert(), r#"{"vin":"A"}"#).contains("`/sendtimestamp` is missing"));
    assert!(refused(&upsert(), r#"{"vin":null,"sendtimestamp":1}"#).contains("`/vin` is missing"));
}

#[test]
fn queries_find_columns_fields_and_times() {
    scratch(|tx| {
        let collection = append();
        install(tx, &collection)?;
        let one = r#"{"vin":"A","sendtimestamp":"2020-06-15T12:00:00Z","fuel":30,"dtc":{"code":7,"open":true}}"#;
        let two = r#"{"vin":"B","sendtimestamp":"2020-06-15T13:00:00Z","list":[{"x":"y"}]}"#;
        let rows = [(1, one), (2, two)]
            .map(|(position, document)| Row::new(&collection, &source(position), document.to_owned()).unwrap());
        insert(tx, &collection, &rows, MINUTE)?;
        for (name, value, expected) in [
            ("vin", "A", one),
            ("code", "7", one),
            ("fuel", "30.0", one),
            ("sent", "2020-06-15T15:00:00+02:00", two),
            ("_position", "2", two),
            ("dtc.code", "7", one),
            ("dtc.open", "true", one),
            ("list.0.x", "y", two),
        ] {
            assert_eq!(documents(tx, &[(name, value)]), [expected], "{name}={value}");
        }
        assert_eq!(documents(tx, &[]), [two, one], "newest first");
        assert_eq!(documents(tx, &[("_sender", "d1"), ("vin", "B")]), [two]);
        let since = Query {
            collection: "cardata".to_owned(),
            since_ms: Some(1_592_225_000_000),
            limit: 10,
            ..Query::default()
        };
        assert_eq!(query(tx, &since)?.len(), 1);
        assert_eq!(query(tx, &Query { limit: 1, since_ms: None, ..since })?[0].position, Some(2));
        Ok(())
    });
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    scratch(|tx| {
        install(tx, &append())?;
        let ask = |collection: &str, name: &str, value: &str| {
            let question = Query {
                collection: collection.to_owned(),
                conditions: vec![(name.to_owned(), value.to_owned())],
                limit: 1,
                ..Query::default()
            };
            query(tx, &question).unwrap_err()
        };
        assert!(matches!(ask("sqlite_schema", "name", "x"), QueryError::UnknownCollection(_)));
        assert!(matches!(ask("cardata", "code", "seven"), QueryError::Value { .. }));
        assert!(matches!(ask("cardata", "a..b", "x"), QueryError::Path(_)));
        assert!(matches!(ask("cardata", "a\"b", "x"), QueryError::Path(_)));
        Ok(())
    });
}

#[test]
fn retention_deletes_the_oldest_in_steps() {
    let bounded = |kind, retention| Collection::new(Declaration { retention, ..declaration(kind) }).unwrap();
    let by_rows = Retention { max_rows: Some(3), ..Retention::default() };
    let kind = Kind::Append { unique: vec![] };
    scratch(|tx| {
        let collection = bounded(kind.clone(), by_rows);
        install(tx, &collection)?;
        let rows: Vec<_> = (1..=8).map(|position| row(&collection, position, "A", position)).collect();
        insert(tx, &collection, &rows, MINUTE)?;
        let keep = Keep::of(&collection, 0, u64::MAX, 0);
        let step = || trim(tx, &collection, keep, &mut Slice::rows(4)).unwrap();
        let first = step();
        assert_eq!((first.rows, first.more), (4, true));
        let second = step();
        assert_eq!((second.rows, second.more), (1, false));
        assert_eq!(step(), Trimmed::default());
        let totals = &list(tx)?[0];
        let left = documents(tx, &[]);
        assert_eq!(totals.rows, 3);
        assert_eq!(totals.bytes, left.iter().map(String::len).sum::<usize>() as u64);
        assert!(left[2].contains("A-6"));
        Ok(())
    });
    scratch(|tx| {
        let collection = bounded(kind.clone(), Retention { max_age_ms: Some(4_000), ..Retention::default() });
        install(tx, &collection)?;
        let rows: Vec<_> = (1..=8).map(|position| row(&collection, position, "A", position)).collect();
        insert(tx, &collection, &rows, MINUTE)?;
        let keep = Keep::of(&collection, 8_000, u64::MAX, 0);
        assert_eq!(trim(tx, &collection, keep, &mut Slice::rows(100))?.rows, 3);
        Ok(())
    });
}

#[test]
fn retention_of_an_upsert_goes_by_the_latest_reception() {
    scratch(|tx| {
        let collection = upsert();
        install(tx, &collection)?;
        let put =
            |position, vin| insert(tx, &collection, &[row(&collection, position, vin, position)], MINUTE).unwrap();
        put(1, "A");
        put(2, "B");
        put(3, "A");
        let keep = Keep::of(&collection, 10_000, 7_500, 0);
        assert_eq!(trim(tx, &collection, keep, &mut Slice::rows(100))?.rows, 1);
        assert!(documents(tx, &[])[0].contains("A-3"));
        Ok(())
    });
}

#[test]
fn bytes_are_a_bound_too() {
    scratch(|tx| {
        let retention = Retention { max_bytes: Some(100), ..Retention::default() };
        let collection = Collection::new(Declaration { retention, ..declaration(Kind::Append { unique: vec![] }) })?;
        install(tx, &collection)?;
        let rows: Vec<_> = (1..=5).map(|position| row(&collection, position, "A", position)).collect();
        insert(tx, &collection, &rows, MINUTE)?;
        trim(tx, &collection, Keep::of(&collection, 0, u64::MAX, 0), &mut Slice::rows(100))?;
        assert!(list(tx)?[0].bytes <= 100);
        assert_eq!(list(tx)?[0].rows, 2);
        Ok(())
    });
}

#[test]
fn declarations_are_checked() {
    let refused = |change: fn(&mut Declaration)| {
        let mut declaration = declaration(Kind::Append { unique: vec![] });
        change(&mut declaration);
        Collection::new(declaration).unwrap_err()
    };
    use DeclarationError as E;
    assert!(matches!(refused(|d| d.name = "a\"; drop table x".to_owned()), E::Name(_)));
    assert!(matches!(refused(|d| d.name = "_id".to_owned()), E::Name(_)));
    assert!(matches!(refused(|d| d.name = "a".repeat(49)), E::Name(_)));
    assert!(matches!(refused(|d| d.columns[0].name = "Vin".to_owned()), E::Name(_)));
    assert!(matches!(refused(|d| d.columns[1].name = "vin".to_owned()), E::Twice(_)));
    assert!(matches!(refused(|d| d.columns[1].pointer = "vin".to_owned()), E::Pointer(_)));
    assert!(matches!(refused(|d| d.time = Some("vin".to_owned())), E::NotTime(_)));
    assert!(matches!(refused(|d| d.time = Some("when".to_owned())), E::Unknown(_)));
    assert!(matches!(refused(|d| d.indexes.push(vec![])), E::Empty));
    assert!(matches!(refused(|d| d.indexes = vec![vec!["vin".to_owned()]; 9]), E::TooMany { .. }));
    assert!(matches!(refused(|d| d.kind = Kind::Upsert { key: vec![], newest_by: "sent".to_owned() }), E::Empty));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is asked for, the statement is one that SQLite can prepare, and no text of the question is in it.
    #[test]
    fn no_question_becomes_part_of_the_statement(
        name in "(vin|code|_sender|_received|[\\PC\"';\\-]{0,20})",
        value in "[\\PC\"';\\-]{0,20}",
    ) {
        let mut asked = None;
        scratch(|tx| {
            let collection = append();
            install(tx, &collection)?;
            insert(tx, &collection, &[row(&collection, 1, "A", 1)], MINUTE)?;
            let question = Query {
                collection: "cardata".to_owned(),
                conditions: vec![(name.clone(), value.clone())],
                limit: 10,
                ..Query::default()
            };
            asked = Some(query(tx, &question));
            assert_eq!(list(tx)?[0].rows, 1);
            Ok(())
        });
        let sane = !matches!(asked, Some(Err(QueryError::Sqlite(_) | QueryError::Collection(_))));
        prop_assert!(sane, "{:?}", asked);
    }
}
