//! Declarations that change between two starts: what is done in place, and what is refused untouched.

use super::*;
use crate::store::migrations;

/// The declaration of [`append`] with something else in it.
fn changed(change: impl FnOnce(&mut Declaration)) -> Collection {
    let mut declaration = append().declaration().clone();
    change(&mut declaration);
    Collection::new(declaration).unwrap()
}

/// Twenty documents of two vehicles, some without the field `trip`.
fn rows(collection: &Collection) -> Vec<Row> {
    let document = |n: u64| {
        let vin = if n.is_multiple_of(2) { "A" } else { "B" };
        let trip = if n.is_multiple_of(5) { String::new() } else { format!(r#","trip":"{n}""#) };
        format!(r#"{{"vin":"{vin}","messageid":"m{n}","sendtimestamp":{n},"fuel":{n},"level":"{n}"{trip}}}"#)
    };
    (1..=20).map(|n| Row::new(collection, &source(n), document(n)).unwrap()).collect()
}

/// A table of [`append`] with rows, changed to `next`, which holds for what `check` sees.
fn after(next: &Collection, check: impl FnOnce(&Transaction<'_>)) {
    scratch(|tx| {
        install(tx, &append())?;
        insert(tx, &append(), &rows(&append()), MINUTE)?;
        install(tx, next)?;
        check(tx);
        Ok(())
    });
}

/// A change that is refused in one line with these words, and leaves everything as it was.
fn refused(before: &Collection, next: &Collection, words: &str) {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations::apply(&mut connection).unwrap();
    let tx = connection.transaction().unwrap();
    install(&tx, before).unwrap();
    insert(&tx, before, &rows(before), MINUTE).unwrap();
    tx.commit().unwrap();
    let schema = |connection: &Connection| -> String {
        connection.query_row("select group_concat(sql) from sqlite_schema", [], |row| row.get(0)).unwrap()
    };
    let untouched = schema(&connection);
    let tx = connection.transaction().unwrap();
    let error = install(&tx, next).unwrap_err().to_string();
    drop(tx);
    assert!(error.contains(words) && error.contains("`cardata`") && !error.contains('\n'), "{error}");
    assert_eq!(schema(&connection), untouched);
    assert_eq!(load(&connection, "cardata").unwrap().unwrap().declaration(), before.declaration());
}

fn fill_all(tx: &Transaction<'_>, collection: &Collection) {
    while fill(tx, collection, &mut Slice::rows(3)).unwrap() {}
}

fn has_index(connection: &Connection, name: &str) -> bool {
    let sql = "select exists (select 1 from sqlite_schema where type = 'index' and name = ?1)";
    connection.query_row(sql, [name], |row| row.get(0)).unwrap()
}

#[test]
fn a_new_column_is_filled_from_the_documents() {
    let next = changed(|declaration| {
        declaration.columns.push(column("trip", "/trip", ColumnKind::Text));
        declaration.indexes.push(vec!["trip".to_owned()]);
    });
    after(&next, |tx| {
        assert!(list(tx).unwrap()[0].filling);
        assert!(documents(tx, &[("trip", "7")]).is_empty());
        insert(tx, &next, &[row(&next, 21, "A", 21)], MINUTE).unwrap();
        fill_all(tx, &next);
        assert!(!list(tx).unwrap()[0].filling);
        assert_eq!(documents(tx, &[("trip", "7")]).len(), 1);
        let filled: u64 = tx.query_row("select count(trip) from collection_cardata", [], |row| row.get(0)).unwrap();
        assert_eq!(filled, 16);
    });
}

#[test]
fn a_column_with_another_pointer_or_type_is_filled_anew() {
    let pointer = changed(|declaration| declaration.columns[3].pointer = "/sendtimestamp".to_owned());
    after(&pointer, |tx| {
        fill_all(tx, &pointer);
        assert_eq!(documents(tx, &[("fuel", "7")]).len(), 1);
    });
    // `level` is a text in every document: a number column cannot have it.
    for (kind, found) in [(ColumnKind::Text, 1), (ColumnKind::Integer, 0)] {
        let next = changed(|declaration| declaration.columns[3] = column("fuel", "/level", kind));
        after(&next, |tx| {
            fill_all(tx, &next);
            assert_eq!(documents(tx, &[("fuel", "7")]).len(), found);
            insert(tx, &next, &[row(&next, 21, "A", 21)], MINUTE).unwrap();
        });
    }
}

#[test]
fn a_column_can_leave_and_come_back() {
    let without = changed(|declaration| declaration.columns.retain(|column| column.name != "fuel"));
    after(&without, |tx| {
        assert_eq!(documents(tx, &[("fuel", "7")]).len(), 1, "from the document");
        insert(tx, &without, &[row(&without, 21, "A", 21)], MINUTE).unwrap();
        let again = append();
        install(tx, &again).unwrap();
        fill_all(tx, &again);
        assert_eq!(documents(tx, &[("fuel", "7")]).len(), 1);
        install(tx, &without).unwrap();
        assert_eq!(list(tx).unwrap()[0].rows, 21);
    });
}

#[test]
fn indexes_time_and_retention_follow_the_declaration() {
    let next = changed(|declaration| {
        declaration.indexes = vec![vec!["fuel".to_owned()], vec!["vin".to_owned(), "code".to_owned()]];
        declaration.time = None;
        declaration.retention.max_rows = Some(5);
    });
    after(&next, |tx| {
        assert_eq!(load(tx, "cardata").unwrap().unwrap().declaration(), next.declaration());
        assert!(has_index(tx, "collection_cardata_1") && !has_index(tx, "collection_cardata_time"));
        assert!(!list(tx).unwrap()[0].filling);
        tx.execute_batch("drop index collection_cardata_1").unwrap();
        install(tx, &next).unwrap();
        assert!(has_index(tx, "collection_cardata_1"), "what somebody dropped is made again");
    });
}

#[test]
fn another_key_or_uniqueness_is_taken_when_the_rows_allow_it() {
    let unique = |columns: &[&str]| Kind::Append { unique: columns.iter().map(|&name| name.to_owned()).collect() };
    let none = changed(|declaration| declaration.kind = unique(&[]));
    after(&none, |tx| assert!(!has_index(tx, "collection_cardata_unique")));
    let wider = changed(|declaration| declaration.kind = unique(&["vin", "messageid"]));
    after(&wider, |tx| {
        assert_eq!(insert(tx, &wider, &rows(&wider), MINUTE).unwrap().dropped, 20);
    });
    let vin = changed(|declaration| declaration.kind = unique(&["vin"]));
    refused(&append(), &vin, "equal _sender, `vin`");

    let upsert = |key: &[&str]| {
        let key = key.iter().map(|&name| name.to_owned()).collect();
        changed(|declaration| declaration.kind = Kind::Upsert { key, newest_by: "sent".to_owned() })
    };
    let (by_message, by_both) = (upsert(&["messageid"]), upsert(&["vin", "messageid"]));
    scratch(|tx| {
        install(tx, &by_message)?;
        insert(tx, &by_message, &rows(&by_message), MINUTE)?;
        install(tx, &by_both)?;
        assert!(get(tx, &by_both, &["A", "m2"])?.is_some());
        Ok(())
    });
    refused(&by_message, &upsert(&["vin"]), "equal `vin`");
    refused(&by_message, &upsert(&["messageid", "code"]), "have no `code`");
}

#[test]
fn rows_never_meet_by_values_that_are_not_there_yet() {
    let kind = Kind::Append { unique: vec!["messageid".to_owned(), "trip".to_owned()] };
    let new = changed(|declaration| {
        declaration.columns.push(column("trip", "/trip", ColumnKind::Text));
        declaration.kind = kind;
    });
    refused(&append(), &new, "column `trip`");
    let pointer = changed(|declaration| declaration.columns[1].pointer = "/id".to_owned());
    refused(&append(), &pointer, "column `messageid`");
    let newest = upsert();
    let mut declaration = newest.declaration().clone();
    declaration.columns[2].pointer = "/fuel".to_owned();
    refused(&newest, &Collection::new(declaration).unwrap(), "column `sent`");
}

#[test]
fn another_kind_needs_another_name_once_there_are_rows() {
    refused(&append(), &upsert(), "`append` and cannot become `upsert`");
    scratch(|tx| {
        install(tx, &append())?;
        install(tx, &upsert())?;
        insert(tx, &upsert(), &rows(&upsert()), MINUTE)?;
        assert_eq!(list(tx)?[0].rows, 2);
        Ok(())
    });
}

/// The process dies in the middle of a change, and in the middle of the filling after it.
#[test]
fn a_change_that_is_interrupted_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let open = || {
        let mut connection = Connection::open(home.path().join("store.sqlite")).unwrap();
        migrations::apply(&mut connection).unwrap();
        connection
    };
    let next = changed(|declaration| {
        declaration.columns.push(column("trip", "/trip", ColumnKind::Text));
        declaration.columns.retain(|column| column.name != "code");
    });
    let mut connection = open();
    let tx = connection.transaction().unwrap();
    install(&tx, &append()).unwrap();
    insert(&tx, &append(), &rows(&append()), MINUTE).unwrap();
    tx.commit().unwrap();
    let tx = connection.transaction().unwrap();
    install(&tx, &next).unwrap();
    drop(tx);
    drop(connection);

    let mut connection = open();
    assert_eq!(load(&connection, "cardata").unwrap().unwrap().declaration(), append().declaration());
    let tx = connection.transaction().unwrap();
    install(&tx, &next).unwrap();
    assert!(fill(&tx, &next, &mut Slice::rows(8)).unwrap());
    tx.commit().unwrap();
    let tx = connection.transaction().unwrap();
    assert!(fill(&tx, &next, &mut Slice::rows(4)).unwrap());
    drop(tx);
    drop(connection);

    let mut connection = open();
    let tx = connection.transaction().unwrap();
    install(&tx, &next).unwrap();
    let filled =
        || -> u64 { tx.query_row("select count(trip) from collection_cardata", [], |row| row.get(0)).unwrap() };
    assert_eq!(filled(), 7, "what was committed stays");
    fill_all(&tx, &next);
    assert_eq!(filled(), 16);
}

/// A second change comes before the columns of the first are filled.
#[test]
fn columns_that_were_not_ready_are_not_forgotten() {
    let first = changed(|declaration| declaration.columns.push(column("trip", "/trip", ColumnKind::Text)));
    let mut second = first.declaration().clone();
    second.columns.push(column("level", "/level", ColumnKind::Text));
    let second = Collection::new(second).unwrap();
    after(&first, |tx| {
        assert!(fill(tx, &first, &mut Slice::rows(4)).unwrap());
        install(tx, &second).unwrap();
        fill_all(tx, &second);
        assert_eq!(documents(tx, &[("trip", "7"), ("level", "7")]).len(), 1);
        install(tx, &append()).unwrap();
        assert!(!list(tx).unwrap()[0].filling);
    });
}

#[test]
fn a_patch_that_makes_its_document_too_large_is_left_out() {
    let mut declaration = declaration(Kind::Merge { key: vec!["vin".to_owned()] });
    declaration.retention.max_document_bytes = Some(60);
    let collection = Collection::new(declaration).unwrap();
    let patch =
        |position, more: &str| Row::new(&collection, &source(position), format!(r#"{{"vin":"A",{more}}}"#)).unwrap();
    let wide = "x".repeat(30);
    scratch(|tx| {
        install(tx, &collection)?;
        let rows = [patch(1, &format!(r#""a":"{wide}""#)), patch(2, &format!(r#""b":"{wide}""#)), patch(3, r#""c":1"#)];
        assert_eq!(insert(tx, &collection, &rows, MINUTE)?.dropped, 1);
        assert_eq!(list(tx)?[0].refused, 1);
        let document = get(tx, &collection, &["A"])?.unwrap_or_default();
        assert!(document.contains("\"c\":1") && !document.contains("\"b\""), "{document}");
        Ok(())
    });
    let large = Row::new(&collection, &source(4), format!(r#"{{"vin":"A","a":"{wide}{wide}"}}"#)).unwrap_err();
    assert!(large.to_string().contains("`max_document` (60)"), "{large}");
}
