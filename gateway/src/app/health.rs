//! `/healthz`: each accept loop proves itself end to end, by a connection like any client's.
//!
//! On a TLS listener the proof is the server's first flight: it comes from the task that the accept loop started. No
//! client certificate is at hand here, so the handshake ends there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::views::Listening;
use crate::metrics::{Health, Probe};

/// How long one listener may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// An MQTT 5 CONNECT of protocol level 9: every front door answers it with a CONNACK and closes.
const CONNECT: &[u8] = &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 10, 0, 0];

/// A TLS 1.2 record with a handshake that is no handshake: every TLS server answers it with an alert.
const NO_HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x00, 0x04, 0x0e, 0x00, 0x00, 0x00];

/// Asks all listeners, side by side.
pub(super) fn probe(listeners: Vec<Listening>) -> Probe {
    let listeners = Arc::new(listeners);
    Arc::new(move || {
        let listeners = listeners.clone();
        Box::pin(async move {
            let mut found = Vec::with_capacity(listeners.len());
            for listener in listeners.iter() {
                let answer = tokio::time::timeout(TIMEOUT, ask(listener)).await;
                let failure = match answer {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some(format!("no answer within {TIMEOUT:?}")),
                };
                found.push(Health { listener: listener.name.clone(), failure });
            }
            found
        })
    })
}

async fn ask(listener: &Listening) -> std::io::Result<()> {
    let address = local(listener.address);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The listener is told who comes, so that a gateway which is full still answers and no refusal is counted.
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    let _announced = listener.probes.announce(socket.local_addr()?);
    let mut socket = socket.connect(address).await?;
    socket.write_all(if listener.tls { NO_HELLO } else { CONNECT }).await?;
    let mut answer = [0; 1];
    socket.read_exact(&mut answer).await?;
    let expected = if listener.tls { 0x15 } else { 0x20 };
    if answer == [expected] {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("unexpected answer {:#04x}", answer[0])))
    }
}

/// A wildcard address is reached over loopback.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
