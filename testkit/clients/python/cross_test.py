"""The nine directions: each client's message in the hands of each other's."""

from kit import cases, equal, read, test


def from_mqtt(b, value):
    b.mqtt().publish("sensors/dev1/temp", value, user=[("unit", "C")], ContentType="text/plain")


def from_kafka(b, value):
    b.producer().send("sensors.dev1.temp", value, b"k", [("unit", b"C"), ("content-type", b"text/plain")])


def from_amqp(b, value):
    c = b.amqp()
    c.ch.confirm_delivery()
    c.publish("amq.topic", "sensors.dev1.temp", value, delivery_mode=2, headers={"unit": "C"}, content_type="text/plain")


SOURCES = {"mqtt": from_mqtt, "kafka": from_kafka, "amqp": from_amqp}


@cases("mqtt", "kafka", "amqp")
def to_mqtt(b, source):
    sub = b.mqtt()
    sub.subscribe("sensors/+/temp", 1)
    for i in range(10):
        SOURCES[source](b, b"%d" % i)
    for i in range(10):
        m = sub.next()
        user = dict(m.properties.UserProperty)
        equal((m.topic, m.payload, m.qos, m.properties.ContentType, user["unit"]), ("sensors/dev1/temp", b"%d" % i, 1, "text/plain", "C"))
        equal(user.get("rmq-proto"), None if source == "mqtt" else source)


@cases("mqtt", "kafka", "amqp")
def to_kafka(b, source):
    for i in range(10):
        SOURCES[source](b, b"%d" % i)
    topics = ["sensors.dev1.temp"] if source == "kafka" else ["sensors", "sensors.dev1.temp"]
    for topic in topics:
        for i, m in enumerate(read(b.consumer(topic, group_id=topic), 10)):
            h = dict(m.headers())
            equal((m.topic(), m.value(), h["unit"], h["content-type"]), (topic, b"%d" % i, b"C", b"text/plain"))
            equal((m.key(), h.get("rmq-proto")), (b"k", None) if source == "kafka" else (b"sensors/dev1/temp", source.encode()))


@cases("mqtt", "kafka", "amqp")
def to_amqp(b, source):
    c = b.amqp()
    c.bound("sensors.#")
    for i in range(10):
        SOURCES[source](b, b"%d" % i)
    for i in range(10):
        m, p, body = c.next()
        equal((m.exchange, m.routing_key, body), ("amq.topic", "sensors.dev1.temp", b"%d" % i))
        equal((p.content_type, p.headers["unit"], p.delivery_mode), ("text/plain", "C", 2))
        equal(p.headers.get("rmq-proto"), None if source == "amqp" else source)


@test
def request_from_mqtt_to_amqp(b):
    server = b.amqp()
    server.ch.queue_declare("rpc.upper")
    server.consume("rpc.upper")
    c = b.mqtt()
    c.subscribe("answers/me", 1)
    c.publish("rpc/upper", b"hello", ResponseTopic="answers/me", CorrelationData=b"1")
    _, p, body = server.next()
    server.publish("", p.reply_to, body.upper(), correlation_id=p.correlation_id)
    m = c.next()
    equal((m.payload, m.properties.CorrelationData), (b"HELLO", b"1"))


@test
def tombstones_and_nulls(b):
    sub = b.mqtt()
    sub.subscribe("t", 1)
    c = b.amqp()
    c.bound("t")
    b.producer().send("t", None, b"k")
    equal(sub.next().payload, b"")
    _, p, body = c.next()
    equal((body, p.headers["rmq-null"], p.headers["rmq-key"]), (b"", "true", "k"))
