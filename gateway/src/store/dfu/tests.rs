//! What is known of updates, written and read back.

use causeway_core::dfu::update::{End, Ended};

use super::*;
use crate::store::devices::{self, Device};
use crate::store::tests::scratch;

fn known(tx: &Transaction<'_>, ids: &[&str]) -> rusqlite::Result<()> {
    ids.iter().try_for_each(|id| devices::put(tx, &Device { id: (*id).to_owned(), ..Device::default() }))
}

fn target() -> Target {
    Target {
        name: "app".to_owned(),
        version: "2".to_owned(),
        image: "sha256:00".to_owned(),
        size: 1_000,
        by: By::Campaign("spring".to_owned()),
        from: "1".to_owned(),
        restart: true,
        astray: false,
        waiting: false,
        started_ms: Some(5),
        tally: Tally {
            offset: 512,
            patch: Some("zstd".to_owned()),
            blocks: 3,
            bytes: 1_024,
            restarts: 1,
            swaps: 2,
            first: 512,
        },
    }
}

fn standing() -> Standing {
    let attempt =
        |version: &str, made, quarantined| Attempt { version: version.to_owned(), made, until_ms: 70, quarantined };
    Standing {
        running: Some("1".into()),
        heard_ms: 9,
        state: State::Transferring,
        since_ms: 5,
        target: Some(Box::new(target())),
        reason: Some("it runs 1".to_owned()),
        attempts: Attempts::new(vec![attempt("9", 1, true), attempt("2", 2, false)]),
    }
}

#[test]
fn what_is_known_of_devices_reads_back_as_it_was_written() {
    scratch(|tx| {
        known(tx, &["a", "b", "c"])?;
        assert!(put(tx, "b", &Standing::default())?);
        assert!(put(tx, "c", &standing())?);
        assert!(put(tx, "a", &standing())?);
        let expected = [("a", standing()), ("b", Standing::default()), ("c", standing())];
        assert_eq!(all(tx)?, expected.map(|(device, standing)| (device.to_owned(), standing)));
        assert!(put(tx, "a", &Standing::default())?);
        assert_eq!(all(tx)?[0], ("a".to_owned(), Standing::default()));
        Ok(())
    });
}

#[test]
fn what_changes_with_each_block_leaves_the_attempts_alone() {
    scratch(|tx| {
        known(tx, &["a"])?;
        put(tx, "a", &standing())?;
        note(tx, "a", &Standing { attempts: Attempts::default(), heard_ms: 10, ..standing() })?;
        assert_eq!(all(tx)?[0].1, Standing { heard_ms: 10, ..standing() });
        Ok(())
    });
}

fn ended(end: End) -> Ended {
    Ended { target: target(), attempt: 2, end, at_ms: 90 }
}

fn numbers(tx: &Transaction<'_>, filter: &Filter) -> Vec<(String, u32)> {
    let found = history(tx, filter, 10).unwrap();
    found.into_iter().map(|kept| (kept.device, kept.ended.attempt)).collect()
}

#[test]
fn the_history_of_a_device_is_bounded_and_the_latest_comes_first() {
    scratch(|tx| {
        known(tx, &["a", "b"])?;
        add(tx, "b", &Ended { attempt: 9, ..ended(End::Superseded) }, 2)?;
        for attempt in 1..=4 {
            add(tx, "a", &Ended { attempt, ..ended(End::Confirmed) }, 2)?;
        }
        let all = [("a".to_owned(), 4), ("a".to_owned(), 3), ("b".to_owned(), 9)];
        assert_eq!(numbers(tx, &Filter::default()), all);
        let device = Some("a".to_owned());
        assert_eq!(numbers(tx, &Filter { device, ..Filter::default() }), all[..2]);
        let outcome = Some("superseded".to_owned());
        assert_eq!(numbers(tx, &Filter { outcome, ..Filter::default() }), all[2..]);
        let before = history(tx, &Filter::default(), 10)?.first().map(|kept| kept.id);
        assert_eq!(numbers(tx, &Filter { before, ..Filter::default() }), all[1..]);
        Ok(())
    });
}

#[test]
fn the_history_of_one_device_is_found_without_looking_at_the_others() {
    scratch(|tx| {
        let plan = |device: Option<&str>| {
            let filter = Filter { device: device.map(str::to_owned), ..Filter::default() };
            let sql = format!("explain query plan {}", history::select(&filter));
            tx.query_row(&sql, params![device, None::<String>, i64::MAX, 10], |row| row.get::<_, String>("detail"))
        };
        assert_eq!(plan(Some("a"))?, "SEARCH dfu_history USING INDEX dfu_history_device (device=? AND id<?)");
        assert_eq!(plan(None)?, "SEARCH dfu_history USING INTEGER PRIMARY KEY (rowid<?)");
        Ok(())
    });
}

#[test]
fn an_attempt_that_is_over_reads_back_with_its_reason() {
    scratch(|tx| {
        known(tx, &["a"])?;
        let failed = ended(End::Failed("it runs 1".to_owned()));
        add(tx, "a", &failed, 10)?;
        let found = history(tx, &Filter::default(), 10)?.remove(0).ended;
        assert_eq!((&found.end, found.attempt, found.at_ms), (&failed.end, 2, 90));
        assert_eq!((found.target.by, found.target.tally.bytes), (failed.target.by, 1_024));
        Ok(())
    });
}

#[test]
fn an_attempt_that_is_written_again_is_one_line() {
    scratch(|tx| {
        known(tx, &["a", "b"])?;
        let mut other = ended(End::Confirmed);
        other.target.started_ms = None;
        for _ in 0..2 {
            add(tx, "a", &ended(End::Confirmed), 10)?;
            add(tx, "a", &other, 10)?;
            add(tx, "b", &other, 10)?;
        }
        assert_eq!(history(tx, &Filter::default(), 10)?.len(), 3);
        Ok(())
    });
}

#[test]
fn rows_of_a_removed_device_go_and_none_come_after() {
    scratch(|tx| {
        known(tx, &["a"])?;
        put(tx, "a", &standing())?;
        add(tx, "a", &ended(End::Confirmed), 10)?;
        devices::delete(tx, "a")?;
        assert!(!put(tx, "a", &standing())?);
        add(tx, "a", &ended(End::Confirmed), 10)?;
        let left = "select (select count(*) from dfu_devices) + (select count(*) from dfu_attempts)
            + (select count(*) from dfu_history)";
        assert_eq!(tx.query_row(left, [], |row| row.get::<_, u64>(0))?, 0);
        Ok(())
    });
}
