"""Unmodified Python clients against a running rmq: the nine directions between protocols,
and what each client uses most. Prints a line for each check, and a count at the end.

    python_clients.py STATUS.json      (what `rmq status -o json` printed)
"""

import json
import queue
import sys
import threading
import time
import traceback
from urllib.parse import urlparse

import confluent_kafka as ck
import paho.mqtt.client as mqtt
import pika
from confluent_kafka.admin import AdminClient, NewTopic
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT = 20  # seconds until a message that should come counts as lost

urls = json.load(open(sys.argv[1]))["data"]["urls"]
MQTT, KAFKA, AMQP = (urlparse(urls[p]) for p in ("mqtt", "kafka", "amqp"))
BOOTSTRAP = f"{KAFKA.hostname}:{KAFKA.port}"
checks = []


def check(f):
    checks.append(f)
    return f


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


class Mqtt:
    """A connected MQTT client whose messages arrive in a queue."""

    def __init__(self, client_id="", version=mqtt.MQTTv5, will=None, clean=True, **kw):
        self.got, ready, self.subs = queue.Queue(), threading.Event(), queue.Queue()
        if version == mqtt.MQTTv5:
            self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
        else:
            self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, clean_session=clean)
        if will:
            self.c.will_set(*will)
        self.c.on_message = lambda c, u, m: self.got.put(m)
        self.c.on_subscribe = lambda c, u, mid, codes, props: self.subs.put(codes)

        def connected(c, u, flags, code, props):
            self.present = flags.session_present
            equal(code.value, 0, "CONNACK")
            ready.set()

        self.c.on_connect = connected
        if version == mqtt.MQTTv5:
            p = Properties(PacketTypes.CONNECT)
            p.SessionExpiryInterval = kw.get("expiry", 0)
            self.c.connect(MQTT.hostname, MQTT.port, clean_start=clean, properties=p)
        else:
            self.c.connect(MQTT.hostname, MQTT.port)
        self.c.loop_start()
        assert ready.wait(WAIT), "no CONNACK"

    def subscribe(self, filter, qos=1):
        self.c.subscribe(filter, qos)
        return self.subs.get(timeout=WAIT)

    def publish(self, topic, payload, qos=1, retain=False, **props):
        p = Properties(PacketTypes.PUBLISH)
        for k, v in props.items():
            setattr(p, k, v)
        self.c.publish(topic, payload, qos, retain, p if props else None).wait_for_publish(WAIT)

    def next(self):
        return self.got.get(timeout=WAIT)

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def produce(topic, value, key=None, headers=None, **config):
    failed = []
    p = ck.Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", **config})
    p.produce(topic, value, key=key, headers=headers, callback=lambda e, m: failed.append(e) if e else None)
    equal(p.flush(WAIT), 0, "messages left in the producer")
    equal(failed, [], "delivery errors")


def consume(topic, n, group="any", **config):
    c = ck.Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, **config})
    c.subscribe([topic])
    out, end = [], time.monotonic() + WAIT
    while len(out) < n and time.monotonic() < end:
        m = c.poll(0.2)
        if m is None or m.error() and m.error().code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
            continue
        if m.error():
            raise AssertionError(m.error())
        out.append(m)
    c.close()
    equal(len(out), n, f"records of {topic}")
    return out


class Amqp:
    """An AMQP channel."""

    def __init__(self):
        self.c = pika.BlockingConnection(pika.ConnectionParameters(AMQP.hostname, AMQP.port))
        self.ch = self.c.channel()

    def bound(self, key, exchange="amq.topic", **args):
        q = self.ch.queue_declare("", exclusive=True, arguments=args or None).method.queue
        self.ch.queue_bind(q, exchange, key)
        return q

    def next(self, q):
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            method, props, body = self.ch.basic_get(q, auto_ack=True)
            if method:
                return method, props, body
            self.c.sleep(0.02)
        raise AssertionError(f"nothing came to {q}")

    def close(self):
        self.c.close()


@check
def nine_directions():
    m, a = Mqtt("nine"), Amqp()
    m.subscribe("nine/#")
    q = a.bound("nine.#")
    sources = {
        "mqtt": lambda v: m.publish("nine/a", v),
        "kafka": lambda v: produce("nine.a", v),
        "amqp": lambda v: a.ch.basic_publish("amq.topic", "nine.a", v, pika.BasicProperties(delivery_mode=2)),
    }
    m.publish("nine/z", b"home")  # makes the stream that is home to both
    equal(m.next().payload, b"home")
    equal(a.next(q)[2], b"home")
    for name, send in sources.items():
        send(name.encode())
        got = m.next()
        equal((got.topic, got.payload), ("nine/a", name.encode()), f"{name} to mqtt")
        method, _, body = a.next(q)
        equal((method.routing_key, body), ("nine.a", name.encode()), f"{name} to amqp")
    equal([(r.key(), r.value()) for r in consume("nine", 2)], [(b"nine/z", b"home"), (b"nine/a", b"mqtt")], "mqtt to kafka")
    equal(sorted(r.value() for r in consume("nine.a", 2)), [b"amqp", b"kafka"], "kafka and amqp to kafka")
    m.close()
    a.close()


@check
def headers_cross():
    a, m = Amqp(), Mqtt("headers")
    q = a.bound("headers.#")
    m.publish("headers/x", b"v", ContentType="text/plain", UserProperty=[("a", "1"), ("a", "2"), ("b", "ü")])
    _, props, _ = a.next(q)
    equal(props.content_type, "text/plain")
    equal((props.headers["a"], props.headers["b"], props.headers["rmq-proto"]), (["1", "2"], "ü", "mqtt"))
    r = consume("headers", 1)[0]
    h = [(k, v) for k, v in r.headers() if not k.startswith("rmq-")]
    equal(h, [("content-type", b"text/plain"), ("a", b"1"), ("a", b"2"), ("b", "ü".encode())])
    a.close()
    m.close()


@check
def mqtt_qos_and_versions():
    for version in (mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5):
        c = Mqtt(f"qos{version}", version)
        for qos in (0, 1, 2):
            equal(c.subscribe(f"qos/{version}/{qos}", qos)[0].value, qos)
            c.c.publish(f"qos/{version}/{qos}", b"x", qos)
            equal(c.next().qos, qos)
        c.close()


@check
def mqtt_retained_will_session_shared():
    w = Mqtt("watcher")
    w.subscribe("will/#")
    d = Mqtt("dying", will=("will/dying", b"gone", 1, False))
    d.c._sock_close()  # the connection breaks without DISCONNECT
    equal(w.next().payload, b"gone")
    d.c.loop_stop()
    w.publish("kept/1", b"v", retain=True)
    r = Mqtt("retained")
    r.subscribe("kept/+")
    got = r.next()
    equal((got.payload, got.retain), (b"v", True))
    s = Mqtt("durable", clean=False, expiry=3600)
    s.subscribe("durable/#")
    s.close()
    w.publish("durable/x", b"while away")
    s = Mqtt("durable", clean=False, expiry=3600)
    equal(s.present, True)
    equal(s.next().payload, b"while away")
    members = [Mqtt(f"member{i}") for i in range(2)]
    for x in members:
        x.subscribe("$share/g/shared/#")
    for i in range(20):
        w.publish("shared/x", str(i).encode())
    seen = sorted(int(x.next().payload) for x in members for _ in range(10))
    equal(seen, list(range(20)))
    for x in (w, r, s, *members):
        x.close()


@check
def kafka_codecs_idempotence_groups_admin():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    admin.create_topics([NewTopic("codecs", 3, 1)])["codecs"].result(WAIT)
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for i, codec in enumerate(codecs):
        produce("codecs", codec * 100, key=str(i), headers=[("h", b"\x00\xff"), ("h", None)], **{"compression.type": codec, "enable.idempotence": True})
    got = consume("codecs", len(codecs), "codecs")
    equal(sorted(r.value().decode() for r in got), sorted(c * 100 for c in codecs))
    equal(got[0].headers(), [("h", b"\x00\xff"), ("h", None)])
    c = ck.Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "codecs2", "auto.offset.reset": "earliest", "enable.auto.commit": False})
    c.subscribe(["codecs"])
    n, end = 0, time.monotonic() + WAIT
    while n < len(codecs) and time.monotonic() < end:
        n += c.poll(0.2) is not None
    c.commit(asynchronous=False)
    c.close()
    equal(sum(o.offset for o in _committed("codecs2", "codecs", 3)), len(codecs), "committed")
    admin.delete_topics(["codecs"])["codecs"].result(WAIT)


def _committed(group, topic, n):
    c = ck.Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group})
    out = c.committed([ck.TopicPartition(topic, p) for p in range(n)], timeout=WAIT)
    c.close()
    return [o for o in out if o.offset >= 0]


@check
def amqp_confirms_dead_letters_ttl_tx_returns():
    a = Amqp()
    a.ch.confirm_delivery()
    a.ch.queue_declare("dead", durable=True)
    a.ch.queue_declare("work", durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    a.ch.basic_publish("", "work", b"poison", pika.BasicProperties(delivery_mode=2, headers={"n": 1}), mandatory=True)
    method, _, _ = a.ch.basic_get("work")
    a.ch.basic_reject(method.delivery_tag, requeue=False)
    _, props, body = a.next("dead")
    equal(body, b"poison")
    equal((props.headers["x-death"][0]["reason"], props.headers["x-death"][0]["queue"], props.headers["n"]), ("rejected", "work", 1))
    try:
        a.ch.basic_publish("", "no-such-queue", b"x", mandatory=True)
        raise AssertionError("an unroutable message was not returned")
    except pika.exceptions.UnroutableError:
        pass
    a.ch.queue_declare("brief", durable=True, arguments={"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    a.ch.basic_publish("", "brief", b"late")
    _, props, body = a.next("dead")
    equal((body, props.headers["x-death"][0]["reason"]), (b"late", "expired"))
    t = a.c.channel()
    t.tx_select()
    t.basic_publish("", "dead", b"rolled back")
    t.tx_rollback()
    t.basic_publish("", "dead", b"committed")
    t.tx_commit()
    equal(a.next("dead")[2], b"committed")
    try:
        t.queue_declare("dead", durable=False)
        raise AssertionError("another declaration of the queue was accepted")
    except pika.exceptions.ChannelClosedByBroker as e:
        equal(e.reply_code, 406)
    p = a.c.channel()
    p.basic_qos(prefetch_count=3)
    for i in range(10):
        a.ch.basic_publish("", "dead", str(i).encode())
    got = []
    p.basic_consume("dead", lambda ch, m, pr, b: got.append(m.delivery_tag))
    end = time.monotonic() + WAIT
    while len(got) < 3 and time.monotonic() < end:
        a.c.process_data_events(0.1)
    a.ch.queue_declare("dead", passive=True)  # a round trip: whatever was on its way is here
    a.c.process_data_events(0)
    equal(len(got), 3, "deliveries under prefetch 3")
    a.close()


@check
def request_from_mqtt_answered_by_amqp():
    a, m = Amqp(), Mqtt("rpc")
    a.ch.queue_declare("rpc_queue", durable=True)
    m.subscribe("answers/rpc")
    m.publish("rpc_queue", b"21", ResponseTopic="answers/rpc", CorrelationData=b"c-1")
    _, props, body = a.next("rpc_queue")
    # The stock RPC server of the AMQP tutorial: answer on the default exchange.
    a.ch.basic_publish("", props.reply_to, str(2 * int(body)), pika.BasicProperties(correlation_id=props.correlation_id))
    got = m.next()
    equal((got.payload, got.properties.CorrelationData), (b"42", b"c-1"))
    a.close()
    m.close()


failed = 0
for f in checks:
    try:
        f()
        print("ok  ", f.__name__, flush=True)
    except Exception:
        failed += 1
        print("FAIL", f.__name__, flush=True)
        traceback.print_exc()
print(f"{len(checks) - failed} passed, {failed} failed")
sys.exit(failed > 0)
