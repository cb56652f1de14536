//! Rows: from a QoS 1 publish over mTLS to the committed row, beside a bare loop that inserts the same rows in
//! transactions of the same size; and the plugin beside its own rules as native code.

use crate::peer::{Peer, setup};
use crate::table::{Table, count};
use crate::worker;
use causeway::config::StorageConfig;
use causeway::plugins::{Plugins, Wanted};
use causeway::store::collections::{self, Collection, Row, Source};
use causeway::store::{Store, StoreMetrics};
use causeway::telemetry;
use causeway_host::{
    Batch, Effect, EngineConfig, Imports, Limits, LostLines, Qos, ReadError, Sender, Setup, TelemetryInstance,
};
use causeway_plugin::Failure;
use causeway_plugin_telemetry::{Input, Settings, route};
use causeway_tests::vehicle;
use prometheus_client::registry::Registry;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const VEHICLES: usize = 64;
/// Rows of one transaction, as the gateway's default.
const ROWS: usize = 256;
const SECONDS: u64 = 5;
const MESSAGES: u64 = 20_000;
const RECEIVED: u64 = 4_000_000_000_000;

/// Rows a second.
pub(crate) fn rows() {
    let settings = format!(
        "{VEHICLES} vehicles publish telemetry of about 900 bytes at QoS 1, flat out, 100 in flight each; every message is \
         two rows (`cardata`, `latest_telemetry`) and one read of `shared_cardata`.\n\
         The bare loop has its rows ready and inserts them {ROWS} to a transaction. The rows in the middle are without \
         sockets and journal: batches of {VEHICLES} to the plugin, or to its rules compiled into this program, then the \
         same checks and the same transactions."
    );
    let mut table = Table::new("Rows", &settings, &["path", "rows/s", "beside", "ratio", "aim"]);
    let (native, documents) = Ground::new().measure(&mut Native(Settings::default()), MESSAGES);
    let bare = Ground::new().bare(documents);
    let ground = Ground::new();
    let mut guest = Guest::new(&ground);
    let (plugin, _) = ground.measure(&mut guest, MESSAGES);
    let whole = end_to_end();
    let mut row = |path: &str, rate: f64, beside: &str, other: f64, aim: &str| {
        let ratio = if beside.is_empty() { String::new() } else { format!("{:.2}x", rate / other) };
        table.row(vec![path.into(), count(rate), beside.into(), ratio, aim.into()]);
    };
    row("bare loop", bare, "", bare, "");
    row("rules as native code", native, "bare loop", bare, "");
    row("plugin", plugin, "native code", native, "0.8x");
    row("publish over mTLS to committed rows", whole, "bare loop", bare, "0.5x");
    table.print();
}

/// From the first to the last row that the gateway says it has committed.
fn end_to_end() -> f64 {
    let peer = Peer::causeway(setup().telemetry());
    let names: Vec<String> = (0..VEHICLES).map(|n| format!("vehicle-{n}")).collect();
    let task = json!({
        "kind": "cell", "connection": peer.connection(&names), "publishers": VEHICLES, "subscribers": 0, "qos": 1,
        "window": 100, "seconds": SECONDS, "topic": "dt/cvra/vehicle-{n}/cardata", "telemetry": true,
    });
    let load = std::thread::spawn(move || worker::once(&task));
    let (mut first, mut last, mut committed) = (None, Instant::now(), 0.0);
    loop {
        let now = committed_rows(&peer);
        if now > committed {
            first.get_or_insert_with(|| (Instant::now(), now));
            (last, committed) = (Instant::now(), now);
        }
        // What is acknowledged is in the journal; its rows come when the plugin gets there.
        if load.is_finished() && last.elapsed() > Duration::from_secs(2) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    load.join().unwrap();
    let (began, before) = first.expect("rows");
    (committed - before) / (last - began).as_secs_f64()
}

fn committed_rows(peer: &Peer) -> f64 {
    let Peer::Causeway(gateway) = peer else { return 0.0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gateway.metric("causeway_dispatch_rows_total")) as f64
}

/// Rows that wait for their transaction, by collection.
type Pending = HashMap<String, Vec<Row>>;

/// What comes of one batch: collection and document of each row of each message.
type Documents = Vec<Vec<(String, String)>>;

/// Something that has the rules.
trait Rules {
    fn ask(&mut self, ground: &Ground, messages: &[(String, String)]) -> Documents;
}

/// A store with the vehicles' collections.
struct Ground {
    _home: tempfile::TempDir,
    kept: Kept,
}

/// What the rules may read: the store, and what waits to be committed.
#[derive(Clone)]
struct Kept {
    store: Store,
    collections: Arc<HashMap<String, Collection>>,
    pending: Arc<Mutex<Pending>>,
}

impl Kept {
    fn read(&self, collection: &str, key: &str) -> Option<String> {
        let pending = self.pending.lock().unwrap();
        let waiting = pending.get(collection).map_or(&[][..], Vec::as_slice);
        let collection = &self.collections[collection];
        let read = |connection: &rusqlite::Connection| {
            collections::get_after(connection, collection, &[key], waiting, 300_000)
        };
        self.store.read_blocking(read).unwrap()
    }
}

impl Ground {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), &StorageConfig::default(), StoreMetrics::new(&mut Registry::default()));
        let (store, declared) = (store.unwrap(), telemetry::collections().unwrap());
        let installed = declared.clone();
        store.write_blocking(move |tx| installed.iter().try_for_each(|one| collections::install(tx, one))).unwrap();
        let collections = Arc::new(declared.into_iter().map(|one| (one.name().to_owned(), one)).collect());
        Self { _home: home, kept: Kept { store, collections, pending: Arc::default() } }
    }

    /// Rows a second, and the documents of them.
    fn measure(&self, rules: &mut impl Rules, messages: u64) -> (f64, Documents) {
        let began = Instant::now();
        let (mut all, mut waiting) = (Documents::new(), 0);
        for round in 0..messages / VEHICLES as u64 {
            let senders = (0..VEHICLES).map(|n| format!("vehicle-{n}"));
            let batch: Vec<_> = senders.map(|id| (vehicle::cardata(&id, round).to_string(), id)).collect();
            for (at, (rows, (_, sender))) in rules.ask(self, &batch).into_iter().zip(&batch).enumerate() {
                let position = round * VEHICLES as u64 + at as u64 + 1;
                waiting += rows.len();
                self.wait(position, sender, &rows);
                all.push(rows);
            }
            if waiting >= ROWS {
                self.commit();
                waiting = 0;
            }
        }
        self.commit();
        let rows: usize = all.iter().map(Vec::len).sum();
        (rows as f64 / began.elapsed().as_secs_f64(), all)
    }

    fn wait(&self, position: u64, sender: &str, rows: &[(String, String)]) {
        let mut pending = self.kept.pending.lock().unwrap();
        for (item, (collection, document)) in (0..).zip(rows) {
            let row = self.row(position, item, sender, collection, document.clone());
            pending.entry(collection.clone()).or_default().push(row);
        }
    }

    fn row(&self, position: u64, item: u32, sender: &str, collection: &str, document: String) -> Row {
        let source = Source { binding: "bench", position: Some(position), item, sender, received_ms: RECEIVED };
        Row::new(&self.kept.collections[collection], &source, document).unwrap()
    }

    fn commit(&self) {
        let rows = std::mem::take(&mut *self.kept.pending.lock().unwrap());
        self.insert(rows);
    }

    fn insert(&self, rows: Pending) {
        let declared = Arc::clone(&self.kept.collections);
        let work = move |tx: &rusqlite::Transaction<'_>| {
            rows.iter().try_for_each(|(name, rows)| collections::insert(tx, &declared[name], rows, 300_000).map(drop))
        };
        self.kept.store.write_blocking(work).unwrap();
    }

    /// Rows a second of a loop that has nothing to do but to insert.
    fn bare(&self, documents: Documents) -> f64 {
        let mut transactions = vec![(0, Pending::new())];
        let mut rows = 0;
        for (position, documents) in (1..).zip(documents) {
            let (waiting, pending) = transactions.last_mut().unwrap();
            for (item, (collection, document)) in (0..).zip(documents) {
                let row = self.row(position, item, "vehicle", &collection, document);
                pending.entry(collection).or_default().push(row);
                *waiting += 1;
                rows += 1;
            }
            if *waiting >= ROWS {
                transactions.push((0, Pending::new()));
            }
        }
        let began = Instant::now();
        transactions.into_iter().for_each(|(_, pending)| self.insert(pending));
        f64::from(rows) / began.elapsed().as_secs_f64()
    }
}

/// The rules, compiled into this program.
struct Native(Settings);

impl causeway_plugin_telemetry::Records for Kept {
    fn get(&self, collection: &str, key: &str) -> Result<Option<String>, Failure> {
        Ok(self.read(collection, key))
    }
}

impl Rules for Native {
    fn ask(&mut self, ground: &Ground, messages: &[(String, String)]) -> Documents {
        let one = |(payload, sender): &(String, String)| {
            let topic = vehicle::topic(sender, "cardata");
            let input = Input {
                topic: &topic,
                device: Some(sender),
                sender,
                vin: None,
                payload: payload.as_bytes(),
                received_ms: RECEIVED,
            };
            let rows = route(&self.0, input, &ground.kept).unwrap();
            rows.into_iter().map(|row| (row.collection.to_owned(), row.document)).collect()
        };
        messages.iter().map(one).collect()
    }
}

/// The rules as the gateway runs them.
struct Guest(Option<TelemetryInstance>);

impl Guest {
    fn new(ground: &Ground) -> Self {
        let plugins = Plugins::without_cache(EngineConfig::default(), None).unwrap();
        let wanted = Wanted::locked(telemetry::KIND, "builtin:telemetry", None);
        let (component, _) = plugins.load(&wanted).unwrap();
        let plugin = causeway_host::TelemetryPlugin::new(plugins.engine(), &component).unwrap();
        let setup = Setup { gateway: "bench".into(), binding: "bench".into(), config: "{}".into() };
        let imports =
            Imports { log: Box::new(Silent), state: Box::new(Silent), records: Box::new(ground.kept.clone()) };
        Self(Some(plugin.start(&setup, &Limits::default(), imports).unwrap()))
    }
}

struct Silent;

impl causeway_host::Log for Silent {
    fn write(&mut self, _: causeway_host::Level, _: &str) {}
    fn lost(&mut self, _: LostLines) {}
}

impl causeway_host::State for Silent {
    fn get(&mut self, _: u32, _: &str) -> Option<Vec<u8>> {
        None
    }
}

impl causeway_host::Records for Kept {
    fn get(&mut self, _: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        Ok(self.read(collection, key[0]))
    }
}

impl Rules for Guest {
    fn ask(&mut self, _: &Ground, messages: &[(String, String)]) -> Documents {
        let topics: Vec<_> = messages.iter().map(|(_, sender)| vehicle::topic(sender, "cardata")).collect();
        let variables: Vec<_> = messages.iter().map(|(_, sender)| [("device", sender.as_str())]).collect();
        let senders: Vec<_> = messages.iter().map(|(_, sender)| Sender { id: sender, attributes: &[] }).collect();
        let inputs: Vec<_> = (0..)
            .zip(messages.iter().zip(topics.iter().zip(&variables)))
            .map(|(sender, ((payload, _), (topic, variables)))| causeway_host::Input {
                topic,
                variables,
                sender,
                payload: payload.as_bytes(),
                qos: Qos::AtLeastOnce,
                retain: false,
                received_ms: RECEIVED,
                content_type: None,
                user_properties: &[],
            })
            .collect();
        let instance = self.0.take().unwrap();
        let (instance, outcomes) = instance.route_batch(Batch { senders: &senders, inputs: &inputs }).unwrap();
        self.0 = Some(instance);
        let put = |effect| match effect {
            Effect::Put(row) => (row.collection, row.document),
            other => panic!("{other:?}"),
        };
        outcomes.into_iter().map(|outcome| outcome.unwrap().into_iter().map(put).collect()).collect()
    }
}
