//! A device: one MQTT connection with the least bookkeeping that a test needs.
//!
//! What it receives while it waits for something else is kept in order, so nothing is lost between two calls.

use crate::packet::{self, Connect, Packet, Properties, Publish, Version};
use crate::pki::Identity;
use crate::wait;
use crate::wire::Wire;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A connected client.
pub struct Device {
    pub wire: Wire,
    /// What the CONNACK said.
    pub session_present: bool,
    pub code: u8,
    pub properties: Properties,
    inbox: VecDeque<Packet>,
    last_id: u16,
}

impl Device {
    /// Connects over mutual TLS; the CONNACK may refuse.
    pub async fn connect(address: SocketAddr, identity: &Identity, connect: &Connect) -> Self {
        let wire = wait::soon("the handshake", Wire::tls(address, identity, connect.version)).await.unwrap();
        Self::open(wire, connect).await
    }

    /// Connects without TLS; the CONNACK may refuse.
    pub async fn connect_plain(address: SocketAddr, connect: &Connect) -> Self {
        Self::open(Wire::plain(address, connect.version).await.unwrap(), connect).await
    }

    /// Sends the CONNECT over a stream that exists and reads the CONNACK.
    pub async fn open(mut wire: Wire, connect: &Connect) -> Self {
        wire.send(&connect.bytes()).await.unwrap();
        match wire.receive().await {
            Some(Packet::ConnAck { session_present, code, properties }) => {
                Self { session_present, code, properties, ..Self::on(wire) }
            }
            other => panic!("{other:?} in place of a CONNACK for {connect:?}"),
        }
    }

    /// A device on a connection whose CONNECT has been accepted.
    #[must_use]
    pub fn on(wire: Wire) -> Self {
        let (inbox, properties) = (VecDeque::new(), Properties::new());
        Self { wire, session_present: false, code: 0, properties, inbox, last_id: 0 }
    }

    /// Subscribes to one filter and returns the code of its SUBACK.
    pub async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_all(&[(filter, options)], &Vec::new()).await[0]
    }

    /// Subscribes to filters with properties and returns the codes of the SUBACK.
    pub async fn subscribe_all(&mut self, filters: &[(&str, u8)], properties: &Properties) -> Vec<u8> {
        let id = self.next_id();
        self.send(&packet::subscribe(self.version(), id, filters, properties)).await;
        self.expect("a SUBACK", |packet| match packet {
            Packet::SubAck { id: of, codes, .. } if *of == id => Some(codes.clone()),
            _ => None,
        })
        .await
    }

    /// Unsubscribes and returns the codes of the UNSUBACK, of which 3.1.1 has none.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.next_id();
        self.send(&packet::unsubscribe(self.version(), id, filters)).await;
        self.expect("an UNSUBACK", |packet| match packet {
            Packet::UnsubAck { id: of, codes, .. } if *of == id => Some(codes.clone()),
            _ => None,
        })
        .await
    }

    /// Publishes and sees the exchange of its QoS through; returns the reason code that ends it.
    pub async fn publish(&mut self, publish: Publish) -> u8 {
        let qos = publish.qos;
        let id = self.start(publish).await;
        match qos {
            0 => 0,
            1 => self.puback(id).await,
            _ => {
                let reason = self.pubrec(id).await;
                if reason >= 0x80 {
                    return reason;
                }
                self.send(&packet::ack(0x62, id)).await;
                self.pubcomp(id).await
            }
        }
    }

    /// As [`Device::publish`] at QoS 1, for a gateway that may close the connection instead: `None` then.
    pub async fn try_publish(&mut self, publish: Publish) -> Option<u8> {
        let wanted = self.start(publish).await;
        loop {
            match self.wire.receive().await? {
                Packet::PubAck { id, reason, .. } if id == wanted => return Some(reason),
                other => self.inbox.push_back(other),
            }
        }
    }

    /// Sends the PUBLISH alone and returns its packet id.
    pub async fn start(&mut self, mut publish: Publish) -> u16 {
        if publish.qos > 0 && publish.id == 0 {
            publish.id = self.next_id();
        }
        self.send(&publish.bytes(self.version())).await;
        publish.id
    }

    /// Awaits the PUBACK of `id` and returns its reason.
    pub async fn puback(&mut self, id: u16) -> u8 {
        self.expect("a PUBACK", |packet| match packet {
            Packet::PubAck { id: of, reason, .. } if *of == id => Some(*reason),
            _ => None,
        })
        .await
    }

    /// Awaits the PUBREC of `id` and returns its reason.
    pub async fn pubrec(&mut self, id: u16) -> u8 {
        self.expect("a PUBREC", |packet| match packet {
            Packet::PubRec { id: of, reason, .. } if *of == id => Some(*reason),
            _ => None,
        })
        .await
    }

    /// Awaits the PUBCOMP of `id` and returns its reason.
    pub async fn pubcomp(&mut self, id: u16) -> u8 {
        self.expect("a PUBCOMP", |packet| match packet {
            Packet::PubComp { id: of, reason } if *of == id => Some(*reason),
            _ => None,
        })
        .await
    }

    /// The next message, acknowledged as its QoS demands.
    pub async fn message(&mut self) -> Publish {
        let message = self.delivery().await;
        self.acknowledge(&message).await;
        message
    }

    /// The next message, not acknowledged.
    pub async fn delivery(&mut self) -> Publish {
        self.expect("a PUBLISH", |packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        })
        .await
    }

    /// Sees the receiver's side of a delivery through.
    pub async fn acknowledge(&mut self, message: &Publish) {
        match message.qos {
            0 => {}
            1 => self.send(&packet::ack(0x40, message.id)).await,
            _ => {
                self.send(&packet::ack(0x50, message.id)).await;
                self.pubrel(message.id).await;
                self.send(&packet::ack(0x70, message.id)).await;
            }
        }
    }

    /// Awaits the PUBREL of `id`.
    pub async fn pubrel(&mut self, id: u16) {
        self.expect("a PUBREL", |packet| matches!(packet, Packet::PubRel { id: of, .. } if *of == id).then_some(()))
            .await;
    }

    /// Proves the connection alive; what came before the answer has been received by then.
    pub async fn ping(&mut self) {
        self.send(&packet::frame(0xc0, &[])).await;
        self.expect("a PINGRESP", |packet| matches!(packet, Packet::PingResp).then_some(())).await;
    }

    /// The messages that have come and were not asked for yet.
    pub fn pending(&mut self) -> Vec<Publish> {
        let (messages, rest): (Vec<_>, Vec<_>) =
            self.inbox.drain(..).partition(|packet| matches!(packet, Packet::Publish(_)));
        self.inbox = rest.into();
        messages
            .into_iter()
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some(publish),
                _ => None,
            })
            .collect()
    }

    /// Ends the session's connection in order, so that no will is published.
    pub async fn disconnect(mut self) {
        self.send(&packet::disconnect(self.version(), 0, &Vec::new())).await;
        self.wire.until_closed().await;
    }

    /// Awaits the end of the connection; returns the reason of the DISCONNECT before it, if there was one.
    pub async fn closed(&mut self) -> Option<u8> {
        let mut packets: Vec<_> = self.inbox.drain(..).collect();
        packets.extend(self.wire.until_closed().await);
        packets.iter().rev().find_map(|packet| match packet {
            Packet::Disconnect { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    /// Writes bytes as they are; a connection that is gone shows at the next read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.wire.send(bytes).await;
    }

    /// The first packet, of those kept and those to come, that `wanted` picks.
    pub async fn expect<T>(&mut self, what: &str, mut wanted: impl FnMut(&Packet) -> Option<T>) -> T {
        let kept = self.inbox.iter().enumerate().find_map(|(at, packet)| Some((at, wanted(packet)?)));
        if let Some((at, value)) = kept {
            self.inbox.remove(at);
            return value;
        }
        let found = async {
            loop {
                let Some(packet) = self.wire.next().await else {
                    panic!("the connection ended in place of {what}; kept were {:?}", self.inbox);
                };
                match wanted(&packet) {
                    Some(value) => return value,
                    None => self.inbox.push_back(packet),
                }
            }
        };
        wait::soon(what, found).await
    }

    /// The protocol level of the connection.
    #[must_use]
    pub fn version(&self) -> Version {
        self.wire.version()
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}
