//! Bytes that are no acceptable TLS: each is refused in the handshake with its reason counted and logged, and a good
//! client gets in afterwards. Bad certificates are tried on the running gateway, in the integration tests.

use super::*;

/// Bytes that are no acceptable TLS, and what they are refused as.
async fn check_bytes(bytes: &[u8], reason: RefusalReason) {
    let pki = Pki::new();
    let (log, _guard) = Log::start();
    let front = Front::start(&pki, &MqttConfig::default());
    let mut socket = TcpStream::connect(front.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let _ = socket.read_to_end(&mut Vec::new()).await;
    until("it is counted", || front.metrics.handshakes_refused(reason) == 1).await;
    assert!(log.take().contains(reason.as_str()));
    front.good(&pki, "good").await;
    front.stop().await;
}

#[tokio::test]
async fn plain_mqtt_on_a_tls_port_is_refused() {
    check_bytes(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1", RefusalReason::NotTls).await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused() {
    check_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", RefusalReason::NotTls).await;
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    // No session id, one cipher suite of TLS 1.1 (TLS_RSA_WITH_AES_128_CBC_SHA), no compression.
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    let mut record = vec![0x16, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    check_bytes(&record, RefusalReason::Version).await;
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_handshake_is_counted() {
    let pki = Pki::new();
    let front = Front::start(&pki, &MqttConfig::default());
    drop(TcpStream::connect(front.address).await.unwrap());
    until("it is counted", || front.metrics.handshakes_refused(RefusalReason::PeerClosed) == 1).await;
    front.stop().await;
}
