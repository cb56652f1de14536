//! The byte stream between a device and the gateway: TLS or plain TCP, whole packets out of it, anything into it.

use crate::packet::{Packet, Version};
use crate::pki::Identity;
use crate::wait;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// A stream of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that carries MQTT.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    version: Version,
}

impl Wire {
    /// Connects without TLS.
    ///
    /// # Errors
    /// The error of the socket.
    pub async fn plain(address: SocketAddr, version: Version) -> io::Result<Self> {
        Ok(Self::over(tcp(address, None).await?, version))
    }

    /// Connects with mutual TLS as `identity`; the handshake is over when this returns.
    ///
    /// # Errors
    /// The error of the socket or of the handshake, as far as the gateway's refusal is known by then: in TLS 1.3 a
    /// refused certificate shows only at the first read.
    pub async fn tls(address: SocketAddr, identity: &Identity, version: Version) -> io::Result<Self> {
        let stream = tcp(address, None).await?;
        Ok(Self::over(secure(stream, Arc::clone(&identity.client)).await?, version))
    }

    /// Speaks MQTT over a stream that the test made itself.
    pub fn over(stream: impl Stream + 'static, version: Version) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new(), version }
    }

    /// The protocol level of this connection.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The error of the stream.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next packet; `None` when the gateway closed the connection.
    pub async fn receive(&mut self) -> Option<Packet> {
        wait::soon("a packet or the end of the connection", self.next()).await
    }

    /// Awaits the end of the connection and returns the packets before it.
    pub async fn until_closed(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(packet) = self.receive().await {
            packets.push(packet);
        }
        packets
    }

    /// As [`Wire::receive`], without a deadline; cancel-safe.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some((first, body, whole)) = split(&self.buffer) {
                let packet = Packet::parse(self.version, first, &self.buffer[body..whole]);
                self.buffer.drain(..whole);
                return Some(packet);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// First byte, start of the body and whole length of the packet at the front, when it is all there.
fn split(buffer: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, mut at, mut len, mut shift) = (*buffer.first()?, 1, 0_usize, 0);
    loop {
        let byte = *buffer.get(at)?;
        len |= usize::from(byte & 127) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte < 128 {
            break;
        }
        assert!(shift < 28, "a length of five bytes");
    }
    (buffer.len() >= at + len).then_some((first, at, at + len))
}

/// A TCP connection, from the address `from` if the test cares.
///
/// # Errors
/// The error of the socket.
pub async fn tcp(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind(from)?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs the TLS handshake of a device.
///
/// # Errors
/// The error of the handshake.
pub async fn secure(stream: TcpStream, client: Arc<rustls::ClientConfig>) -> io::Result<impl Stream> {
    let name = rustls_pki_types::ServerName::try_from("localhost").map_err(io::Error::other)?;
    TlsConnector::from(client).connect(name, stream).await
}
