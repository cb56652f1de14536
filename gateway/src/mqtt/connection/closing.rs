//! The end of a connection: last word, will, session, and a close that lets the client read the last word.

use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{debug, info};

use super::Connection;
use crate::mqtt::wire::{Reason, Reply, WireError};

/// How long the last words may take to be written.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// How long the client may take to close its side; without this its unread bytes would reset the connection and the
/// last word would be lost.
const LINGER: Duration = Duration::from_secs(1);

/// Writes the last words, closes this side, and reads on for a moment, so that the peer can read them.
pub(super) async fn farewell(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    words: &[u8],
) {
    let last = async {
        writer.write_all(words).await?;
        writer.shutdown().await
    };
    if !matches!(tokio::time::timeout(LAST_WRITE, last).await, Ok(Ok(()))) {
        return;
    }
    let rest = async {
        let mut rest = BytesMut::with_capacity(1024);
        while reader.read_buf(&mut rest).await.is_ok_and(|count| count > 0) {
            rest.clear();
        }
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// The journal takes nothing: what the client did cannot be kept.
pub(super) const NOT_RECORDED: End = End::Said(Reason::UnspecifiedError, "the disk takes no records");

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client said goodbye: no will.
    Left,
    /// The socket is gone, or the client asked for its will.
    Lost,
    /// The gateway ends it for this reason, with its reason string.
    Said(Reason, &'static str),
    /// The client broke the protocol's syntax.
    Malformed(WireError),
}

impl End {
    /// Whether the client's will is due (MQTT5 3.1.2.5). A shutdown of the gateway is no failure of the client.
    fn fires_will(&self) -> bool {
        !matches!(self, Self::Left | Self::Said(Reason::ServerShuttingDown, _))
    }
}

impl Connection {
    /// Ends the session's connection first, so that a newcomer need not wait for this client to read its last word.
    pub(super) async fn close(mut self, end: End) {
        self.report(&end);
        if let (Some(will), true) = (self.will.take(), end.fires_will()) {
            self.broker.wills.schedule(self.session.id, will);
        }
        let now_ms = self.broker.clock.now_ms();
        self.broker.devices.seen(&self.session.key.device, now_ms);
        self.broker.sessions.release(&self.session, now_ms);
        if self.session.lock().ended {
            self.broker.wills.session_ended(self.session.id);
        }
        self.slot = None;
        self.broker.metrics.connections.dec();
        match &end {
            End::Malformed(error) => self.output.extend_from_slice(&error.farewell),
            End::Said(reason, text) => {
                self.write(&Reply::Disconnect { reason: *reason, text: Some(ByteString::from_static(text)) });
            }
            End::Left | End::Lost => {}
        }
        if matches!(end, End::Lost) {
            return;
        }
        let Self { mut writer, mut reader, output, .. } = self;
        farewell(&mut reader, &mut writer, &output).await;
    }

    fn report(&self, end: &End) {
        let device = &self.session.key.device;
        let client = &self.session.key.client;
        match end {
            End::Left => debug!(%device, %client, "client disconnected"),
            End::Lost => debug!(%device, %client, "connection lost"),
            End::Said(reason, why) => info!(%device, %client, ?reason, why, "connection ended"),
            End::Malformed(error) => {
                self.broker.metrics.malformed.inc();
                info!(%device, %client, peer = %self.peer.address, %error, "malformed packet");
            }
        }
    }
}
