"""What the suite stands on: a broker of one's own for each test, and clients that wait.

Nothing here sleeps to let something happen: everything waits for an event, for at most
PATIENCE seconds, which only a test that fails ever reaches.
"""

import atexit
import functools
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from urllib.parse import urlparse

import confluent_kafka
import confluent_kafka.admin
import paho.mqtt.client as mqtt
import pika
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 30
TESTS = []


def test(fn):
    """Registers a test: a function of a Broker."""
    TESTS.append((fn.__module__ + "." + fn.__name__, fn))
    return fn


def cases(*values):
    """Registers a test once for each value."""

    def register(fn):
        for v in values:
            TESTS.append(("%s.%s[%s]" % (fn.__module__, fn.__name__, v), lambda b, v=v: fn(b, v)))
        return fn

    return register


def equal(got, want, what="got"):
    if got != want:
        raise AssertionError("%s %r, want %r" % (what, got, want))


@functools.cache
def pem():
    """Makes a certificate for this machine, which signs itself, and its key: broker, authority and client."""
    home = tempfile.mkdtemp(prefix="rmq-clients")
    atexit.register(shutil.rmtree, home, True)
    key, cert = os.path.join(home, "key"), os.path.join(home, "both.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(command.split() + ["-keyout", key, "-out", cert], check=True, capture_output=True)
    with open(key) as k, open(cert, "a") as c:
        c.write(k.read())
    return cert


class Broker:
    """`rmq up` in the foreground, in memory, on free ports."""

    def __init__(self, binary):
        self.home = tempfile.TemporaryDirectory(prefix="rmq-clients")
        env = dict(os.environ, HOME=self.home.name, XDG_RUNTIME_DIR=self.home.name, XDG_STATE_HOME=self.home.name, XDG_DATA_HOME=self.home.name)
        self.errors = open(os.path.join(self.home.name, "stderr"), "w+")
        self.process = subprocess.Popen(
            [binary, "up", "--memory", "--any-port", "--json", "--tls-cert", pem(), "--tls-ca", pem(), "--tls-client-cert", "optional"], stdout=subprocess.PIPE, stderr=self.errors, env=env, cwd=self.home.name, text=True
        )
        text = ""
        for line in self.process.stdout:
            text += line
            if line.rstrip() == "}":
                break
        try:
            self.urls = json.loads(text)["data"]["urls"]
        except (ValueError, KeyError):
            self.errors.seek(0)
            raise RuntimeError("rmq up: " + text + self.errors.read())
        self.ends = []  # called in reverse when the test is over

    def address(self, name):
        u = urlparse(self.urls[name])
        return u.hostname, u.port

    def close(self):
        for end in reversed(self.ends):
            try:
                end()
            except Exception:  # a client that a test has ended already
                pass
        alive = self.process.poll() is None
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.errors.seek(0)
        said = self.errors.read()
        self.errors.close()
        self.process.stdout.close()
        self.home.cleanup()
        if not alive:
            raise AssertionError("the broker had ended:\n" + said)

    # ---- clients ---------------------------------------------------------------

    def mqtt(self, version=mqtt.MQTTv5, client_id="", connect=None, transport="tcp", setup=None, clean=True, tls=False):
        return MQTT(self, version, client_id, connect, transport, setup, clean, tls)

    def kafka(self, **config):
        base = {"bootstrap.servers": "%s:%d" % self.address("kafka"), "socket.timeout.ms": 10000}
        base.update({k.replace("_", "."): v for k, v in config.items()})
        return base

    def producer(self, **config):
        return Producer(self.kafka(**{"linger_ms": 0, **config}))

    def consumer(self, *topics, **config):
        c = confluent_kafka.Consumer(
            self.kafka(**{"group_id": "g", "auto_offset_reset": "earliest", "enable_auto_commit": False, "session_timeout_ms": 6000, **config})
        )
        self.ends.append(c.close)
        if topics:
            c.subscribe(list(topics))
        return c

    def admin(self):
        return confluent_kafka.admin.AdminClient(self.kafka())

    def amqp(self):
        host, port = self.address("amqp")
        c = pika.BlockingConnection(pika.ConnectionParameters(host=host, port=port, heartbeat=60))
        self.ends.append(c.close)
        return AMQP(c)


class MQTT:
    def __init__(self, broker, version, client_id, connect, transport, setup, clean, tls):
        self.got = queue.Queue()
        self.connected = queue.Queue()
        self.gone = queue.Queue()
        self.acks = queue.Queue()
        options = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, transport=transport, **options)
        self.c.on_message = lambda c, u, m: self.got.put(m)
        self.c.on_connect = lambda c, u, flags, reason, props: self.connected.put((flags, reason, props))
        self.c.on_disconnect = lambda c, u, flags, reason, props: self.gone.put(reason)
        self.c.on_subscribe = lambda c, u, mid, reasons, props: self.acks.put((mid, reasons))
        self.c.on_unsubscribe = lambda c, u, mid, reasons, props: self.acks.put((mid, reasons))
        if setup:
            setup(self.c)
        url = {("tcp", False): "mqtt", ("tcp", True): "mqtts", ("websockets", False): "mqtt_ws", ("websockets", True): "mqtt_wss"}[transport, tls]
        host, port = broker.address(url)
        if tls:
            self.c.tls_set(ca_certs=pem(), certfile=pem(), keyfile=pem())
        if transport == "websockets":
            self.c.ws_set_options(path="/mqtt")
        extra = {}
        if version == mqtt.MQTTv5:
            extra["clean_start"] = clean
            if connect:
                p = Properties(PacketTypes.CONNECT)
                for k, v in connect.items():
                    setattr(p, k, v)
                extra["properties"] = p
        self.c.connect(host, port, **extra)
        self.c.loop_start()
        broker.ends.append(self.close)
        self.flags, self.reason, self.props = self.connected.get(timeout=PATIENCE)
        if self.reason.is_failure:
            raise AssertionError("CONNACK: %s" % self.reason)

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()

    def cut(self):
        """Ends the connection without DISCONNECT."""
        self.c.loop_stop()
        self.c.socket().shutdown(socket.SHUT_RDWR)
        self.c.socket().close()

    def subscribe(self, filter, qos=0, options=None, **properties):
        if options is not None:
            p = None
            if properties:
                p = Properties(PacketTypes.SUBSCRIBE)
                for k, v in properties.items():
                    setattr(p, k, v)
            rc, mid = self.c.subscribe(filter, options=options, properties=p)
        else:
            rc, mid = self.c.subscribe(filter, qos)
        equal(rc, 0, "subscribe returns")
        return self.acked(mid)

    def unsubscribe(self, filter):
        _, mid = self.c.unsubscribe(filter)
        return self.acked(mid)

    def acked(self, mid):
        got, reasons = self.acks.get(timeout=PATIENCE)
        equal(got, mid, "acknowledged")
        return reasons

    def publish(self, topic, payload=None, qos=1, retain=False, user=None, **properties):
        p = None
        if properties or user:
            p = Properties(PacketTypes.PUBLISH)
            for k, v in properties.items():
                setattr(p, k, v)
            if user:
                p.UserProperty = user
        info = self.c.publish(topic, payload, qos, retain, p)
        info.wait_for_publish(PATIENCE)
        if not info.is_published():
            raise AssertionError("not published: " + topic)
        return info

    def next(self):
        return self.got.get(timeout=PATIENCE)

    def none(self):
        if not self.got.empty():
            m = self.got.get()
            raise AssertionError("got %s=%r" % (m.topic, m.payload))


class Producer:
    def __init__(self, config):
        self.p = confluent_kafka.Producer(config)

    def send(self, topic, value=None, key=None, headers=None, **more):
        """Produces one record and returns its (partition, offset)."""
        out = []
        self.p.produce(topic, value, key, headers=headers, on_delivery=lambda err, m: out.append((err, m)), **more)
        equal(self.p.flush(PATIENCE), 0, "records not delivered:")
        err, m = out[0]
        if err:
            raise AssertionError("produce: %s" % err)
        return m.partition(), m.offset()


def read(consumer, count):
    """Consumes count records."""
    out = []
    end = time.monotonic() + PATIENCE
    while len(out) < count:
        left = end - time.monotonic()
        if left < 0:
            raise AssertionError("%d of %d records came" % (len(out), count))
        m = consumer.poll(left)
        if m is None:
            continue
        if m.error():
            if m.error().code() == confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise AssertionError("consume: %s" % m.error())
        out.append(m)
    return out


class AMQP:
    """A blocking connection with one channel, and the messages that its consumers got."""

    def __init__(self, connection):
        self.conn = connection
        self.ch = connection.channel()
        self.got = []

    def bound(self, *keys, exchange="amq.topic"):
        q = self.ch.queue_declare("", exclusive=True).method.queue
        for k in keys:
            self.ch.queue_bind(q, exchange, k)
        self.consume(q)
        return q

    def consume(self, q, ack=False, **more):
        return self.ch.basic_consume(q, lambda ch, m, p, body: self.got.append((m, p, body)), auto_ack=not ack, **more)

    def next(self):
        end = time.monotonic() + PATIENCE
        while not self.got:
            left = end - time.monotonic()
            if left < 0:
                raise AssertionError("AMQP: nothing came")
            self.conn.process_data_events(time_limit=left)
        return self.got.pop(0)

    def publish(self, exchange, key, body, **properties):
        mandatory = properties.pop("mandatory", False)
        self.ch.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=mandatory)

    def depth(self, q):
        return self.ch.queue_declare(q, passive=True).method.message_count


def fails(code, fn):
    """Expects an AMQP channel error."""
    try:
        fn()
    except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as e:
        equal(e.reply_code, code, "error")
        return e
    raise AssertionError("no error, want %d" % code)


def run(binary, only):
    passed, failed = 0, 0
    for name, fn in TESTS:
        if only and only not in name:
            continue
        started = time.monotonic()
        broker = None
        try:
            broker = Broker(binary)
            try:
                fn(broker)
            finally:
                broker.close()
            passed += 1
            print("ok    %5.2fs  %s" % (time.monotonic() - started, name), flush=True)
        except Exception:
            failed += 1
            print("FAIL  %5.2fs  %s" % (time.monotonic() - started, name), flush=True)
            traceback.print_exc(file=sys.stdout)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0
