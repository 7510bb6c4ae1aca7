"""aiomqtt and gmqtt: the MQTT adapter, from an event loop."""

import asyncio
import functools

import aiomqtt
import gmqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from kit import PATIENCE, cases, equal, test


def client(b, **more):
    host, port = b.address("mqtt")
    return aiomqtt.Client(host, port, protocol=aiomqtt.ProtocolVersion.V5, timeout=PATIENCE, **more)


def waited(f):
    """Runs a test's coroutine, for at most PATIENCE."""

    async def bounded(*args):
        await asyncio.wait_for(f(*args), PATIENCE)

    @functools.wraps(f)
    def run(*args):
        asyncio.run(bounded(*args))

    return run


@waited
async def qos_of_aiomqtt(b):
    async with client(b) as sub, client(b) as pub:
        for granted in 0, 1, 2:
            await sub.subscribe("q%d/#" % granted, qos=granted)
        for granted in 0, 1, 2:
            for sent in 0, 1, 2:
                await pub.publish("q%d/a" % granted, b"%d" % sent, qos=sent)
                m = await anext(aiter(sub.messages))
                equal((m.topic.value, m.payload, m.qos), ("q%d/a" % granted, b"%d" % sent, min(granted, sent)))


@waited
async def session_of_aiomqtt(b):
    def dev():
        p = Properties(PacketTypes.CONNECT)
        p.SessionExpiryInterval = 3600
        return client(b, identifier="dev1", clean_start=False, properties=p)

    async with dev() as first:
        await first.subscribe("cmd/#", qos=1)
    async with client(b) as pub:
        for i in range(20):
            await pub.publish("cmd/%d" % i, b"%d" % i, qos=1)
    async with dev() as again:
        messages = aiter(again.messages)
        equal([(await anext(messages)).payload for _ in range(20)], [b"%d" % i for i in range(20)])


test(qos_of_aiomqtt)
test(session_of_aiomqtt)


class Gmqtt:
    def __init__(self, b, version, id):
        self.at, self.version, self.got, self.subscribed = b.address("mqtt"), version, asyncio.Queue(), asyncio.Queue()
        self.c = gmqtt.Client(id, clean_session=True)
        self.c.on_message = self.message
        self.c.on_subscribe = lambda c, mid, qos, properties: self.subscribed.put_nowait(qos)

    async def message(self, c, topic, payload, qos, properties):
        self.got.put_nowait((topic, payload, qos, properties))
        return 0

    async def __aenter__(self):
        await self.c.connect(*self.at, version=self.version)
        return self

    async def __aexit__(self, *_):
        await self.c.disconnect()


async def gmqtt_round(b, version):
    async with Gmqtt(b, version, "sub") as sub, Gmqtt(b, version, "pub") as pub:
        sub.c.subscribe("t/#", qos=2)
        await sub.subscribed.get()
        for qos in 0, 1, 2:
            pub.c.publish("t/%d" % qos, b"%d" % qos, qos=qos)
            topic, payload, got, _ = await sub.got.get()
            equal((topic, payload, got), ("t/%d" % qos, b"%d" % qos, qos))
        if version == gmqtt.constants.MQTTv50:
            pub.c.publish("t/p", b"x", qos=1, user_property=("a", "1"), content_type="text/plain")
            properties = (await sub.got.get())[3]
            equal((properties["user_property"], properties["content_type"]), ([("a", "1")], ["text/plain"]))


@cases(4, 5)
def gmqtt_of_version(b, version):
    waited(gmqtt_round)(b, version)
