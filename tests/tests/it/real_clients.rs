//! The clients that people use: mosquitto's, paho-mqtt and rumqttc, over mutual TLS.

use crate::gateway;
use causeway_tests::peers::{self, Printing};
use causeway_tests::{Gateway, Publish, wait};
use std::time::Duration;

const MOSQUITTO_VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

#[tokio::test]
async fn mosquitto_clients_publish_and_subscribe_with_each_version_and_guarantee() {
    let (Some(publish), Some(subscribe)) = (peers::require("mosquitto_pub"), peers::require("mosquitto_sub")) else {
        return;
    };
    let gateway = gateway().await;
    let subscriber = peers::mosquitto_options(&gateway, &gateway.identity("mosquitto-sub"));
    let publisher = peers::mosquitto_options(&gateway, &gateway.identity("mosquitto-pub"));
    for version in MOSQUITTO_VERSIONS {
        for qos in ["0", "1", "2"] {
            let topic = format!("mosquitto/{version}/{qos}");
            let listening =
                Printing::start(&subscribe, &subscriber, &["-V", version, "-d", "-v", "-q", qos, "-t", &topic]);
            listening.line("Subscribed");
            let output = peers::run(
                &publish,
                &publisher,
                &["-V", version, "-q", qos, "-t", &topic, "-m", "hello from mosquitto"],
            );
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(listening.line(&format!("{topic} hello")), format!("{topic} hello from mosquitto"));
        }
    }
}

#[tokio::test]
async fn mosquitto_clients_see_retained_messages_and_wills() {
    let (Some(publish), Some(subscribe)) = (peers::require("mosquitto_pub"), peers::require("mosquitto_sub")) else {
        return;
    };
    let gateway = gateway().await;
    let options = |name: &str| peers::mosquitto_options(&gateway, &gateway.identity(name));
    let output = peers::run(&publish, &options("pub"), &["-q", "1", "-r", "-t", "kept", "-m", "retained text"]);
    assert!(output.status.success());
    let output = peers::run(&subscribe, &options("sub"), &["-C", "1", "-W", "10", "-F", "%r %p", "-t", "kept"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1 retained text");

    let mut witness = gateway.v5("witness").await;
    witness.subscribe("last/words", 1).await;
    let will = ["-d", "-t", "x", "--will-topic", "last/words", "--will-payload", "gone", "--will-qos", "1"];
    let doomed = Printing::start(&subscribe, &options("doomed"), &will);
    doomed.line("Subscribed");
    drop(doomed);
    assert_eq!(witness.message().await.text(), "gone");
}

#[tokio::test]
async fn mosquitto_without_a_certificate_is_refused() {
    let Some(publish) = peers::require("mosquitto_pub") else { return };
    let gateway = gateway().await;
    let options = peers::mosquitto_options(&gateway, &gateway.identity("x"));
    let output = peers::run(&publish, &options[..6], &["-t", "x", "-m", "x"]);
    assert!(!output.status.success());
}

/// A broker of the Debian package that bridges to the gateway, both ways.
#[tokio::test]
async fn a_mosquitto_broker_bridges_to_the_gateway() {
    let (Some(broker), Some(publish)) = (peers::require("mosquitto"), peers::require("mosquitto_pub")) else { return };
    let gateway = gateway().await;
    let identity = gateway.identity("bridge");
    let file = |path: &std::path::Path| path.display().to_string();
    let address = gateway.address(8883);
    let config = gateway.setup().path("mosquitto.conf");
    let text = format!(
        "user root\nlistener 1884 {ip}\nallow_anonymous true\npersistence false\nconnection up\naddress {address}\ntopic # out 1 local/ up/\n\
         topic # in 1 remote/ down/\nbridge_cafile {ca}\nbridge_certfile {certificate}\nbridge_keyfile {key}\n\
         bridge_protocol_version mqttv50\nremote_clientid bridge\nnotifications false\nrestart_timeout 1\n",
        ip = address.ip(),
        ca = file(&gateway.setup().pki().authority_file()),
        certificate = file(&identity.certificate),
        key = file(&identity.key),
    );
    std::fs::write(&config, text).unwrap();
    let _running = Printing::start(&broker, &["-c".into(), file(&config)], &[]);
    let mut device = gateway.v5("device").await;
    device.subscribe("up/#", 1).await;
    // The bridge connects when it likes: publish into the broker until something comes through.
    let local = ["-h".to_string(), address.ip().to_string(), "-p".into(), "1884".into()];
    wait::until("a message comes up through the bridge", async || {
        let _ = peers::run(&publish, &local, &["-q", "1", "-t", "local/a", "-m", "up"]);
        device.ping().await;
        device.pending().pop()
    })
    .await;
}

#[tokio::test]
async fn paho_runs_its_whole_exchange_with_each_version() {
    let Some(python) = peers::python_with_paho() else { return };
    let gateway = gateway().await;
    let identity = gateway.identity("paho");
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/paho_exchange.py");
    for version in ["3", "5"] {
        let output = std::process::Command::new(&python)
            .arg(&script)
            .args([version, &gateway.address(8883).ip().to_string(), "8883"])
            .args([&gateway.setup().pki().authority_file(), &identity.certificate, &identity.key])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("all exchanges done"), "{said}");
    }
}

#[tokio::test]
async fn rumqttc_publishes_and_subscribes() {
    let gateway = gateway().await;
    let (client, mut events) = rumqttc_client(&gateway, "rumqttc");
    client.subscribe("rust/#", rumqttc::QoS::ExactlyOnce).await.unwrap();
    client.publish("rust/1", rumqttc::QoS::ExactlyOnce, false, "from rust").await.unwrap();
    let got = wait::soon("a message", async {
        loop {
            if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = events.poll().await.unwrap() {
                return publish;
            }
        }
    })
    .await;
    assert_eq!((got.topic.as_str(), &got.payload[..]), ("rust/1", b"from rust".as_slice()));
    assert!(gateway.v5("other").await.publish(Publish::new("rust/2", "x", 1)).await < 0x80);
}

fn rumqttc_client(gateway: &Gateway, name: &str) -> (rumqttc::AsyncClient, rumqttc::EventLoop) {
    let address = gateway.address(8883);
    let mut options = rumqttc::MqttOptions::new(name, address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(10));
    let config = rumqttc::TlsConfiguration::Rustls(gateway.identity(name).client);
    options.set_transport(rumqttc::Transport::tls_with_config(config));
    rumqttc::AsyncClient::new(options, 10)
}
