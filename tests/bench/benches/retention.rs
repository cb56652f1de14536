//! What trimming costs those who insert: the same load without it, and with a collection that has to lose as much.

use std::time::{Duration, Instant};

use causeway::config::{JournalConfig, StorageConfig};
use causeway::store::collections::{
    self, Collection, Column, ColumnKind, Declaration, InstallError, Kind, Retention, Row, Source,
};
use causeway::store::{Store, StoreMetrics, retention};
use prometheus_client::registry::Registry;

use crate::histogram::Histogram;
use crate::table::Table;

/// Rows in the collection before the load begins.
const ROWS: u64 = 200_000;

/// Rows of one transaction, as the dispatcher makes them.
const BATCH: u64 = 256;

const RUN: Duration = Duration::from_secs(10);

pub(crate) fn retention() {
    let settings = "One writer, transactions of 256 rows of 400 bytes with three indexes, 20 in a second; 200,000 rows \
                    before. Trimming has to delete all of those at the same time. `synchronous: full`.";
    let mut table =
        Table::new("retention", settings, &["trimming", "inserts", "p50 ms", "p99 ms", "p99.9 ms", "rows deleted"]);
    for trims in [false, true] {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (latencies, deleted) = runtime.block_on(load(trims));
        table.row(vec![
            if trims { "yes" } else { "no" }.to_owned(),
            latencies.total().to_string(),
            format!("{:.2}", latencies.percentile(0.5)),
            format!("{:.2}", latencies.percentile(0.99)),
            format!("{:.2}", latencies.percentile(0.999)),
            deleted.to_string(),
        ]);
    }
    table.print();
}

async fn load(trims: bool) -> (Histogram, u64) {
    let home = tempfile::tempdir().unwrap();
    let config = StorageConfig::default();
    let store = Store::open(home.path(), &config, StoreMetrics::new(&mut Registry::default())).unwrap();
    let collection = collection(trims.then_some(1));
    store.declare(vec![collection.clone()]).await.unwrap();
    let mut next = 1;
    while next < ROWS {
        insert(&store, &collection, next).await;
        next += BATCH;
    }
    let bounds = retention::Bounds::new(&config, &JournalConfig::default());
    let housekeeper = tokio::spawn(retention::run(store.clone(), bounds, || 0));
    let (mut latencies, started) = (Histogram::new(), Instant::now());
    let mut timer = tokio::time::interval(Duration::from_millis(50));
    while started.elapsed() < RUN {
        timer.tick().await;
        let began = Instant::now();
        insert(&store, &collection, next).await;
        latencies.record(u64::try_from(began.elapsed().as_nanos()).unwrap());
        next += BATCH;
    }
    housekeeper.abort();
    let left = store.read(collections::list).await.unwrap()[0].rows;
    store.shutdown().await;
    (latencies, next - 1 - left)
}

fn collection(max_rows: Option<u64>) -> Collection {
    let column =
        |name: &str, kind| Column { name: name.to_owned(), pointer: format!("/{name}"), kind, required: false };
    Collection::new(Declaration {
        name: "bench".to_owned(),
        kind: Kind::Append { unique: vec!["id".to_owned()] },
        columns: vec![
            column("vin", ColumnKind::Text),
            column("id", ColumnKind::Integer),
            column("at", ColumnKind::Time),
        ],
        time: Some("at".to_owned()),
        indexes: vec![vec!["vin".to_owned(), "at".to_owned()]],
        retention: Retention { max_rows, ..Retention::default() },
    })
    .unwrap()
}

async fn insert(store: &Store, collection: &Collection, first: u64) {
    let row = |position: u64| {
        let source = Source { binding: "b", position: Some(position), item: 0, sender: "d", received_ms: position };
        let vin = position.wrapping_mul(0x9e37_79b9) % 5000;
        let filler = "x".repeat(330);
        let document = format!(r#"{{"vin":"V{vin}","id":{position},"at":{position},"filler":"{filler}"}}"#);
        Row::new(collection, &source, document).unwrap()
    };
    let rows: Vec<_> = (first..first + BATCH).map(row).collect();
    let collection = collection.clone();
    let work = move |tx: &rusqlite::Transaction<'_>| {
        collections::insert(tx, &collection, &rows, u64::MAX)?;
        Ok::<_, InstallError>(())
    };
    store.write(work).await.unwrap();
}
