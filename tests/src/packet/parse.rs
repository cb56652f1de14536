//! What the gateway sends, read strictly: a packet that the specification forbids fails the test.

use super::{Properties, Publish, Value, Version};

/// What the gateway sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Packet {
    ConnAck { session_present: bool, code: u8, properties: Properties },
    Publish(Publish),
    PubAck { id: u16, reason: u8, properties: Properties },
    PubRec { id: u16, reason: u8, properties: Properties },
    PubRel { id: u16, reason: u8 },
    PubComp { id: u16, reason: u8 },
    SubAck { id: u16, codes: Vec<u8>, properties: Properties },
    UnsubAck { id: u16, codes: Vec<u8>, properties: Properties },
    PingResp,
    Disconnect { reason: u8, properties: Properties },
}

impl Packet {
    /// Reads one whole packet; anything that the specification forbids fails the test.
    #[must_use]
    pub fn parse(version: Version, first: u8, body: &[u8]) -> Self {
        let v5 = version == Version::V5;
        let mut input = Input { body, at: 0 };
        let packet = match first {
            0x20 => {
                let session_present = input.byte() == 1;
                let code = input.byte();
                // A peer whose version is not known is refused in the form of 3.1.1.
                let properties = input.properties(v5 && !(code != 0 && input.is_empty()));
                Self::ConnAck { session_present, code, properties }
            }
            0x30..=0x3f => Self::Publish(publish(&mut input, first, v5)),
            0x40 => input.acknowledgement(|id, reason, properties| Self::PubAck { id, reason, properties }),
            0x50 => input.acknowledgement(|id, reason, properties| Self::PubRec { id, reason, properties }),
            0x62 => input.acknowledgement(|id, reason, _| Self::PubRel { id, reason }),
            0x70 => input.acknowledgement(|id, reason, _| Self::PubComp { id, reason }),
            0x90 | 0xb0 => {
                let id = input.two();
                let properties = input.properties(v5);
                let codes = input.rest().to_vec();
                if first == 0x90 {
                    Self::SubAck { id, codes, properties }
                } else {
                    Self::UnsubAck { id, codes, properties }
                }
            }
            0xd0 => Self::PingResp,
            0xe0 if v5 => {
                let reason = if input.is_empty() { 0 } else { input.byte() };
                let properties = if input.is_empty() { Vec::new() } else { input.properties(true) };
                Self::Disconnect { reason, properties }
            }
            other => panic!("the gateway sent a packet that starts with {other:#04x}: {body:02x?}"),
        };
        assert!(input.is_empty(), "{packet:?} has bytes behind its end: {body:02x?}");
        packet
    }
}

fn publish(input: &mut Input<'_>, first: u8, v5: bool) -> Publish {
    let qos = (first >> 1) & 3;
    let topic = input.text();
    let id = if qos > 0 { input.two() } else { 0 };
    let properties = input.properties(v5);
    let payload = input.rest().to_vec();
    Publish { topic, payload, qos, retain: first & 1 == 1, dup: first & 8 == 8, id, properties }
}

struct Input<'a> {
    body: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.at == self.body.len()
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let slice = self.body.get(self.at..self.at + len).expect("a field runs over the end of its packet");
        self.at += len;
        slice
    }

    fn rest(&mut self) -> &[u8] {
        self.take(self.body.len() - self.at)
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn variable(&mut self) -> u32 {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            number |= u32::from(byte & 127) << shift;
            if byte < 128 {
                return number;
            }
        }
        panic!("a variable number of five bytes");
    }

    fn binary(&mut self) -> Vec<u8> {
        let len = self.two();
        self.take(usize::from(len)).to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("text that is not UTF-8")
    }

    fn acknowledgement(&mut self, build: impl Fn(u16, u8, Properties) -> Packet) -> Packet {
        let id = self.two();
        let reason = if self.is_empty() { 0 } else { self.byte() };
        let properties = self.properties(!self.is_empty());
        build(id, reason, properties)
    }

    fn properties(&mut self, present: bool) -> Properties {
        let mut properties = Vec::new();
        if !present {
            return properties;
        }
        let end = self.variable() as usize + self.at;
        while self.at < end {
            let id = self.byte();
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Value::Byte(self.byte()),
                0x13 | 0x21 | 0x22 | 0x23 => Value::Two(self.two()),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Four(self.four()),
                0x0b => Value::Variable(self.variable()),
                0x09 | 0x16 => Value::Binary(self.binary()),
                0x26 => Value::Pair(self.text(), self.text()),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Value::Text(self.text()),
                other => panic!("unknown property {other:#04x}"),
            };
            properties.push((id, value));
        }
        assert_eq!(self.at, end, "properties run over their length");
        properties
    }
}
