//! The process of the load: does one task and prints one line of JSON.

use crate::bare;
use crate::histogram::Histogram;
use crate::load::client::{Client, Target};
use crate::load::publisher::Publisher;
use crate::load::{Cell, Run, subscriber, updates};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// A worker as the bench sees it.
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a worker on a task.
    pub(crate) fn start(task: &Value) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut input, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        // Not as an argument: the certificates of many devices are more than a command line takes.
        writeln!(input, "{task}").unwrap();
        Self { child, input, lines }
    }

    /// The next line that the worker prints.
    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the worker said {line:?}: {error}"))
    }

    /// Lets a worker that waits go on.
    pub(crate) fn go(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a task to its end and returns its line.
pub(crate) fn once(task: &Value) -> Value {
    Worker::start(task).line()
}

/// The main of a worker: its task is the first line that it reads.
pub(crate) fn run() {
    let mut task = String::new();
    std::io::stdin().read_line(&mut task).unwrap();
    let task: Value = serde_json::from_str(&task).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let line = runtime.block_on(async {
        match task["kind"].as_str().unwrap() {
            "cell" => cell(&task).await,
            "bare" => bare::run(&Cell::from_json(&task)).await,
            "idle" => idle(&task).await,
            "updates" => updates::run(&task).await,
            "silent" => silent(&task).await,
            "filters" => filters(&task).await,
            "topics" => topics(&task).await,
            "ids" => ids(&task).await,
            other => panic!("unknown task {other}"),
        }
    });
    println!("{line}");
    // Open connections need no goodbye.
    std::process::exit(0);
}

/// One cell of a throughput table.
async fn cell(task: &Value) -> Value {
    let (target, cell) = (Target::from_json(&task["connection"]), Cell::from_json(task));
    let run = Run::new();
    let mut subscribers = Vec::new();
    for n in 0..cell.subscribers {
        subscribers.push(subscriber::start(&target, &cell, n, Arc::clone(&run)).await);
    }
    let mut publishers = Vec::new();
    for n in 0..cell.publishers {
        publishers.push(Publisher::connect(&target, &cell, n, Arc::clone(&run)).await);
    }
    let publishers: Vec<_> = publishers.into_iter().map(|publisher| tokio::spawn(publisher.publish())).collect();

    sleep(Duration::from_millis(700)).await;
    run.measuring.store(true, Ordering::Relaxed);
    let (began, sent, delivered) = (Instant::now(), counted(&run.sent), counted(&run.delivered));
    sleep(Duration::from_secs_f64(cell.seconds)).await;
    let seconds = began.elapsed().as_secs_f64();
    let (sent, delivered) = (counted(&run.sent) - sent, counted(&run.delivered) - delivered);
    // Latencies of what is still under way count too: they are the worst ones.
    run.stopping.store(true, Ordering::Relaxed);
    let mut acknowledged = Histogram::new();
    for publisher in publishers {
        acknowledged.add(&publisher.await.unwrap());
    }
    drain(&run, &cell).await;
    run.measuring.store(false, Ordering::Relaxed);
    run.closing.send_replace(true);
    let mut latencies = Histogram::new();
    for subscriber in subscribers {
        latencies.add(&subscriber.await.unwrap());
    }
    let missing = (counted(&run.sent) * cell.subscribers).saturating_sub(counted(&run.delivered));
    json!({
        "sent": sent as f64 / seconds, "delivered": delivered as f64 / seconds, "missing": missing,
        "latency": latencies.to_json(), "ack": acknowledged.to_json(), "total": latencies.total(),
    })
}

/// Waits for what is under way, for as long as something still comes, at most fifteen seconds.
async fn drain(run: &Run, cell: &Cell) {
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut before = u64::MAX;
    while Instant::now() < deadline {
        let now = counted(&run.delivered);
        if now >= counted(&run.sent) * cell.subscribers || now == before {
            return;
        }
        before = now;
        sleep(Duration::from_millis(1000)).await;
    }
}

fn counted(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Connects many clients with one QoS 1 subscription each, says how long it took, and holds them.
async fn idle(task: &Value) -> Value {
    let target = Target::from_json(&task["connection"]);
    let count = task["count"].as_u64().unwrap();
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    let permits = Arc::new(tokio::sync::Semaphore::new(64));
    for n in 0..count {
        let (target, permits) = (target.clone(), Arc::clone(&permits));
        clients.spawn(async move {
            let _permit = permits.acquire().await;
            let mut client = Client::connect(&target, &format!("idle-{n}"), n, source(n)).await.unwrap();
            client.subscribe(&format!("bench/idle/{n}"), 1).await.unwrap();
            client.shrink();
            client
        });
    }
    let clients = clients.join_all().await;
    println!("{}", json!({ "seconds": began.elapsed().as_secs_f64(), "connected": clients.len() }));
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await.unwrap().unwrap();
    json!({ "held": clients.len() })
}

/// Twenty thousand connections for each loopback address.
fn source(n: u64) -> Option<SocketAddr> {
    let last = u8::try_from(n / 20_000 + 1).unwrap();
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 9, last)), 0))
}

/// Opens silent sockets and opens each again when the broker closes it; never ends by itself.
async fn silent(task: &Value) -> Value {
    let target = Target::from_json(&task["connection"]);
    let count = task["count"].as_u64().unwrap();
    let mut open = tokio::task::JoinSet::new();
    for n in 0..count {
        let target = target.clone();
        open.spawn(async move {
            loop {
                // The sockets come from two addresses, so that no cap of one address helps the broker.
                let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 8, u8::try_from(n % 2 + 1).unwrap())), 0);
                if let Ok(mut stream) = causeway_tests::wire::tcp(target.address, Some(from)).await {
                    if n % 2 == 0 {
                        let _ = stream.write_all(&[0x16, 3, 1, 0, 200, 1]).await;
                    }
                    let _ = stream.read(&mut [0; 64]).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
    sleep(Duration::from_millis(500)).await;
    println!("{}", json!({ "open": count }));
    open.join_all().await;
    json!({})
}

/// The round trip of QoS 1 publishes to `topic`, one at a time.
async fn round_trips(client: &mut Client, topic: impl Fn(u64) -> String, count: u64) -> Histogram {
    let mut histogram = Histogram::new();
    for n in 0..count {
        let publish = causeway_tests::Publish::new(&topic(n), "x", 1).id(u16::try_from(n % 60_000 + 1).unwrap());
        let began = Instant::now();
        client.stream.write_all(&publish.bytes(causeway_tests::Version::V311)).await.unwrap();
        let mut done = false;
        while !done {
            let read = client.read(|first, _| done |= first == 0x40);
            timeout(Duration::from_secs(120), read).await.unwrap().unwrap();
        }
        histogram.record(u64::try_from(began.elapsed().as_nanos()).unwrap());
    }
    histogram
}

/// Subscribes to ever more filters over some clients; says the round trip at each tenth of the way.
async fn filters(task: &Value) -> Value {
    let target = Target::from_json(&task["connection"]);
    let count = task["count"].as_u64().unwrap();
    let mut publisher = Client::connect(&target, "publisher", 0, None).await.unwrap();
    let mut subscribers = Vec::new();
    let mut steps = vec![round_trips(&mut publisher, |n| format!("bench/new/{n}"), 500).await.to_json()];
    for n in 0..count {
        if n % 100 == 0 {
            subscribers.push(Client::connect(&target, &format!("filters-{n}"), n, None).await.unwrap());
        }
        subscribers.last_mut().unwrap().subscribe(&format!("bench/filter/{n}/+"), 0).await.unwrap();
        if (n + 1) % (count / 4) == 0 {
            // Topics never seen before: a broker that caches by topic cannot hide its cost.
            steps.push(round_trips(&mut publisher, |m| format!("bench/new/{n}/{m}"), 500).await.to_json());
        }
    }
    json!({ "steps": steps })
}

/// Publishes to ever new topics; says the round trip of each quarter.
async fn topics(task: &Value) -> Value {
    let target = Target::from_json(&task["connection"]);
    let count = task["count"].as_u64().unwrap();
    let mut subscriber = Client::connect(&target, "subscriber", 0, None).await.unwrap();
    subscriber.subscribe("bench/topic/#", 0).await.unwrap();
    tokio::spawn(async move { while subscriber.read(|_, _| {}).await.is_ok() {} });
    let mut publisher = Client::connect(&target, "publisher", 1, None).await.unwrap();
    // What a broker keeps of past messages, a ring or buffers, is full before the counting starts.
    let frame = causeway_tests::Publish::new("bench/topic/warm", "x", 0).bytes(causeway_tests::Version::V311);
    let batch = frame.repeat(100);
    for _ in 0..12_000 {
        publisher.stream.write_all(&batch).await.unwrap();
    }
    round_trips(&mut publisher, |_| "bench/topic/warm".into(), 100).await;
    hold("warm").await;
    let mut steps = Vec::new();
    for quarter in 0..4 {
        let steps_of = count / 4;
        steps.push(
            round_trips(&mut publisher, |n| format!("bench/topic/{}", quarter * steps_of + n), steps_of)
                .await
                .to_json(),
        );
        hold(&format!("quarter {}", quarter + 1)).await;
    }
    json!({ "steps": steps })
}

/// Says where it is and waits for the word to go on, so that the bench can look at the broker meanwhile.
async fn hold(at: &str) {
    println!("{}", json!({ "at": at }));
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await.unwrap().unwrap();
}

/// Connects with ever new client ids; says the time of each quarter's connections.
async fn ids(task: &Value) -> Value {
    let target = Target::from_json(&task["connection"]);
    let count = task["count"].as_u64().unwrap();
    let mut steps = Vec::new();
    for quarter in 0..4 {
        let began = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for part in 0..16 {
            let target = target.clone();
            running.spawn(async move {
                for n in (part..count / 4).step_by(16) {
                    let id = format!("id-{}", quarter * (count / 4) + n);
                    // Closed sockets wait for a minute: source addresses are spread so that ports do not run out.
                    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 7, u8::try_from(n % 200 + 1).unwrap()));
                    let mut client = Client::connect(&target, &id, n, Some(SocketAddr::new(from, 0))).await.unwrap();
                    client.subscribe("bench/ids", 1).await.unwrap();
                    client.stream.write_all(&[0xe0, 0]).await.unwrap();
                    let _ = timeout(Duration::from_secs(5), client.read(|_, _| {})).await;
                }
            });
        }
        running.join_all().await;
        steps.push(json!({ "seconds": began.elapsed().as_secs_f64() }));
        hold(&format!("quarter {}", quarter + 1)).await;
    }
    json!({ "steps": steps })
}
