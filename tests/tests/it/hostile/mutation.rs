//! Whole trains of packets with a few bytes changed, sent to the running gateway.
//!
//! `CAUSEWAY_MUTATIONS` sets how many trains (a thousand by default), `CAUSEWAY_SEED` repeats a run.

use crate::gateway;
use causeway_tests::packet::{self, Connect, Publish, Value, Version, Will, frame, property};
use causeway_tests::wire::{Stream, secure, tcp};
use causeway_tests::{Device, wait};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The generator of SplitMix64: small, and the same on each machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The packets of an ordinary session that uses everything.
fn train(version: Version, random: &mut Random) -> Vec<Vec<u8>> {
    let id = format!("mutant-{}", random.below(8));
    let mut connect = Connect::new(version, &id).clean(random.one_in(2)).will(Will::new("m/will", "w", 1));
    if version == Version::V5 {
        connect = connect
            .with(property::SESSION_EXPIRY, Value::Four(5))
            .with(property::RECEIVE_MAXIMUM, Value::Two(7))
            .with(property::USER, Value::Pair("k".into(), "v".into()));
    }
    let mut aliased = Publish::new("é/m", "alias", 1).id(3);
    if version == Version::V5 {
        aliased = aliased.with(property::ALIAS, Value::Two(1)).with(property::MESSAGE_EXPIRY, Value::Four(9));
    }
    vec![
        connect.bytes(),
        packet::subscribe(version, 1, &[("m/#", 2), ("+/x", 1), ("$share/g/m", 1)], &Vec::new()),
        Publish::new("m/0", "zero", 0).retain().bytes(version),
        Publish::new("m/1", "one", 1).id(2).bytes(version),
        aliased.bytes(version),
        Publish::new("m/2", "two", 2).id(4).bytes(version),
        packet::ack(0x62, 4),
        packet::ack(0x40, 1),
        packet::ack(0x50, 2),
        packet::ack(0x70, 2),
        packet::unsubscribe(version, 5, &["m/#"]),
        frame(0xc0, &[]),
        packet::disconnect(version, 0, &Vec::new()),
    ]
}

fn mutate(packets: &mut Vec<Vec<u8>>, random: &mut Random) {
    // Most CONNECTs stay whole, or nothing behind them would be read.
    let first = usize::from(!random.one_in(6));
    for _ in 0..=random.below(4) {
        let at = first + random.below(packets.len() - first);
        let packet = &mut packets[at];
        let byte = random.below(packet.len());
        match random.below(7) {
            0 => packet[byte] ^= 1 << random.below(8),
            1 => packet[byte] = [0, 0xff, 0x7f, 0x80][random.below(4)],
            2 => packet.truncate(byte),
            3 => packet.insert(byte, u8::try_from(random.below(256)).unwrap()),
            4 => packet[0] = u8::try_from(random.below(256)).unwrap(),
            5 => {
                let copy = packet.clone();
                packets.push(copy);
            }
            _ => {
                let other = first + random.below(packets.len() - first);
                packets.swap(at, other);
            }
        }
        packets.retain(|packet| !packet.is_empty());
        if packets.len() <= first {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_packet_trains_leave_every_listener_answering() {
    let setting =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (count, seed) = (setting("CAUSEWAY_MUTATIONS", 1000), setting("CAUSEWAY_SEED", 1));
    println!("{count} trains, seed {seed}");
    let gateway = gateway().await;
    let mut random = Random(seed);
    for n in 0..count {
        let version = if random.one_in(2) { Version::V311 } else { Version::V5 };
        let mut packets = train(version, &mut random);
        mutate(&mut packets, &mut random);
        // Some over TLS: what is behind it is the same, but for the identity and the way a connection ends.
        let port = if random.one_in(8) { 8883 } else { 1883 };
        let plain = wait::soon("the connection", tcp(gateway.address(port), None)).await.unwrap();
        let mut stream: Box<dyn Stream> = if port == 8883 {
            let identity = gateway.identity("mutant");
            Box::new(wait::soon("the handshake", secure(plain, identity.client)).await.unwrap())
        } else {
            Box::new(plain)
        };
        // In two writes, so that a packet is often cut in the middle.
        let train = packets.concat();
        let (first, second) = train.split_at(random.below(train.len()));
        let _ = stream.write_all(first).await;
        let _ = stream.flush().await;
        let _ = stream.write_all(second).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let end = wait::within(Duration::from_secs(15), "the end of a mutated train", stream.read_to_end(&mut answer));
        let _ = end.await;
        if n % 100 == 99 {
            gateway.assert_well().await;
        }
    }
    gateway.assert_well().await;
    Device::connect_plain(gateway.address(1883), &Connect::new(Version::V5, "liveness")).await.ping().await;
}
