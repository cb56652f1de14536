"""Runs paho-mqtt through an exchange of every guarantee, retained messages, a persistent session and a will.

Arguments: MQTT version (3 or 5), address, port, authority, certificate, key. Ends with "all exchanges done".
"""

import queue
import ssl
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

version, address, port, authority, certificate, key = sys.argv[1:]
V5 = version == "5"
PROTOCOL = mqtt.MQTTv5 if V5 else mqtt.MQTTv311
WAIT = 20


def client(name, clean=True, will=None):
    """Connects and returns the client with queues of what happens to it."""
    options = {} if V5 else {"clean_session": clean}
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=PROTOCOL, **options)
    made.tls_set(authority, certificate, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    made.messages, made.events = queue.Queue(), queue.Queue()
    made.on_message = lambda _c, _u, message: made.messages.put(message)
    made.on_connect = lambda _c, _u, flags, reason, _p: made.events.put(("connect", flags, reason))
    made.on_subscribe = lambda _c, _u, _m, reasons, _p: made.events.put(("subscribe", reasons))
    made.on_unsubscribe = lambda _c, _u, _m, _reasons, _p: made.events.put(("unsubscribe",))
    if will:
        made.will_set(will, "gone", qos=1)
    if V5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0 if clean else 600
        made.connect(address, int(port), clean_start=clean, properties=properties)
    else:
        made.connect(address, int(port))
    made.loop_start()
    kind, made.flags, reason = made.events.get(timeout=WAIT)
    assert kind == "connect" and not reason.is_failure, reason
    return made


def subscribe(who, topic, qos):
    who.subscribe(topic, qos)
    kind, reasons = who.events.get(timeout=WAIT)
    assert kind == "subscribe" and not reasons[0].is_failure, reasons


def publish(who, topic, payload, qos, **more):
    who.publish(topic, payload, qos, **more).wait_for_publish(WAIT)


def end(who):
    who.disconnect()
    who.loop_stop()


first = client("paho-1")
for qos in (0, 1, 2):
    subscribe(first, f"paho/{qos}/+", qos)
    for n in range(20):
        publish(first, f"paho/{qos}/{n}", f"{n}", qos)
    for n in range(20):
        message = first.messages.get(timeout=WAIT)
        assert (message.topic, message.payload, message.qos) == (f"paho/{qos}/{n}", b"%d" % n, qos), message.topic

publish(first, "paho/kept", "kept", 1, retain=True)
subscribe(first, "paho/kept", 1)
message = first.messages.get(timeout=WAIT)
assert message.retain and message.payload == b"kept"
first.unsubscribe("paho/kept")
assert first.events.get(timeout=WAIT) == ("unsubscribe",)

sleeper = client("paho-2", clean=False)
subscribe(sleeper, "paho/queue", 2)
end(sleeper)
for n in range(10):
    publish(first, "paho/queue", f"{n}", 1 + n // 5)
sleeper = client("paho-2", clean=False)
assert sleeper.flags.session_present
queued = [sleeper.messages.get(timeout=WAIT) for _ in range(10)]
for qos in (1, 2):  # Order is promised within one guarantee.
    texts = [message.payload for message in queued if message.qos == qos]
    assert texts == [b"%d" % n for n in range(5 * qos - 5, 5 * qos)], texts
end(sleeper)

subscribe(first, "paho/will", 1)
mortal = client("paho-3", will="paho/will")
mortal.loop_stop()
mortal.socket().close()
assert first.messages.get(timeout=WAIT).payload == b"gone"

if V5:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = ("a", "1")
    properties.ResponseTopic = "paho/reply"
    properties.CorrelationData = b"\x00\x01"
    properties.MessageExpiryInterval = 60
    subscribe(first, "paho/properties", 1)
    publish(first, "paho/properties", "x", 1, properties=properties)
    got = first.messages.get(timeout=WAIT).properties
    assert got.UserProperty == [("a", "1")] and got.ResponseTopic == "paho/reply" and got.CorrelationData == b"\x00\x01"
    assert got.MessageExpiryInterval <= 60
end(first)
print("all exchanges done")
