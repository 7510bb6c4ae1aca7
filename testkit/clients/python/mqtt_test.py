"""paho-mqtt: what the MQTT adapter offers to it."""

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from kit import cases, equal, test

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


@cases("3.1", "3.1.1", "5")
def qos(b, version):
    sub, pub = b.mqtt(VERSIONS[version], "sub"), b.mqtt(VERSIONS[version], "pub")
    for granted in 0, 1, 2:
        sub.subscribe("q%d/#" % granted, granted)
    for granted in 0, 1, 2:
        for sent in 0, 1, 2:
            pub.publish("q%d/a" % granted, b"%d" % sent, qos=sent)
            m = sub.next()
            equal((m.topic, m.payload, m.qos), ("q%d/a" % granted, b"%d" % sent, min(granted, sent)))


@test
def many_at_qos_2(b):
    sub, pub = b.mqtt(), b.mqtt()
    sub.subscribe("t", 2)
    infos = [pub.c.publish("t", b"%d" % i, 2) for i in range(500)]
    for i in infos:
        i.wait_for_publish(30)
    equal([sub.next().payload for _ in infos], [b"%d" % i for i in range(500)])
    sub.none()


@test
def websocket(b):
    sub, pub = b.mqtt(transport="websockets"), b.mqtt(mqtt.MQTTv311, transport="websockets")
    sub.subscribe("t", 1)
    pub.publish("t", b"x" * 200_000)
    equal(len(sub.next().payload), 200_000)


@cases("tcp", "websockets")
def tls(b, transport):
    sub, pub = b.mqtt(transport=transport, tls=True), b.mqtt(mqtt.MQTTv311, transport=transport, tls=True)
    sub.subscribe("t", 1)
    pub.publish("t", b"x" * 200_000)
    equal(len(sub.next().payload), 200_000)


@test
def retained(b):
    pub = b.mqtt()
    pub.publish("a/1", b"one", retain=True)
    pub.publish("a/2", b"two", retain=True)
    pub.publish("a/2", b"", retain=True)
    sub = b.mqtt()
    sub.subscribe("a/+", 1)
    m = sub.next()
    equal((m.topic, m.payload, m.retain), ("a/1", b"one", True))
    pub.publish("a/1", b"live", retain=True)
    m = sub.next()
    equal((m.payload, m.retain), (b"live", False))
    sub.none()


@cases("3.1.1", "5")
def will(b, version):
    sub = b.mqtt()
    sub.subscribe("gone/#", 1)
    lost = b.mqtt(VERSIONS[version], "dev1", setup=lambda c: c.will_set("gone/dev1", b"bye", 1, True))
    lost.cut()
    m = sub.next()
    equal((m.topic, m.payload), ("gone/dev1", b"bye"))
    # One that says goodbye takes its will with it.
    kind = b.mqtt(VERSIONS[version], "dev2", setup=lambda c: c.will_set("gone/dev2", b"bye", 1))
    kind.close()
    b.mqtt().publish("gone/marker", b"x")
    equal(sub.next().topic, "gone/marker")


@test
def session_is_resumed(b):
    first = b.mqtt(client_id="dev1", connect={"SessionExpiryInterval": 3600})
    equal(first.flags.session_present, False)
    first.subscribe("cmd/#", 1)
    first.close()
    pub = b.mqtt()
    for i in range(20):
        pub.publish("cmd/%d" % i, b"%d" % i)
    again = b.mqtt(client_id="dev1", connect={"SessionExpiryInterval": 3600}, clean=False)
    equal(again.flags.session_present, True)
    equal([again.next().payload for _ in range(20)], [b"%d" % i for i in range(20)])


@test
def session_of_3_1_1_is_resumed(b):
    b.mqtt(mqtt.MQTTv311, "dev1", clean=False).close()
    first = b.mqtt(mqtt.MQTTv311, "dev1", clean=False)
    equal(first.flags.session_present, True)
    first.subscribe("cmd", 1)
    first.close()
    b.mqtt().publish("cmd", b"x")
    equal(b.mqtt(mqtt.MQTTv311, "dev1", clean=False).next().payload, b"x")


@test
def takeover(b):
    first = b.mqtt(client_id="dev1")
    b.mqtt(client_id="dev1")
    equal(first.gone.get(timeout=30).value, 0x8E)


@test
def server_assigns_ids(b):
    c = b.mqtt()
    if not c.props.AssignedClientIdentifier:
        raise AssertionError("no assigned client identifier")


@test
def shared_subscription(b):
    members = [b.mqtt() for _ in range(3)]
    for m in members:
        m.subscribe("$share/g/jobs/#", 1)
    pub = b.mqtt()
    for i in range(60):
        pub.publish("jobs/%d" % (i % 5), b"%d" % i)
    pub.publish("done", b"")
    got = []
    while len(got) < 60:
        for m in members:
            while not m.got.empty():
                got.append(int(m.next().payload))
    equal(sorted(got), list(range(60)))


@test
def properties_pass(b):
    sub, pub = b.mqtt(), b.mqtt()
    sub.subscribe("t", options=SubscribeOptions(qos=1), SubscriptionIdentifier=7)
    pub.publish(
        "t", b"x", user=[("a", "1"), ("b", "2"), ("a", "3")], ContentType="text/plain", ResponseTopic="re", CorrelationData=b"\x00\xff",
        PayloadFormatIndicator=1, MessageExpiryInterval=60,
    )
    p = sub.next().properties
    equal(p.UserProperty, [("a", "1"), ("b", "2"), ("a", "3")])
    equal((p.ContentType, p.ResponseTopic, p.CorrelationData, p.PayloadFormatIndicator), ("text/plain", "re", b"\x00\xff", 1))
    equal((p.SubscriptionIdentifier, p.MessageExpiryInterval), ([7], 60))


@test
def options_of_subscriptions(b):
    c = b.mqtt()
    c.publish("a", b"kept", retain=True)
    c.subscribe("a", options=SubscribeOptions(qos=1, noLocal=True, retainHandling=2))
    c.publish("a", b"own")
    other = b.mqtt()
    other.subscribe("a", options=SubscribeOptions(qos=1, retainAsPublished=True))
    equal(other.next().payload, b"kept")
    other.publish("a", b"theirs", retain=True)
    m = c.next()
    equal((m.payload, m.retain), (b"theirs", False))
    m = other.next()
    equal((m.payload, m.retain), (b"theirs", True))


@test
def topic_alias(b):
    sub, pub = b.mqtt(), b.mqtt()
    sub.subscribe("long/topic/name", 1)
    pub.publish("long/topic/name", b"1", TopicAlias=3)
    pub.publish("", b"2", TopicAlias=3)
    equal([sub.next().payload, sub.next().payload], [b"1", b"2"])


@test
def wildcards(b):
    sub, pub = b.mqtt(), b.mqtt()
    for f in "+/x", "a/#", "#":
        reasons = sub.subscribe(f, 0)
        equal([r.is_failure for r in reasons], [False])
    pub.publish("a/x", b"1", qos=0)
    equal(sub.next().payload, b"1")
    pub.publish("$sys/x", b"2", qos=0)
    pub.publish("b", b"3", qos=0)
    equal(sub.next().payload, b"3")
    sub.unsubscribe("#")
    pub.publish("c", b"4", qos=0)
    pub.publish("c/x", b"5", qos=0)
    equal(sub.next().payload, b"5")
    sub.none()


@test
def receive_maximum_is_kept(b):
    sub = b.mqtt(connect={"ReceiveMaximum": 3}, setup=lambda c: c.manual_ack_set(True))
    sub.subscribe("t", 1)
    pub = b.mqtt()
    for i in range(10):
        pub.publish("t", b"%d" % i)
    for i in range(10):
        m = sub.next()
        equal(m.payload, b"%d" % i)
        if sub.got.qsize() > 2:
            raise AssertionError("more than 3 messages are under way")
        sub.c.ack(m.mid, m.qos)


@test
def big_message(b):
    sub, pub = b.mqtt(), b.mqtt()
    sub.subscribe("t", 1)
    body = bytes(range(256)) * 8192
    pub.publish("t", body)
    equal(sub.next().payload == body, True)


@test
def disconnect_with_will_message(b):
    sub = b.mqtt()
    sub.subscribe("gone", 1)
    c = b.mqtt(setup=lambda c: c.will_set("gone", b"bye", 1))
    from paho.mqtt.reasoncodes import ReasonCode

    c.c.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=4))
    equal(sub.next().payload, b"bye")
