"""A client for the loads of testkit/crash: told what to publish on its standard input, it says on its
standard output what came of that.

    load.py kafka-producer PARTITION HOST:PORT,...   to the topic orders, idempotent
    load.py kafka-consumer GROUP     HOST:PORT,...   of the topic orders
    load.py mqtt-publisher QOS       HOST:PORT,...   to load/TRACK, MQTT 5, a session that is kept
    load.py mqtt-subscriber QOS      HOST:PORT,...   of load/#
    load.py amqp-publisher KEY       HOST:PORT,...   to the exchange jobs, mandatory and confirmed
    load.py amqp-consumer QUEUE      HOST:PORT,...

A line in is a message, which begins "TRACK/NUMBER/". A line out is "a NUMBER", acknowledged, or
"r MESSAGE", received; or "x ADDRESS ERROR", what a library told its user of a connection, or "x - ERROR"
where it names none. The end of the input ends a producer once what it sent is answered. Addresses
are tried in turn, and again whenever a connection breaks.
"""

import itertools
import queue
import sys
import threading

import confluent_kafka
import paho.mqtt.client as mqtt
import pika
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

RETRY = 0.02  # seconds before a connection is tried again
LAST = 20  # seconds to wait for the last answers

out = threading.Lock()


def say(what, text):
    with out:
        sys.stdout.write("%s %s\n" % (what, text))
        sys.stdout.flush()


def trouble(at, err):
    say("x", "%s %s" % ("%s:%d" % at if at else "-", " ".join(repr(err).split())))


def number(body):
    return body.split("/", 2)[1]


def lines():
    for line in sys.stdin:
        yield line.rstrip("\n")


def kafka_producer(partition, hosts):
    p = confluent_kafka.Producer(
        {
            "bootstrap.servers": hosts,
            "enable.idempotence": True,
            "linger.ms": 0,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 100,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
        }
    )

    def answered(err, msg):
        if err is not None:
            sys.exit("a producer gave up: %s" % err)
        say("a", number(msg.value().decode()))

    stop = threading.Event()

    def poll():
        while not stop.is_set():
            p.poll(0.05)

    polling = threading.Thread(target=poll)
    polling.start()
    for body in lines():
        p.produce("orders", body.encode(), partition=int(partition), on_delivery=answered)
    stop.set()
    polling.join()
    p.flush(LAST)


def kafka_consumer(group, hosts):
    c = confluent_kafka.Consumer(
        {
            "bootstrap.servers": hosts,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
        }
    )
    c.subscribe(["orders"])
    while True:
        m = c.poll(1)
        if m is not None and m.error() is not None:
            trouble(None, m.error())
        elif m is not None:
            say("r", m.value().decode())


def mqtt_client(name, hosts, on_message=None, on_session=None, on_subscribe=None):
    c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    c.max_inflight_messages_set(20)
    keep = Properties(PacketTypes.CONNECT)
    keep.SessionExpiryInterval = 36000
    up = threading.Event()

    def on_connect(client, userdata, flags, reason, properties):
        if not reason.is_failure:
            if on_session:
                on_session(client, flags.session_present)
            up.set()

    c.on_connect = on_connect
    c.on_subscribe = on_subscribe
    if on_message:
        c.on_message = lambda client, userdata, m: on_message(m)

    def run():
        for host, port in itertools.cycle(addresses(hosts)):
            try:
                c.connect(host, port, keepalive=60, clean_start=False, properties=keep)
                while (code := c.loop(timeout=1)) == mqtt.MQTT_ERR_SUCCESS:
                    pass
                trouble((host, port), mqtt.error_string(code))
            except OSError as err:
                trouble((host, port), err)
            threading.Event().wait(RETRY)

    threading.Thread(target=run, daemon=True).start()
    up.wait()
    return c


def mqtt_publisher(qos, hosts):
    sent, done = {}, threading.Condition()

    c = mqtt_client("python-publisher-" + qos, hosts)

    def on_publish(client, userdata, mid, reason, properties):
        with done:
            n = sent.pop(mid, None)
            done.notify_all()
        if n is not None and not reason.is_failure:
            say("a", n)

    c.on_publish = on_publish
    for body in lines():
        with done:  # one at a time under way: what is sent again keeps its order
            done.wait_for(lambda: not sent)
            sent[c.publish("load/" + body.split("/", 1)[0], body, qos=int(qos)).mid] = number(body)
    with done:
        done.wait_for(lambda: not sent, LAST)


def mqtt_subscriber(qos, hosts):
    def on_session(client, present):
        if not present:
            client.subscribe("load/#", int(qos))

    mqtt_client("python-subscriber-" + qos, hosts, lambda m: say("r", m.payload.decode()), on_session, lambda *_: say("s", "subscribed"))
    sys.stdin.read()


def addresses(hosts):
    return [(h.rsplit(":", 1)[0], int(h.rsplit(":", 1)[1])) for h in hosts.split(",")]


def amqp_channels(hosts):
    """Yields an address and a channel there, and others whenever it is asked again."""
    for host, port in itertools.cycle(addresses(hosts)):
        try:
            conn = pika.BlockingConnection(pika.ConnectionParameters(host, port, socket_timeout=5, heartbeat=10))
            yield (host, port), conn.channel()
        except (pika.exceptions.AMQPError, OSError) as err:
            trouble((host, port), err)
            threading.Event().wait(RETRY)


def amqp_publisher(key, hosts):
    channels = amqp_channels(hosts)
    ch = None
    for body in lines():
        if ch is None:
            at, ch = next(channels)
            ch.confirm_delivery()
        try:
            ch.basic_publish("jobs", key, body.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)
            say("a", number(body))
        except (pika.exceptions.AMQPError, OSError) as err:
            trouble(at, err)
            ch = None  # what had no confirm is not sent again


def amqp_consumer(name, hosts):
    for at, ch in amqp_channels(hosts):
        try:
            ch.basic_qos(prefetch_count=32)
            for method, _, body in ch.consume(name):
                say("r", body.decode())
                ch.basic_ack(method.delivery_tag)
        except (pika.exceptions.AMQPError, OSError) as err:
            trouble(at, err)


if __name__ == "__main__":
    {f.__name__.replace("_", "-"): f for f in (kafka_producer, kafka_consumer, mqtt_publisher, mqtt_subscriber, amqp_publisher, amqp_consumer)}[sys.argv[1]](
        *sys.argv[2:]
    )
