"""confluent-kafka (librdkafka): what the Kafka adapter offers to it."""

import threading

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from kit import cases, equal, read, test


def create(b, name, partitions=1, **config):
    a = b.admin()  # which must live until the answer has come
    a.create_topics([NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})])[name].result(30)


@test
def produce_and_consume(b):
    p = b.producer()
    for i in range(100):
        equal(p.send("t", b"%d" % i, b"k%d" % i, [("a", b"1"), ("b", None), ("a", b"\xff")])[1], i)
    p.send("t", None, b"tombstone")
    p.send("t", b"", b"")
    p.send("t", b"no key")
    got = read(b.consumer("t"), 103)
    for i, m in enumerate(got[:100]):
        equal((m.key(), m.value(), m.offset(), m.headers()), (b"k%d" % i, b"%d" % i, i, [("a", b"1"), ("b", None), ("a", b"\xff")]))
    equal([(m.key(), m.value()) for m in got[100:]], [(b"tombstone", None), (b"", b""), (None, b"no key")])


@cases("none", "gzip", "snappy", "lz4", "zstd")
def codec(b, name):
    p = b.producer(compression_type=name, linger_ms=50)
    body = b"compress me " * 200
    for i in range(50):
        p.p.produce("t", body, b"%d" % i)
    equal(p.p.flush(30), 0)
    got = read(b.consumer("t"), 50)
    equal([m.key() for m in got], [b"%d" % i for i in range(50)])
    equal({m.value() for m in got}, {body})


@test
def idempotent_producer(b):
    create(b, "t", 4)
    p = b.producer(enable_idempotence=True)
    failed = []
    for i in range(2000):
        p.p.produce("t", b"%d" % i, b"%d" % (i % 10), on_delivery=lambda err, m: failed.append(err) if err else None)
        p.p.poll(0)
    equal(p.p.flush(30), 0)
    equal(failed, [])
    by_key = {}
    for m in read(b.consumer("t"), 2000):
        by_key.setdefault(m.key(), []).append(int(m.value()))
    for key, numbers in by_key.items():
        equal(numbers, sorted(numbers), "order of key %r" % key)
    equal(sum(len(v) for v in by_key.values()), 2000)


@test
def acks_0_and_1(b):
    for acks in "0", "1":
        b.producer(acks=acks).send("t" + acks, b"x")
        equal(read(b.consumer("t" + acks, group_id="g" + acks), 1)[0].value(), b"x")


@cases("range", "roundrobin", "cooperative-sticky")
def group_rebalances(b, strategy):
    create(b, "t", 6)
    p = b.producer()
    for i in range(60):
        p.send("t", b"%d" % i, partition=i % 6)
    first = b.consumer("t", partition_assignment_strategy=strategy)
    got = [int(m.value()) for m in read(first, 60)]
    equal(sorted(got), list(range(60)))
    equal(len(first.assignment()), 6)
    first.commit(asynchronous=False)
    second = b.consumer("t", partition_assignment_strategy=strategy)
    # Both poll until each has half.
    for _ in range(300):
        first.poll(0.05)
        second.poll(0.05)
        if len(first.assignment()) == 3 and len(second.assignment()) == 3:
            break
    equal((len(first.assignment()), len(second.assignment())), (3, 3))
    second.close()
    for _ in range(300):
        first.poll(0.05)
        if len(first.assignment()) == 6:
            break
    equal(len(first.assignment()), 6)


@test
def committed_offsets(b):
    p = b.producer()
    for i in range(10):
        p.send("t", b"%d" % i)
    c = b.consumer("t")
    got = read(c, 4)
    c.commit(got[-1], asynchronous=False)
    equal(c.committed([TopicPartition("t", 0)], 10)[0].offset, 4)
    c.close()
    equal(read(b.consumer("t"), 6)[0].value(), b"4")


@test
def offsets_by_time_and_watermarks(b):
    p = b.producer()
    for i in range(10):
        p.send("t", b"%d" % i, timestamp=1_700_000_000_000 + i * 1000)
    c = b.consumer()
    equal(c.get_watermark_offsets(TopicPartition("t", 0), 10), (0, 10))
    at = c.offsets_for_times([TopicPartition("t", 0, 1_700_000_004_500)], 10)[0].offset
    equal(at, 5)
    c.assign([TopicPartition("t", 0, at)])
    m = read(c, 1)[0]
    equal((m.value(), m.timestamp()), (b"5", (confluent_kafka.TIMESTAMP_CREATE_TIME, 1_700_000_005_000)))
    c.seek(TopicPartition("t", 0, OFFSET_BEGINNING))
    equal(read(c, 1)[0].value(), b"0")


@test
def admin(b):
    a = b.admin()
    create(b, "t", 3, retention_ms="1000000")
    md = a.list_topics(timeout=10)
    equal(len(md.topics["t"].partitions), 3)
    equal(len(md.brokers), 1)
    try:
        create(b, "t")
        raise AssertionError("a topic was created twice")
    except confluent_kafka.KafkaException as e:
        equal(e.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS)
    a.create_partitions([NewPartitions("t", 5)])["t"].result(30)
    equal(len(a.list_topics("t", 10).topics["t"].partitions), 5)
    r = ConfigResource(ConfigResource.Type.TOPIC, "t")
    equal(a.describe_configs([r])[r].result(30)["retention.ms"].value, "1000000")
    r = ConfigResource(
        ConfigResource.Type.TOPIC, "t",
        incremental_configs=[ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)],
    )
    a.incremental_alter_configs([r])[r].result(30)
    r = ConfigResource(ConfigResource.Type.TOPIC, "t")
    equal(a.describe_configs([r])[r].result(30)["cleanup.policy"].value, "compact")
    cluster = a.describe_cluster().result(30)
    equal(len(cluster.nodes), 1)
    a.delete_topics(["t"])["t"].result(30)
    equal("t" in a.list_topics(timeout=10).topics, False)


@test
def groups_of_the_admin(b):
    b.producer().send("t", b"x")
    c = b.consumer("t", group_id="seen")
    read(c, 1)
    c.commit(asynchronous=False)
    a = b.admin()
    equal([g.group_id for g in a.list_consumer_groups().result(30).valid], ["seen"])
    d = a.describe_consumer_groups(["seen"])["seen"].result(30)
    equal((d.state.name, len(d.members)), ("STABLE", 1))
    c.close()
    a.delete_consumer_groups(["seen"])["seen"].result(30)
    equal(a.list_consumer_groups().result(30).valid, [])


@test
def unknown_topic(b):
    c = b.consumer("nobody.made.this", allow_auto_create_topics=False)
    m = c.poll(10)
    equal(m is not None and m.error() is not None and m.error().code(), KafkaError.UNKNOWN_TOPIC_OR_PART)


@test
def big_batches(b):
    p = b.producer(message_max_bytes=1_000_000)
    body = b"x" * 900_000
    for _ in range(20):
        p.send("t", body)
    equal([len(m.value()) for m in read(b.consumer("t", fetch_max_bytes=2_000_000), 20)], [900_000] * 20)


@test
def fetch_waits_for_what_comes(b):
    create(b, "t")
    c = b.consumer("t", fetch_wait_max_ms=5000)
    for _ in range(100):
        if c.assignment():
            break
        c.poll(0.1)
    done = threading.Event()
    t = threading.Thread(target=lambda: (b.producer().send("t", b"late"), done.set()))
    t.start()
    equal(read(c, 1)[0].value(), b"late")
    t.join()
