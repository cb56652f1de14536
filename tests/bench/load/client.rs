//! A connection of the load: TLS or plain, a CONNECT behind it, frames read in place.

use causeway_tests::packet::{Connect, Version};
use causeway_tests::pki;
use causeway_tests::wire::{Stream, secure, tcp};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The identities that clients take in turn; none means no TLS.
    pub(crate) identities: Vec<Arc<rustls::ClientConfig>>,
}

impl Target {
    pub(crate) fn from_json(connection: &Value) -> Self {
        let identity = |files: &Value| {
            let path = |name: &str| Path::new(files[name].as_str().unwrap());
            pki::client(path("authority"), Some((path("certificate"), path("key"))))
        };
        let identities = connection["identities"].as_array().unwrap().iter().map(identity).collect();
        Self { address: connection["address"].as_str().unwrap().parse().unwrap(), identities }
    }

    /// The byte stream, handshake included; `from` spreads many connections over source addresses.
    pub(crate) async fn stream(&self, n: u64, from: Option<SocketAddr>) -> io::Result<Box<dyn Stream>> {
        let stream = tcp(self.address, from).await?;
        let turn = usize::try_from(n).unwrap() % self.identities.len().max(1);
        Ok(match self.identities.get(turn) {
            None => Box::new(stream),
            Some(identity) => Box::new(secure(stream, Arc::clone(identity)).await?),
        })
    }
}

/// A connected client.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// What is read and not consumed yet.
    filled: usize,
}

impl Client {
    /// Connects as the `n`-th client with a client id.
    pub(crate) async fn connect(target: &Target, id: &str, n: u64, from: Option<SocketAddr>) -> io::Result<Self> {
        let mut client = Self { stream: target.stream(n, from).await?, buffer: vec![0; 256 * 1024], filled: 0 };
        // Stock rumqttd refuses a keep-alive of zero.
        client.stream.write_all(&Connect::new(Version::V311, id).keep_alive(600).bytes()).await?;
        let mut code = None;
        while code.is_none() {
            client
                .read(|first, body| {
                    if first == 0x20 {
                        code = body.get(1).copied()
                    }
                })
                .await?;
        }
        match code {
            Some(0) => Ok(client),
            code => Err(io::Error::other(format!("CONNACK {code:?}"))),
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> io::Result<()> {
        let bytes = causeway_tests::packet::subscribe(Version::V311, 1, &[(filter, qos)], &Vec::new());
        self.stream.write_all(&bytes).await?;
        let mut code = None;
        while code.is_none() {
            self.read(|first, body| {
                if first == 0x90 {
                    code = body.get(2).copied()
                }
            })
            .await?;
        }
        if code == Some(0x80) { Err(io::Error::other("SUBACK 0x80")) } else { Ok(()) }
    }

    /// A small buffer for clients that only wait.
    pub(crate) fn shrink(&mut self) {
        self.buffer = vec![0; 512];
    }

    /// Reads what has come, at least one byte, and shows each whole packet to `each`; cancel-safe.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(u8, &[u8])) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let len = self.stream.read(&mut self.buffer[self.filled..]).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += len;
        let mut at = 0;
        while let Some((first, body, end)) = whole(&self.buffer[at..self.filled]) {
            each(first, &self.buffer[at + body..at + end]);
            at += end;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }
}

/// First byte, start of the body and end of the packet at the front.
fn whole(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (mut len, mut shift, mut at) = (0_usize, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 127) << shift;
        (shift, at) = (shift + 7, at + 1);
        if byte < 128 {
            break;
        }
    }
    (bytes.len() >= at + len).then_some((bytes[0], at, at + len))
}
