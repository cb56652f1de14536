//! One connection: reads packets, answers them, and sends what its session has waiting.
//!
//! One task, one loop over a closed set of events; no lock is held across an await. The phases: `handshake` opens the
//! session, `inbound` handles what the client says, `outbound` fills the output, `closing` ends it all.

mod closing;
mod handshake;
mod held;
mod inbound;
mod io;
mod outbound;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::closing::End;
use self::held::Held;
use self::inbound::Stalled;
use super::broker::Broker;
use super::delivery::Fanout;
use super::identity::Peer;
use super::listener::{Accepted, Permit, Stream};
use super::permissions::Permissions;
use super::session::{Order, Session};
use super::tls::Standing;
use super::will::Will;
use super::wire::{Decoder, Encoder, Reason};
use crate::config::ListenerConfig;
use crate::journal::{Durable, Position};

/// Output that is gathered before it is written; more waits in the session's queue.
const OUTPUT_HIGH: usize = 64 * 1024;
/// Messages that are read from the journal at once.
const LOAD_BATCH: usize = 64;
/// Their bytes, of which the last one may have more.
const LOAD_BYTES: usize = 256 * 1024;
/// How often a message that found no room is tried again.
const STALL_RETRY: Duration = Duration::from_millis(100);
/// How often the deadlines of waiting output and replies are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a publisher pauses when receivers cannot keep up.
const PAUSE: Duration = Duration::from_millis(1);
/// The timer of a connection without a deadline.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves an accepted connection to its end. Never fails: every error ends in a closed socket and a log line.
pub async fn serve(accepted: Accepted, broker: Arc<Broker>, shutdown: CancellationToken) {
    // The guards of the listener's limits live as long as the connection.
    let connected = tokio::select! {
        () = shutdown.cancelled() => return,
        connected = Box::pin(handshake::connect(accepted, broker)) => connected,
    };
    let Some(mut connection) = connected else { return };
    let end = connection.run(&shutdown).await;
    Box::pin(connection.close(end)).await;
}

/// A connection whose CONNECT was accepted.
struct Connection {
    broker: Arc<Broker>,
    peer: Arc<Peer>,
    listener: Arc<ListenerConfig>,
    /// The slots of the listener's limits; they come back with the end of the connection.
    _permit: Permit,
    /// Resolves when the peer's certificate is no longer good.
    standing: Pin<Box<dyn Future<Output = Standing> + Send>>,
    session: Arc<Session>,
    /// The right to serve the session; taken out when the connection lets go of it.
    slot: Option<OwnedMutexGuard<()>>,
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    decoder: Decoder,
    encoder: Encoder,
    input: BytesMut,
    output: BytesMut,
    /// Replies and messages that wait for the journal.
    held: Held,
    durable: watch::Receiver<Durable>,
    permissions: Permissions,
    agreed: Agreed,
    will: Option<Will>,
    /// Packet ids of an earlier connection that are to be sent again, oldest first.
    resend: VecDeque<u16>,
    /// Messages that are being read from the journal.
    loading: Option<tokio::task::JoinHandle<Vec<Option<Arc<Fanout>>>>>,
    /// A 3.1.1 publish that found no room.
    stalled: Option<Stalled>,
    /// Until when the client is not read, because receivers of what it publishes cannot keep up.
    paused_until: Option<Instant>,
    last_read: Instant,
    /// Since when the rest of a packet is awaited.
    partial_since: Option<Instant>,
    /// When the output last got smaller, or was empty.
    last_write: Instant,
    /// TLS may still have something to write.
    flushing: bool,
    timer: Pin<Box<Sleep>>,
}

/// What CONNECT and CONNACK agreed on.
struct Agreed {
    /// 1.5 times the keep-alive, or none (MQTT5 3.1.2.10).
    idle_limit: Option<Duration>,
    /// The most unacknowledged messages that the client takes.
    window: usize,
    session_expiry_s: u32,
}

/// What the loop reacts to.
enum Event {
    Read(std::io::Result<usize>),
    Wrote(std::io::Result<usize>),
    Woken,
    Durable,
    Room,
    Loaded(Vec<Option<Arc<Fanout>>>),
    Timer,
    Standing(Standing),
    Shutdown,
}

impl Connection {
    async fn run(&mut self, shutdown: &CancellationToken) -> End {
        loop {
            if let Err(end) = self.process_input().and_then(|()| self.fill_output()) {
                return end;
            }
            let handled = match self.next_event(shutdown).await {
                Event::Read(Ok(0)) | Event::Read(Err(_)) | Event::Wrote(Err(_)) => Err(End::Lost),
                Event::Read(Ok(_)) => {
                    self.last_read = Instant::now();
                    Ok(())
                }
                Event::Wrote(Ok(written)) => {
                    if written > 0 {
                        self.last_write = Instant::now();
                    }
                    Ok(())
                }
                Event::Woken => self.follow_orders(),
                Event::Durable => {
                    self.release_held();
                    Ok(())
                }
                Event::Loaded(messages) => {
                    self.loaded(messages);
                    Ok(())
                }
                Event::Room => Ok(()),
                Event::Timer => self.on_timer(),
                Event::Standing(standing) => {
                    info!(device = %self.session.key.device, ?standing, "the certificate is no longer good");
                    Err(End::Said(
                        Reason::NotAuthorized,
                        "the client certificate is expired, revoked or no longer trusted",
                    ))
                }
                Event::Shutdown => Err(End::Said(Reason::ServerShuttingDown, "the gateway shuts down")),
            };
            if let Err(end) = handled {
                return end;
            }
        }
    }

    /// Waits for the next event. Every branch is cancel-safe, so that the losers of one round lose nothing.
    async fn next_event(&mut self, shutdown: &CancellationToken) -> Event {
        let full = !self.broker.router.has_room();
        let reading = !full && self.may_read();
        self.arm_timer();
        let Self {
            broker,
            session,
            reader,
            writer,
            input,
            output,
            held,
            durable,
            loading,
            flushing,
            timer,
            standing,
            ..
        } = self;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Event::Shutdown,
            wrote = io::write_some(writer, output, flushing), if !output.is_empty() || *flushing => Event::Wrote(wrote),
            changed = durable.changed(), if !held.is_empty() => {
                // The journal's writer is gone only when the gateway shuts down.
                if changed.is_ok() { Event::Durable } else { Event::Shutdown }
            }
            () = session.woken() => Event::Woken,
            messages = io::joined(loading), if loading.is_some() => Event::Loaded(messages),
            read = io::read_some(reader, input), if reading => Event::Read(read),
            () = broker.router.room(), if full => Event::Room,
            () = timer => Event::Timer,
            lost = standing => Event::Standing(lost),
        }
    }

    /// Sets the timer to the next moment at which a deadline may have passed. A deadline that moves away does not move
    /// the timer: it fires, finds nothing and is set again, which is cheaper than a change with every packet.
    fn arm_timer(&mut self) {
        let now = Instant::now();
        let idle = self.agreed.idle_limit.map(|limit| self.last_read + limit);
        let writing = !self.output.is_empty() || !self.held.is_empty();
        if !writing {
            self.last_write = now;
        }
        let tick = (writing || self.partial_since.is_some()).then(|| now + TICK);
        let stalled = self.stalled.as_ref().map(|stalled| stalled.retry);
        let Some(wanted) = [idle, tick, stalled, self.paused_until].into_iter().flatten().min() else { return };
        if wanted < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(wanted);
        }
    }

    fn on_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let config = &self.broker.config;
        if self.agreed.idle_limit.is_some_and(|limit| now >= self.last_read + limit) {
            // While we do not read, the silence is ours and not the client's.
            if self.may_read() && self.broker.router.has_room() {
                return Err(End::Said(Reason::KeepAliveTimeout, "no packet within 1.5 times the keep-alive"));
            }
            self.last_read = now;
        }
        if !self.output.is_empty() && now >= self.last_write + config.write_timeout {
            self.broker.metrics.write_timeouts.inc();
            return Err(End::Lost);
        }
        if self.partial_since.is_some_and(|since| now >= since + config.packet_timeout) {
            self.broker.metrics.packet_timeouts.inc();
            return Err(End::Said(Reason::ProtocolError, "the rest of a packet did not come in time"));
        }
        if self.held.oldest().is_some_and(|since| now >= since + config.ack_timeout) {
            return Err(End::Said(Reason::ServerBusy, "acknowledgements have waited too long for the disk"));
        }
        self.paused_until.take_if(|until| now >= *until);
        // Nothing may be due for long: the next deadline sets the timer again.
        self.timer.as_mut().reset(now + FAR);
        self.retry_stalled(now)
    }

    fn follow_orders(&mut self) -> Result<(), End> {
        let order = self.session.lock().order.take();
        match order {
            Some(Order::Close(reason, text)) => Err(End::Said(reason, text)),
            Some(Order::Review) => self.review(),
            None => Ok(()),
        }
    }

    /// The position up to which the journal is on disk. While the disk fails nothing is: what is held waits for it, or
    /// for the end of its patience.
    fn durable_position(&mut self) -> Position {
        match *self.durable.borrow_and_update() {
            Durable::Position(position) => position,
            Durable::Failed => 0,
        }
    }
}
