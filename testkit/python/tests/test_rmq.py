"""The examples of docs/testing/python.md, and what else the plugin promises."""

import paho.mqtt.client as mqtt
import pika
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import pytest_rmq


@pytest.fixture
def client(rmq_broker):
    c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    c.connect(rmq_broker.mqtt_host, rmq_broker.mqtt_port)
    c.loop_start()
    yield c
    c.disconnect()
    c.loop_stop()


def channel(broker):
    return pika.BlockingConnection(pika.URLParameters(broker.amqp_url)).channel()


# [records]
def test_temperature_is_published(rmq_broker, client):
    client.publish("plant/dev1/temp", '{"celsius": 31}', qos=1)

    (record,) = rmq_broker.topic("plant/dev1/temp").want_records(1)
    assert record.json() == {"celsius": 31}
    assert record.address == "plant/dev1/temp"


# [records]
# [clock]
def test_order_is_given_up_after_a_day(rmq_broker, rmq_clock):
    ch = channel(rmq_broker)
    ch.queue_declare("given-up", durable=True)
    day = {"x-message-ttl": 86_400_000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "given-up"}
    ch.queue_declare("open-orders", durable=True, arguments=day)
    ch.basic_publish("", "open-orders", b"order 7")
    rmq_broker.queue("open-orders").want("ready=1")

    rmq_clock.advance("23h59m59s")
    assert rmq_broker.queue("open-orders").ready == 1
    rmq_clock.advance("1s")  # returns when all that was due has happened
    assert rmq_broker.queue("open-orders").ready == 0
    (message,) = rmq_broker.queue("given-up").messages()
    assert message.text == "order 7"
    ch.connection.close()


# [clock]
def test_want_says_how_it_stands(rmq_broker):
    with pytest.raises(AssertionError, match="records=2 did not come true within 10ms: there is none"):
        rmq_broker.topic("nothing/here").want("records=2", within="10ms")
    with pytest.raises(pytest_rmq.RmqError, match="no field redy") as e:
        channel(rmq_broker).queue_declare("typo")
        rmq_broker.queue("typo").want("redy=2")
    assert e.value.category == "usage"


def test_where_chooses_messages(rmq_broker, client):
    for celsius in (21, 31):
        client.publish("furnace/temp", f'{{"celsius": {celsius}}}', qos=1, retain=True)
    (hot,) = rmq_broker.topic("furnace").want_records(1, where="json.celsius > 30")
    assert hot.json()["celsius"] == 31
    assert [m.text for m in rmq_broker.want_retained("furnace/#")] == ['{"celsius": 31}']


def test_session_expires_and_clients_stay(rmq_broker, rmq_clock, client):
    expiry = Properties(PacketTypes.CONNECT)
    expiry.SessionExpiryInterval = 3600
    away = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="away", protocol=mqtt.MQTTv5)
    away.connect(rmq_broker.mqtt_host, rmq_broker.mqtt_port, properties=expiry, keepalive=5)
    away.loop_start()
    rmq_broker.session("away").want("connected=true")
    away.disconnect()
    away.loop_stop()
    rmq_broker.session("away").want("connected=false")
    rmq_clock.advance("24h")
    assert not rmq_broker.session("away").exists
    client.publish("still/here", "x", qos=1).wait_for_publish(10)
    rmq_broker.topic("still/here").want("records=1")


def test_clock_runs_when_it_is_let(rmq_broker, rmq_clock):
    frozen = rmq_clock.now
    assert rmq_clock.frozen and rmq_clock.now == frozen
    rmq_clock.set("2099-01-01T00:00:00Z")
    assert rmq_clock.now == "2099-01-01T00:00:00Z"
    with pytest.raises(pytest_rmq.RmqError, match="time does not go back"):
        rmq_clock.set("2098-01-01T00:00:00Z")


# [faults]
def test_who_gets_no_puback_sends_again(rmq_fresh, client):
    lost = rmq_fresh.fault("mqtt/PUBACK", "drop", times=1)
    sent = client.publish("orders/7", "paid", qos=1)
    rmq_fresh.topic("orders").want("records=1")
    assert lost.fired == 1 and not sent.is_published()

    client.reconnect()  # an application's client does that by itself
    sent.wait_for_publish(10)
    assert [r.text for r in rmq_fresh.topic("orders").records()] == ["paid", "paid"]


# [faults]
def test_reset_leaves_nothing(rmq_broker, client):
    client.publish("plant/dev1/temp", "21.5", qos=1, retain=True).wait_for_publish(10)
    channel(rmq_broker).queue_declare("jobs", durable=True)
    fault = rmq_broker.fault("amqp/basic.publish", "delay", delay="1h", from_="1h", for_="2h")
    assert rmq_broker.topics() and rmq_broker.queues() and rmq_broker.sessions()
    gone = rmq_broker.reset()
    assert gone["topics"] >= 1 and gone["queues"] >= 1 and gone["retained"] >= 1 and gone["faults"] >= 1
    assert rmq_broker.topics() == rmq_broker.queues() == rmq_broker.groups() == rmq_broker.retained() == []
    with pytest.raises(LookupError):
        fault.fired
    with pytest.raises(pytest_rmq.RmqError, match="PUBAK"):
        rmq_broker.fault("mqtt/PUBAK", "drop")


def test_fault_is_taken_back(rmq_fresh, client):
    fault = rmq_fresh.fault("mqtt/in/PUBLISH", "answer", code="not authorized", client="nobody")
    client.publish("a", "x", qos=1).wait_for_publish(10)
    assert fault.fired == 0
    fault.remove()
    with pytest.raises(LookupError):
        fault.seen


def test_broker_of_its_own():
    with pytest_rmq.Started("--clock", "virtual@2030-01-01T00:00:00Z") as broker:
        assert broker.clock.now == "2030-01-01T00:00:00Z"
        assert not broker.topic("plant").exists
