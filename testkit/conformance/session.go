package conformance

import (
	"crypto/rand"
	"fmt"
	"time"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Sessions: who gets in, and what is kept for whom.

func letIn(t *T) {
	c := t.connect()
	c.quiet()
}

// startsClean wants an earlier session gone.
func startsClean(t *T) {
	topic, id := t.topic("x"), t.clientID()
	c := t.subscriber(topic, 1, as(id), durable)
	c.leave()
	p := t.connect()
	p.publish(topic, "kept", 1)
	c = t.connect(as(id), clean(true))
	c.present(false)
	p.publish(topic, "new", 1)
	c.subscribed(nil, at(topic, 1))
	p.publish(topic, "end", 1)
	c.take("end")
}

// resumes wants a session found again, with its subscription and what came meanwhile.
func resumes(t *T) {
	topic, id := t.topic("x"), t.clientID()
	c := t.subscriber(topic, 2, as(id), durable)
	c.present(false)
	c.leave()
	p := t.connect()
	p.publish(topic, "one", 1)
	p.publish(topic, "two", 2)
	c = t.connect(as(id), durable)
	c.present(true)
	got := map[string]bool{}
	for range 2 {
		q := c.next("what was published meanwhile")
		m, ok := q.Body.(*mqtt.Publish)
		t.check(ok, "what was published meanwhile", q.words(c.v))
		got[string(m.Payload)] = true
		c.settle(m)
	}
	t.check(got["one"] && got["two"], "one and two", fmt.Sprint(got))
	p.publish(topic, "three", 1)
	c.take("three")
}

// dropsWithout wants a session that is not to last to be gone with its connection.
func dropsWithout(t *T) {
	topic, id := t.topic("x"), t.clientID()
	c := t.subscriber(topic, 1, as(id))
	c.leave()
	c = t.connect(as(id), clean(false))
	t.left[id] = true
	c.present(false)
	p := t.connect()
	p.publish(topic, "lost", 1)
	c.subscribed(nil, at(topic, 1))
	p.publish(topic, "end", 1)
	c.take("end")
}

func startsNew(t *T) {
	c := t.connect(durable)
	c.present(false)
	topic := t.topic("x")
	c.subscribed(nil, at(topic, 1))
	c.publish(topic, "m", 1)
	c.take("m")
}

// presence wants session present as the session is.
func presence(t *T) {
	id := t.clientID()
	c := t.connect(as(id), clean(true))
	c.present(false)
	c.leave()
	c = t.connect(as(id), durable)
	c.present(false)
	c.leave()
	c = t.connect(as(id), durable)
	c.present(true)
	c.drop()
	c = t.connect(as(id), durable)
	c.present(true)
	c.leave()
	c = t.connect(as(id), clean(true))
	c.present(false)
}

// byClientID wants sessions told apart by client identifier, upper and lower case too.
func byClientID(t *T) {
	topic, id := t.topic("x"), t.clientID()
	c := t.subscriber(topic, 1, as(id), durable)
	c.leave()
	other := t.connect(as(id+"A"), durable)
	other.present(false)
	other.leave()
	other = t.connect(as(id+"a"), durable)
	other.present(false)
	c = t.connect(as(id), durable)
	c.present(true)
}

func clientIDs(t *T) {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	base := t.clientID()
	long := (base + letters)[:23]
	t.connect(as(long)).quiet()
	for i := 0; i < len(letters); i += 12 {
		part := letters[i:min(i+12, len(letters))]
		t.connect(as((part + base)[:min(23, len(part)+len(base))])).quiet()
	}
	// One character would do; somebody else may have that, and would be cut off.
	t.connect(as(rand.Text()[:6])).leave()
}

// assigns wants a client without an identifier to be given one.
func assigns(t *T) {
	seen := map[string]bool{}
	for range 3 {
		p := t.hello(as(""))
		c := t.dial()
		c.send(p.Append(nil))
		ack := c.expect(mqtt.CONNACK).Body.(*mqtt.Connack)
		if ack.Reason == mqtt.ClientIDInvalid || ack.Code == mqtt.RefusedClientID {
			t.skip("the server wants client identifiers")
		}
		t.check(ack.Reason == mqtt.Success && ack.Code == mqtt.Accepted, "CONNACK with success", fmt.Sprintf("0x%02X, code %d", byte(ack.Reason), ack.Code))
		c.ack = ack
		if t.v == mqtt.V5 {
			id, ok := ack.Properties.Value(mqtt.AssignedClientID)
			t.check(ok && len(id) > 0, "an assigned client identifier in CONNACK", "none")
			t.check(!seen[string(id)], "a client identifier that nobody has", fmt.Sprintf("%q again", id))
			seen[string(id)] = true
		}
		c.quiet() // it is still connected: the others have not taken it over
	}
	for _, c := range t.conns {
		c.quiet()
	}
}

// assignedWorks wants the identifier that was given to be the session's.
func assignedWorks(t *T) {
	topic := t.topic("x")
	p := t.hello(as(""), num32(mqtt.SessionExpiry, sessionFor))
	c := t.dial()
	c.send(p.Append(nil))
	answer := c.expect(mqtt.CONNACK)
	ack := answer.Body.(*mqtt.Connack)
	if ack.Reason == mqtt.ClientIDInvalid {
		t.skip("the server wants client identifiers")
	}
	t.check(ack.Reason == mqtt.Success, "CONNACK with success", answer.words(c.v))
	c.ack = ack
	id, ok := ack.Properties.Value(mqtt.AssignedClientID)
	t.check(ok, "an assigned client identifier in CONNACK", "none")
	c.subscribed(nil, at(topic, 1))
	c.leave()
	c = t.connect(as(string(id)), durable)
	c.present(true)
}

// emptyIDKept sends an empty client identifier with a session that is to last.
func emptyIDKept(t *T) {
	c := t.dial()
	c.send(connectBytes(t.v, 0, nil, str("")))
	p := c.expect(mqtt.CONNACK)
	ack := p.Body.(*mqtt.Connack)
	t.check(ack.Code == mqtt.RefusedClientID, "CONNACK with code 2", p.words(c.v))
	c.closes()
}

// closes wants nothing more to come but the end.
func (c *conn) closes() {
	p, err := c.read()
	c.t.check(err != nil, "the end of the connection", p.words(c.v))
	c.t.check(c.over, "the end of the connection", "the connection is open still")
}

// longID looks for a client identifier that the server refuses.
func longID(t *T) {
	id := make([]byte, 65535)
	for i := range id {
		id[i] = 'x'
	}
	copy(id, t.clientID())
	p := t.hello(as(string(id)))
	c := t.dial()
	c.send(p.Append(nil))
	answer := c.expect(mqtt.CONNACK)
	ack := answer.Body.(*mqtt.Connack)
	if ack.Reason == mqtt.Success && ack.Code == mqtt.Accepted {
		t.skip("the server takes every client identifier")
	}
	if t.v == mqtt.V5 {
		if ack.Reason != mqtt.ClientIDInvalid {
			t.vary("CONNACK with 0x85", answer.words(c.v))
		}
	} else {
		t.check(ack.Code == mqtt.RefusedClientID, "CONNACK with code 2", answer.words(c.v))
	}
	c.closes()
}

// takenOver wants the older of two connections with one identifier to end.
func takenOver(t *T) {
	id := t.clientID()
	old := t.connect(as(id))
	c := t.connect(as(id))
	if t.v != mqtt.V5 {
		old.closes()
	} else {
		old.v = mqtt.V5
		p, err := old.read()
		d, ok := p.Body.(*mqtt.Disconnect)
		switch {
		case ok:
			t.check(d.Reason == mqtt.SessionTakenOver, "DISCONNECT with 0x8E", p.words(old.v))
			old.closes()
		case err == nil:
			t.fail("DISCONNECT with 0x8E, and the end of the connection", p.words(old.v))
		case old.over:
			t.vary("DISCONNECT with 0x8E, and the end of the connection", "the end of the connection")
		default:
			t.fail("DISCONNECT with 0x8E, and the end of the connection", "the connection is open still")
		}
	}
	c.quiet()
}

// takesOver wants the newer connection to have the session, or a new one, as it asked.
func takesOver(t *T) {
	topic, id := t.topic("x"), t.clientID()
	t.subscriber(topic, 1, as(id), durable)
	c := t.connect(as(id), durable)
	c.present(true)
	p := t.connect()
	p.publish(topic, "m", 1)
	c.take("m")
	c = t.connect(as(id), clean(true))
	c.present(false)
	p.publish(topic, "lost", 1)
	c.subscribed(nil, at(topic, 1))
	p.publish(topic, "end", 1)
	c.take("end")
}

// wrongPassword wants who is not let in to be cut off.
func wrongPassword(t *T) {
	p := t.hello()
	p.HasUserName, p.HasPassword = true, true
	if p.UserName == nil {
		p.UserName = []byte("nobody-" + t.clientID())
	}
	p.Password = append([]byte("not"), p.Password...)
	c := t.dial()
	c.send(p.Append(nil))
	q, err := c.read()
	if err == nil {
		ack, ok := q.Body.(*mqtt.Connack)
		t.check(ok, "CONNACK", q.words(c.v))
		if ack.Reason == mqtt.Success && ack.Code == mqtt.Accepted {
			t.skip("the server lets everybody in")
		}
		t.check(!ack.SessionPresent, "session present false", "session present true")
		c.closes()
		return
	}
	t.check(c.over, "CONNACK with a failure, and the end of the connection", "the connection is open still")
}

// refusedThenMore sends data behind a CONNECT that is refused.
func refusedThenMore(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 1)
	t.retained[topic] = true
	c := t.dial()
	bad := connectBytes(t.v, 0x1A, nil, str(t.clientID())) // will QoS 3 without a will
	c.send(bad, publishBytes(t.v, 0x31, topic, 0, nil, "0"), publishBytes(t.v, 0x33, topic, 1, nil, "1"))
	for {
		p, err := c.read()
		if err != nil {
			break
		}
		ack, ok := p.Body.(*mqtt.Connack)
		t.check(ok && (ack.Reason.Failed() || ack.Code != mqtt.Accepted), "a refusal", p.words(c.v))
	}
	t.check(c.over, "the end of the connection", "the connection is open still")
	t.connect().publish(topic, "end", 1)
	s.take("end")
	t.connect().subscribedTo(topic).quiet() // nothing was retained
}

func (c *conn) subscribedTo(topic string) *conn {
	c.subscribed(nil, at(topic, 1))
	return c
}

// connackFirst wants CONNACK before what waits for the session.
func connackFirst(t *T) {
	topic, id := t.topic("x"), t.clientID()
	t.subscriber(topic, 1, as(id), durable).leave()
	t.connect().publish(topic, "m", 1)
	c := t.connect(as(id), durable) // wants CONNACK first
	c.take("m")
}

// connackOnce wants no second CONNACK, whatever is sent.
func connackOnce(t *T) {
	c := t.connect()
	topic := t.topic("x")
	c.subscribed(nil, at(topic, 1))
	c.publish(topic, "m", 1)
	c.take("m")
	c.quiet()
	p := t.hello(as(c.id))
	c.send(p.Append(nil))
	for {
		q, err := c.read()
		if err != nil {
			break
		}
		t.check(q.Type != mqtt.CONNACK, "one CONNACK", "another")
	}
}

// silencePatience is how long a server may take to notice: some look every few seconds.
const silencePatience = 20 * time.Second

// silence wants a client that says nothing to be cut off, and its will to be published.
func silence(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	c := t.connect(keepAlive(1), will(topic, "gone", 1, false))
	if _, ok := c.ack.Properties.Num(mqtt.ServerKeepAlive); ok {
		t.skip("the server sets its own keep alive")
	}
	c.patience = silencePatience
	p, err := c.read()
	if err == nil {
		d, ok := p.Body.(*mqtt.Disconnect)
		t.check(ok, "the end of the connection", p.words(c.v))
		if d.Reason != mqtt.KeepAliveTimeout {
			t.vary("DISCONNECT with 0x8D", p.words(c.v))
		}
		_, _ = c.read()
	}
	t.check(c.over, "the end of the connection after one and a half times the keep alive of 1 s", "the connection is open still")
	s.take("gone")
}

// expires wants a session to end when its time is up. The will says when: its delay is longer.
func expires(t *T) {
	topic, id := t.topic("w"), t.clientID()
	s := t.subscriber(topic, 1)
	c := t.subscriber(t.topic("x"), 1, as(id), lasting(1), will(topic, "over", 1, false),
		willProperties(mqtt.Properties(nil).Uint32(mqtt.WillDelay, 3)))
	c.disconnect(mqtt.DisconnectWithWill, nil) // when it returns the server has seen the end
	t.pass(2 * time.Second)
	s.take("over")
	c = t.connect(as(id), durable)
	c.present(false)
}

// expiryChanged wants DISCONNECT to set how long the session lasts.
func expiryChanged(t *T) {
	id := t.clientID()
	c := t.connect(as(id), durable)
	c.disconnect(mqtt.NormalDisconnection, mqtt.Properties(nil).Uint32(mqtt.SessionExpiry, 0))
	c = t.connect(as(id), durable)
	c.present(false)
}

// queued wants messages kept for every session that they match, while its client is away.
func queued(t *T) {
	topic := t.topic("x")
	var ids []string
	for _, f := range []string{topic, t.topic("+"), t.topic("#")} {
		id := t.clientID()
		ids = append(ids, id)
		t.subscriber(f, 1, as(id), durable).leave()
	}
	p := t.connect()
	for i := range 10 {
		p.publish(topic, fmt.Sprint(i), 1)
	}
	for _, id := range ids {
		c := t.connect(as(id), durable)
		c.present(true)
		for i := range 10 {
			c.take(fmt.Sprint(i))
		}
		c.quiet()
	}
}

// stays wants a session to hold for as long as its connection.
func stays(t *T) {
	topic := t.topic("x")
	c := t.subscriber(topic, 1)
	p := t.connect()
	for i := range 5 {
		p.publish(topic, fmt.Sprint(i), 1)
		c.take(fmt.Sprint(i))
		other := t.connect()
		other.leave()
		c.quiet()
	}
}

// retainedStays wants retained messages to outlive the session that sent them.
func retainedStays(t *T) {
	topic := t.topic("x")
	p := t.connect()
	p.publish(topic, "kept", 1, retain)
	p.leave()
	t.connect().subscribedTo(topic).take("kept")
}
