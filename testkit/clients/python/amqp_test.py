"""pika: what the AMQP adapter offers to it."""

import pika

from kit import cases, equal, fails, test


@test
def default_exchange(b):
    c = b.amqp()
    c.ch.queue_declare("q", durable=True)
    for i in range(10):
        c.publish("", "q", b"%d" % i, delivery_mode=2)
    c.consume("q")
    equal([c.next()[2] for _ in range(10)], [b"%d" % i for i in range(10)])


@cases("direct", "fanout", "topic", "headers")
def exchange(b, kind):
    c = b.amqp()
    c.ch.exchange_declare("x", kind, durable=True)
    for name, key, args in ("one", "a.b", {"x-match": "all", "k": "1"}), ("two", "a.*", {"x-match": "any", "k": "1", "l": "2"}):
        c.ch.queue_declare(name)
        c.ch.queue_bind(name, "x", key, arguments=args if kind == "headers" else None)
    c.ch.confirm_delivery()
    c.publish("x", "a.b", b"1", headers={"k": "1"})
    c.publish("x", "a.c", b"2", headers={"l": "2"})
    want = {"direct": (1, 0), "fanout": (2, 2), "topic": (1, 2), "headers": (1, 2)}[kind]
    equal((c.depth("one"), c.depth("two")), want)


@test
def exchange_to_exchange_and_alternate(b):
    c = b.amqp()
    c.ch.exchange_declare("rest", "fanout")
    c.ch.exchange_declare("in", "direct", arguments={"alternate-exchange": "rest"})
    c.ch.exchange_declare("out", "topic")
    c.ch.exchange_bind("out", "in", "a.b")
    c.ch.queue_declare("q")
    c.ch.queue_bind("q", "out", "a.#")
    c.ch.queue_declare("unrouted")
    c.ch.queue_bind("unrouted", "rest")
    c.ch.confirm_delivery()
    c.publish("in", "a.b", b"1")
    c.publish("in", "x", b"2")
    equal((c.depth("q"), c.depth("unrouted")), (1, 1))


@test
def confirms_and_mandatory(b):
    c = b.amqp()
    c.ch.confirm_delivery()
    c.ch.queue_declare("q")
    for i in range(100):
        c.publish("", "q", b"%d" % i)
    equal(c.depth("q"), 100)
    try:
        c.publish("", "nobody", b"x", mandatory=True)
        raise AssertionError("an unroutable message was not returned")
    except pika.exceptions.UnroutableError as e:
        equal((e.messages[0].method.reply_code, e.messages[0].method.reply_text, e.messages[0].body), (312, "NO_ROUTE", b"x"))


@test
def overflow_is_refused(b):
    c = b.amqp()
    c.ch.confirm_delivery()
    c.ch.queue_declare("q", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    c.publish("", "q", b"1")
    c.publish("", "q", b"2")
    try:
        c.publish("", "q", b"3")
        raise AssertionError("the queue took one too many")
    except pika.exceptions.NackError:
        pass
    c.ch.queue_declare("ring", arguments={"x-max-length": 2})
    for i in b"1", b"2", b"3":
        c.publish("", "ring", i)
    c.consume("ring")
    equal([c.next()[2], c.next()[2]], [b"2", b"3"])


@test
def acks_and_requeue(b):
    c = b.amqp()
    c.ch.queue_declare("q")
    for i in range(5):
        c.publish("", "q", b"%d" % i)
    c.consume("q", ack=True)
    got = [c.next() for _ in range(5)]
    c.ch.basic_ack(got[1][0].delivery_tag, multiple=True)
    c.ch.basic_nack(got[2][0].delivery_tag, requeue=True)
    m, _, body = c.next()
    equal((body, m.redelivered), (b"2", True))
    c.ch.basic_reject(m.delivery_tag, requeue=False)
    other = b.amqp()
    c.conn.close()
    other.consume("q", ack=True)
    for want in b"3", b"4":
        m, _, body = other.next()
        equal((body, m.redelivered), (want, True))


@test
def prefetch(b):
    c, d = b.amqp(), b.amqp()
    c.ch.queue_declare("q")
    for i in range(10):
        c.publish("", "q", b"%d" % i)
    equal(c.depth("q"), 10)
    d.ch.basic_qos(prefetch_count=3)
    d.consume("q", ack=True)
    got = [d.next() for _ in range(3)]
    equal(c.depth("q"), 7)
    d.ch.basic_ack(got[-1][0].delivery_tag, multiple=True)
    equal([d.next()[2] for _ in range(3)], [b"3", b"4", b"5"])
    equal(d.got, [])


@test
def dead_letters(b):
    c = b.amqp()
    c.ch.exchange_declare("dlx", "direct")
    c.ch.queue_declare("dead")
    c.ch.queue_bind("dead", "dlx", "gone")
    args = {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "gone"}
    c.ch.queue_declare("rejects", arguments=args)
    c.ch.queue_declare("expires", arguments=dict(args, **{"x-message-ttl": 1}))
    c.ch.queue_declare("overflows", arguments=dict(args, **{"x-max-length": 1}))
    c.consume("dead")
    c.publish("", "rejects", b"r", headers={"a": 1}, message_id="7")
    m, p, body = c.ch.basic_get("rejects")
    c.ch.basic_reject(m.delivery_tag, requeue=False)
    m, p, body = c.next()
    d = p.headers["x-death"][0]
    equal((body, m.exchange, m.routing_key, p.message_id, p.headers["a"]), (b"r", "dlx", "gone", "7", 1))
    equal((d["queue"], d["reason"], d["count"], d["exchange"], d["routing-keys"]), ("rejects", "rejected", 1, "", ["rejects"]))
    equal(p.headers["x-first-death-reason"], "rejected")
    c.publish("", "expires", b"e")
    equal(c.next()[1].headers["x-death"][0]["reason"], "expired")
    c.publish("", "overflows", b"1")
    c.publish("", "overflows", b"2")
    _, p, body = c.next()
    equal((body, p.headers["x-death"][0]["reason"]), (b"1", "maxlen"))


@test
def message_ttl(b):
    c = b.amqp()
    c.ch.queue_declare("dead")
    c.ch.queue_declare("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    c.consume("dead")
    c.publish("", "q", b"x", expiration="1")
    _, p, body = c.next()
    equal((body, p.expiration, p.headers["x-death"][0]["original-expiration"]), (b"x", None, "1"))


@test
def transactions(b):
    c, d = b.amqp(), b.amqp()
    c.ch.queue_declare("q")
    c.ch.tx_select()
    c.publish("", "q", b"1")
    equal(d.depth("q"), 0)
    c.ch.tx_rollback()
    c.publish("", "q", b"2")
    c.publish("", "q", b"3")
    c.ch.tx_commit()
    equal(d.depth("q"), 2)
    m, _, body = c.ch.basic_get("q")
    c.ch.basic_ack(m.delivery_tag)
    c.ch.tx_rollback()
    c.conn.close()
    equal(d.depth("q"), 2)


@test
def get_and_purge(b):
    c = b.amqp()
    c.ch.queue_declare("q")
    equal(c.ch.basic_get("q"), (None, None, None))
    c.publish("", "q", b"1", content_type="text/plain")
    c.publish("", "q", b"2")
    equal(c.depth("q"), 2)
    m, p, body = c.ch.basic_get("q", auto_ack=True)
    equal((body, p.content_type, m.message_count), (b"1", "text/plain", 1))
    equal(c.ch.queue_purge("q").method.message_count, 1)
    equal(c.ch.queue_delete("q").method.message_count, 0)


@test
def errors(b):
    fails(404, lambda: b.amqp().ch.queue_declare("nobody", passive=True))
    fails(404, lambda: b.amqp().ch.queue_bind("q", "nobody"))
    b.amqp().ch.queue_declare("q", durable=True)
    fails(406, lambda: b.amqp().ch.queue_declare("q", durable=False))
    fails(403, lambda: b.amqp().ch.queue_declare("amq.mine"))
    owner = b.amqp()
    owner.ch.queue_declare("mine", exclusive=True)
    fails(405, lambda: b.amqp().ch.queue_declare("mine", passive=True))
    c = b.amqp()

    def unknown_tag():
        c.ch.basic_ack(99)
        c.ch.queue_declare("q", passive=True)

    fails(406, unknown_tag)


@test
def auto_delete_and_cancel(b):
    c, d = b.amqp(), b.amqp()
    c.ch.queue_declare("q", auto_delete=True)
    tag = c.consume("q")
    c.publish("", "q", b"x")
    equal(c.next()[2], b"x")
    c.ch.basic_cancel(tag)
    fails(404, lambda: d.depth("q"))


@test
def deleted_queue_cancels_its_consumers(b):
    c, d = b.amqp(), b.amqp()
    c.ch.queue_declare("q")
    cancelled = []
    c.ch.add_on_cancel_callback(lambda m: cancelled.append(m))
    c.consume("q")
    d.ch.queue_delete("q")
    for _ in range(100):
        if cancelled:
            break
        c.conn.process_data_events(time_limit=0.3)
    equal(len(cancelled), 1)


@test
def properties_and_headers(b):
    c = b.amqp()
    c.bound("t.#")
    headers = {"text": "x", "int": 5, "big": 1 << 40, "bool": True, "bytes": b"\xff", "list": ["a", 1], "table": {"b": None}}
    props = dict(
        content_type="application/json", content_encoding="gzip", headers=headers, delivery_mode=2, priority=3, correlation_id="c", reply_to="r",
        expiration="60000", message_id="m", timestamp=1_700_000_000, type="t", user_id="guest", app_id="a",
    )
    c.publish("amq.topic", "t.1", b"{}", **props)
    _, p, _ = c.next()
    for name, want in props.items():
        equal(getattr(p, name), want, name)


@test
def big_message(b):
    c = b.amqp()
    c.bound("t")
    body = bytes(range(256)) * 8192
    c.publish("amq.topic", "t", body)
    c.publish("amq.topic", "t", b"")
    equal(c.next()[2] == body, True)
    equal(c.next()[2], b"")


@test
def priorities(b):
    c = b.amqp()
    c.ch.queue_declare("q", arguments={"x-max-priority": 5})
    c.ch.confirm_delivery()
    for n in 1, 5, 3, 0:
        c.publish("", "q", b"%d" % n, priority=n)
    c.consume("q")
    equal([c.next()[2] for _ in range(4)], [b"5", b"3", b"1", b"0"])


@test
def direct_reply_to(b):
    client, server = b.amqp(), b.amqp()
    server.ch.queue_declare("rpc")
    server.consume("rpc")
    client.consume("amq.rabbitmq.reply-to")
    client.publish("", "rpc", b"hello", reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    _, p, body = server.next()
    server.publish("", p.reply_to, body.upper(), correlation_id=p.correlation_id)
    _, p, body = client.next()
    equal((body, p.correlation_id), (b"HELLO", "1"))
