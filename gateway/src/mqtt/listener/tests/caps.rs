//! Every cap holds, every slot comes back, and those who are silent keep nobody out.

use super::*;

fn caps(change: impl FnOnce(&mut MqttConfig)) -> MqttConfig {
    let mut config = MqttConfig::default();
    change(&mut config);
    config
}

async fn is_closed(socket: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_secs(10), socket.read(&mut [0; 16])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

async fn plain(front: &Front) -> TcpStream {
    let mut socket = TcpStream::connect(front.address).await.unwrap();
    pki::echo(&mut socket).await.unwrap();
    socket
}

/// With `config`, two connections get in, the third does not, and one does when another has gone.
async fn check_two_fit(config: MqttConfig, refusal: ConnectionRefusal) {
    let front = Front::start_plain(&config);
    let (first, _second) = (plain(&front).await, plain(&front).await);
    let mut third = TcpStream::connect(front.address).await.unwrap();
    // The cap of an identity is asked for by the session, after the first bytes.
    let _ = third.write_all(b"x").await;
    assert!(is_closed(&mut third).await);
    assert_eq!(front.metrics.connections_refused(refusal), 1);
    drop(first);
    until("the slot came back", || front.metrics.connections.get() == 1).await;
    drop(plain(&front).await);
    front.stop().await;
}

#[tokio::test]
async fn the_cap_of_all_connections_holds() {
    check_two_fit(caps(|config| config.max_connections = 2), ConnectionRefusal::Connections).await;
}

#[tokio::test]
async fn the_cap_of_one_address_holds() {
    check_two_fit(caps(|config| config.max_connections_per_address = 2), ConnectionRefusal::Address).await;
}

#[tokio::test]
async fn the_cap_of_one_identity_holds() {
    check_two_fit(caps(|config| config.max_connections_per_identity = 2), ConnectionRefusal::Identity).await;
}

#[tokio::test]
async fn three_hundred_silent_sockets_delay_no_good_client_and_are_closed_in_time() {
    let pki = Pki::new();
    let front = Front::start(&pki, &caps(|config| config.handshake_timeout = Duration::from_secs(2)));
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(front.address).await.unwrap());
    }
    until("all of them are half-open", || front.metrics.half_open.get() == 300).await;
    let opened = Instant::now();
    for _ in 0..20 {
        timeout(Duration::from_secs(1), front.good(&pki, "d1")).await.expect("a good client within a second");
    }
    for socket in &mut silent {
        assert!(is_closed(socket).await);
    }
    assert!(opened.elapsed() < Duration::from_secs(5), "{:?}", opened.elapsed());
    assert_eq!(front.metrics.handshakes_refused(RefusalReason::Timeout), 300);
    until("every slot came back", || front.metrics.connections.get() == 0).await;
    front.stop().await;
}

#[tokio::test]
async fn a_peer_that_trickles_its_hello_is_closed_in_time() {
    let pki = Pki::new();
    let front = Front::start(&pki, &caps(|config| config.handshake_timeout = Duration::from_millis(300)));
    let mut socket = TcpStream::connect(front.address).await.unwrap();
    // A TLS record that claims 512 bytes and gets one every 20 ms.
    socket.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    let started = Instant::now();
    while socket.write_all(&[1]).await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(front.metrics.handshakes_refused(RefusalReason::Timeout), 1);
    front.stop().await;
}

#[tokio::test]
async fn when_all_half_open_slots_are_taken_the_oldest_silent_one_makes_room() {
    let pki = Pki::new();
    let front = Front::start(&pki, &caps(|config| config.max_half_open = 8));
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(front.address).await.unwrap());
    }
    until("all slots are taken", || front.metrics.half_open.get() == 8).await;
    timeout(Duration::from_secs(5), front.good(&pki, "d1")).await.expect("a good client");
    assert!(is_closed(&mut silent[0]).await);
    assert_eq!(front.metrics.connections_refused(ConnectionRefusal::HalfOpen), 1);
    front.stop().await;
}

#[tokio::test]
async fn a_storm_of_good_clients_is_served_whole() {
    let pki = Pki::new();
    let front = Front::start(&pki, &caps(|config| config.max_half_open = 4));
    let device = pki.device("d1");
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (device, address) = (device.clone(), front.address);
        clients.spawn(async move {
            let mut client = pki::connect(address, Some(device), &TLS13).await.unwrap();
            pki::echo(&mut client).await.unwrap();
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    front.stop().await;
}

#[tokio::test]
async fn a_plain_peer_is_taken_for_what_the_listener_says() {
    let front = Front::start_plain(&MqttConfig::default());
    drop(plain(&front).await);
    until("the slot came back", || front.metrics.connections.get() == 0).await;
    front.stop().await;
}

#[tokio::test]
async fn a_probe_of_the_gateway_itself_gets_through_when_all_slots_are_taken() {
    let front = Front::start_plain(&caps(|config| config.max_connections = 1));
    let _only = plain(&front).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let announced = front.probes.announce(socket.local_addr().unwrap());
    let mut probe = socket.connect(front.address).await.unwrap();
    pki::echo(&mut probe).await.unwrap();
    drop((announced, probe));
    assert_eq!(front.metrics.connections.get(), 1);
    assert_eq!(front.metrics.connections_refused(ConnectionRefusal::Connections), 0);
    front.stop().await;
}
