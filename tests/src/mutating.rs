//! A registry that serves good artifacts, and changes exactly one thing of what it serves when a test says so.
//!
//! It writes HTTP byte by byte on threads of its own, because a server that one borrows would not lie about lengths, stall
//! in its headers or send a body without end.

mod http;
mod shelf;

pub use http::{Answer, End, Request};
pub use shelf::{Role, Shelf};

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Longer than any deadline that a test gives the gateway.
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes an answer before it is sent.
type Mutation = Box<dyn Fn(&Request, &mut Answer) + Send + Sync>;

/// A running registry; ends when dropped.
pub struct Mutating {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    shelf: Mutex<Shelf>,
    mutation: Mutex<Arc<Mutation>>,
    seen: Mutex<Vec<Request>>,
    sent: AtomicU64,
    tls: Mutex<Option<Arc<rustls::ServerConfig>>>,
    stopped: AtomicBool,
}

impl Mutating {
    /// Serves plain HTTP on a port of loopback.
    #[must_use]
    pub fn plain() -> Self {
        Self::serve(None)
    }

    /// Serves HTTPS.
    #[must_use]
    pub fn secure(tls: Arc<rustls::ServerConfig>) -> Self {
        Self::serve(Some(tls))
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let nothing: Mutation = Box::new(|_, _| {});
        let inner = Arc::new(Inner {
            shelf: Mutex::default(),
            mutation: Mutex::new(Arc::new(nothing)),
            seen: Mutex::default(),
            sent: AtomicU64::new(0),
            tls: Mutex::new(tls),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (inner, Ok(stream)) = (Arc::clone(&serving), stream) else { continue };
                // A peer that goes away in the middle is what half of the tests are about.
                thread::spawn(move || inner.connection(stream));
            }
        });
        Self { address, inner }
    }

    /// `host:port`, as a reference names it.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is served.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.inner.shelf)
    }

    /// Changes answers from now on, in place of the change before.
    pub fn mutate(&self, mutation: impl Fn(&Request, &mut Answer) + Send + Sync + 'static) {
        *lock(&self.inner.mutation) = Arc::new(Box::new(mutation));
    }

    /// Shows another certificate from now on, or none and speaks plain HTTP.
    pub fn present(&self, tls: Option<Arc<rustls::ServerConfig>>) {
        *lock(&self.inner.tls) = tls;
    }

    /// The requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        lock(&self.inner.seen).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.inner.seen).clear();
        self.inner.sent.store(0, Ordering::Relaxed);
    }

    /// Bytes of bodies that were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.inner.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Mutating {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::Relaxed);
        // The accept loop looks up when somebody comes.
        drop(TcpStream::connect((IpAddr::V4(Ipv4Addr::LOCALHOST), self.address.port())));
    }
}

impl Inner {
    fn connection(&self, stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let tls = lock(&self.tls).clone();
        match tls {
            None => self.exchange(stream),
            Some(tls) => {
                let connection = rustls::ServerConnection::new(tls).ok()?;
                let mut stream = rustls::StreamOwned::new(connection, stream);
                self.exchange(&mut stream)?;
                stream.conn.send_close_notify();
                stream.flush().ok()
            }
        }
    }

    /// One request and its answer; a client that wants more connects again.
    fn exchange(&self, mut stream: impl Read + Write) -> Option<()> {
        let mut request = http::read(&mut stream)?;
        let mut answer = lock(&self.shelf).answer(&mut request);
        lock(&self.seen).push(request.clone());
        let mutation = Arc::clone(&lock(&self.mutation));
        mutation(&request, &mut answer);
        http::write(&mut stream, &request, &answer, &self.sent)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
