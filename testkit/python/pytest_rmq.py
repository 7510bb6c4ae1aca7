"""A broker for pytest: MQTT, Kafka and AMQP, with a clock that tests move.

Under `rmq test -- pytest` the tests use the broker that it runs; otherwise the plugin
starts one by `rmq up`, in memory, on free ports, for the whole session. RMQ_BINARY names
the program; without it, `rmq` is found by PATH.

    def test_expiry(rmq_broker):
        rmq_broker.clock.advance("24h")
        rmq_broker.queue("dead").want("ready=1")

It needs the standard library and pytest alone. docs/CONTROL.md tells what it calls.
"""

import base64
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import pytest


class RmqError(Exception):
    """What the broker answers that is no result. Its category is one of docs/CONTROL.md."""

    def __init__(self, error):
        hint = error.get("hint")
        super().__init__(error["message"] + (f" (hint: {hint})" if hint else ""))
        self.code, self.category, self.hint = error["code"], error["category"], hint


class WantError(RmqError, AssertionError):
    """What was waited for did not come true in time."""


@dataclasses.dataclass
class Message:
    """A message as the broker has it. What its protocol does not have is None."""

    value: bytes | None
    key: bytes | None = None
    headers: list = dataclasses.field(default_factory=list)  # of (name, bytes)
    properties: dict = dataclasses.field(default_factory=dict)
    protocol: str = ""
    address: str = ""
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    retain: bool = False
    qos: int | None = None
    time: str | None = None
    state: str | None = None  # of one in a queue: ready or unacked
    deliveries: int | None = None

    @property
    def text(self):
        return None if self.value is None else self.value.decode()

    def json(self):
        return json.loads(self.value)


def _bytes(of, name):
    value = of.get(name)
    if value is None:
        return None
    return base64.b64decode(value) if of.get(name + "_encoding") == "base64" else value.encode()


def _message(m, **more):
    headers = [
        (h["name"], None if h["value"] is None else base64.b64decode(h["value"]) if h.get("encoding") == "base64" else h["value"].encode())
        for h in m.get("headers") or []
    ]
    return Message(
        value=_bytes(m, "value"), key=_bytes(m, "key"), headers=headers, properties=m.get("properties") or {}, protocol=m["protocol"],
        address=m.get("address", ""), topic=m.get("topic"), partition=m.get("partition"), offset=m.get("offset"), retain=m.get("retain", False),
        qos=m.get("qos"), time=m.get("time"), **more,
    )


class Clock:
    """The time that the broker goes by. Frozen, it moves when a test moves it alone."""

    def __init__(self, broker):
        self._broker = broker

    def _state(self):
        return self._broker.call("GET", "/v1/clock")

    @property
    def now(self):
        """RFC 3339, in UTC."""
        return self._state()["now"]

    @property
    def frozen(self):
        return self._state()["frozen"]

    def freeze(self):
        self._broker.call("POST", "/v1/clock/freeze")

    def resume(self):
        self._broker.call("POST", "/v1/clock/resume")

    def advance(self, by, liveness=False):
        """Moves on by "24h", and returns once all that was due has happened."""
        return self._broker.call("POST", "/v1/clock/advance", body={"by": by, "liveness": liveness})["now"]

    def set(self, to, liveness=False):
        """Moves on to a time, of RFC 3339. It does not go back."""
        return self._broker.call("POST", "/v1/clock/advance", body={"to": to, "liveness": liveness})["now"]


class Fault:
    """Something that is to go wrong."""

    def __init__(self, broker, name):
        self._broker, self.name = broker, name

    def _state(self):
        for rule in self._broker.call("GET", "/v1/chaos")["rules"]:
            if rule["name"] == self.name:
                return rule
        raise LookupError(f"there is no fault {self.name} any more")

    @property
    def fired(self):
        """How often it has happened."""
        return self._state()["fired"]

    @property
    def seen(self):
        """How often it might have happened."""
        return self._state()["seen"]

    def remove(self):
        self._broker.call("DELETE", "/v1/chaos/" + urllib.parse.quote(self.name, safe=""))


class _Thing:
    kind = path = ""

    def __init__(self, broker, name):
        self._broker, self.name = broker, name

    def _at(self, tail=""):
        return f"/v1/{self.path}/{urllib.parse.quote(self.name, safe='')}{tail}"

    @property
    def info(self):
        """What the broker tells of it; None: there is none."""
        try:
            return self._broker.call("GET", self._at())
        except RmqError as e:
            if e.category == "not_found":
                return None
            raise

    @property
    def exists(self):
        return self.info is not None

    def want(self, *conditions, where=None, within="10s"):
        """Waits until all conditions hold ("ready>=1", "gone"), and returns what it waited for."""
        return self._broker.want(**{self.kind: self.name}, conditions=conditions, where=where, within=within)


class Topic(_Thing):
    kind, path = "topic", "topics"

    def records(self, where=None, limit=1000):
        query = {"limit": limit} | ({"where": where} if where else {})
        return [_message(m) for m in self._broker.call("GET", self._at("/records"), query)]

    def want_records(self, count, where=None, within="10s"):
        """Waits until it has so many records, of those where is about, and returns them."""
        if where:
            return [_message(m) for m in self.want(f"messages={count}", where=where, within=within).get("messages", [])]
        self.want(f"records={count}", within=within)
        return self.records()


class Queue(_Thing):
    kind, path = "queue", "queues"

    @property
    def ready(self):
        return (self.info or {}).get("ready", 0)

    @property
    def unacked(self):
        return (self.info or {}).get("unacked", 0)

    def messages(self, where=None, limit=1000):
        """Those that wait or are with consumers. None is consumed by it."""
        query = {"limit": limit} | ({"where": where} if where else {})
        return [
            _message(q["message"], state=q["state"], deliveries=q["deliveries"]) for q in self._broker.call("GET", self._at("/messages"), query)
        ]


class Session(_Thing):
    kind, path = "session", "sessions"


class Group(_Thing):
    kind, path = "group", "groups"


class Broker:
    """A running broker: where clients connect, what it holds, and its clock."""

    def __init__(self, control):
        self.control_url = control.rstrip("/")
        self.clock = Clock(self)
        urls = self.call("GET", "/v1/status")["urls"]
        self.mqtt_url, self.amqp_url = urls.get("mqtt"), urls.get("amqp")
        self.kafka_bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or urls.get("kafka", "").removeprefix("kafka://")
        at = urllib.parse.urlsplit(self.mqtt_url or "")
        self.mqtt_host, self.mqtt_port = at.hostname, at.port

    def call(self, method, path, query=None, body=None):
        """One exchange with the control API: its data, or RmqError."""
        url = self.control_url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            error = json.load(e)["error"]
            raise (WantError if path == "/v1/want" and error["category"] == "timeout" else RmqError)(error) from None

    def want(self, conditions=(), where=None, within="10s", **thing):
        """Waits until something is so: want(queue="jobs", conditions=["ready=1"])."""
        body = {k: v for k, v in thing.items()} | {"if": list(conditions), "within": within}
        if where:
            body["where"] = where
        return self.call("POST", "/v1/want", body=body)

    def fault(self, at, do, **rule):
        """Has something go wrong from now on: fault("mqtt/PUBACK", "drop", client="dev1", times=1).

        docs/CHAOS.md tells where, and what. "from" and "for" are given as from_ and for_.
        """
        rule = {name.rstrip("_"): value for name, value in rule.items()}
        return Fault(self, self.call("POST", "/v1/chaos", body={"at": at, "do": do} | rule)["name"])

    def reset(self):
        """Takes away what clients have made, and all faults. What it returns counts them."""
        return self.call("POST", "/v1/reset")

    def topics(self):
        """What there is: topics, and queues, sessions and groups below, as docs/CONTROL.md has them."""
        return self.call("GET", "/v1/topics")

    def queues(self):
        return self.call("GET", "/v1/queues")

    def sessions(self):
        return self.call("GET", "/v1/sessions")

    def groups(self):
        return self.call("GET", "/v1/groups")

    def topic(self, name):
        return Topic(self, name)

    def queue(self, name):
        return Queue(self, name)

    def session(self, client_id):
        return Session(self, client_id)

    def group(self, group_id):
        return Group(self, group_id)

    def retained(self, topic_filter="#"):
        return [_message(m) for m in self.call("GET", "/v1/retained", {"filter": topic_filter})]

    def want_retained(self, topic_filter, count=1, within="10s"):
        got = self.want(retained=topic_filter, conditions=[f"messages={count}"], within=within)
        return [_message(m) for m in got.get("messages", [])]


class Started:
    """A broker that this process has started: `with Started() as broker`."""

    def __init__(self, *flags):
        self._flags = flags or ("--clock", "running")

    def __enter__(self):
        binary = os.environ.get("RMQ_BINARY") or shutil.which("rmq")
        if not binary:
            raise RuntimeError("there is no rmq: set RMQ_BINARY, put it on PATH, or run: rmq test -- pytest")
        # Its run file is nobody's business: a directory of its own, gone with it.
        self._home = tempfile.mkdtemp(prefix="rmq-")
        env = os.environ | {"XDG_RUNTIME_DIR": self._home, "XDG_STATE_HOME": self._home, "XDG_DATA_HOME": self._home}
        self._process = subprocess.Popen(
            [binary, "up", "--quiet", "--memory", "--any-port", "--json", *self._flags], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        try:
            text = ""
            for line in self._process.stdout:  # one object, over several lines
                text += line
                if line.rstrip() == "}":
                    break
            status = json.loads(text)
        except ValueError:
            self.__exit__()
            raise RuntimeError("rmq up has not started; it says why above") from None
        self.broker = Broker(status["data"]["urls"]["http"])
        return self.broker

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:  # for clients that are connected still it would wait longer
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._home, ignore_errors=True)


@pytest.fixture(scope="session")
def rmq_broker():
    """A broker for all tests of the session. Tests that share it use names of their own."""
    control = os.environ.get("RMQ_CONTROL_URL")
    if control:
        yield Broker(control)
        return
    with Started() as broker:
        yield broker


@pytest.fixture
def rmq_clock(rmq_broker):
    """The broker's clock, frozen for the time of the test."""
    was = rmq_broker.clock.frozen
    rmq_broker.clock.freeze()
    yield rmq_broker.clock
    if not was:
        rmq_broker.clock.resume()


@pytest.fixture
def rmq_fresh(rmq_broker):
    """The broker of rmq_broker, emptied before the test. After it, nothing goes wrong by plan any more."""
    rmq_broker.reset()
    yield rmq_broker
    rmq_broker.call("DELETE", "/v1/chaos")
