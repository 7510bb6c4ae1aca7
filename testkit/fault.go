package testkit

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// Seed says where chance begins in planned faults: of those with a Chance or a Jitter. 0 without it.
func Seed(n uint64) Option { return func(c *config) { c.seed = n } }

// Faults has things go wrong from the start, as a plan says that `rmq chaos run` would take too.
func Faults(plan string) Option { return func(c *config) { c.plan = plan } }

// Fault is a planned fault.
type Fault struct {
	b    *Broker
	name string
}

// Fault has something go wrong, from now on. It takes any rule; the methods of Conn, API, Method and Disk make the
// most common ones. A rule that is wrong fails the test.
func (b *Broker) Fault(r chaos.Rule) *Fault {
	b.t.Helper()
	added, err := b.broker.Chaos().Add(r)
	if err != nil {
		b.t.Fatalf("testkit: planned fault: %v", err)
	}
	b.events.add("fault", "planned: %s", describe(added))
	return &Fault{b, added.Name}
}

// Planned finds a fault of the plan of Faults by the name of its rule.
func (b *Broker) Planned(name string) *Fault { return &Fault{b, name} }

func (f *Fault) state() (s chaos.State) {
	f.b.t.Helper()
	_, all := f.b.broker.Chaos().List()
	for _, s := range all {
		if s.Name == f.name {
			return s
		}
	}
	f.b.t.Fatalf("testkit: there is no planned fault %q", f.name)
	return s
}

// Fired is how often it has happened.
func (f *Fault) Fired() int {
	f.b.t.Helper()
	return int(f.state().Fired)
}

// Seen is how often it might have happened.
func (f *Fault) Seen() int {
	f.b.t.Helper()
	return int(f.state().Seen)
}

// Remove takes it back.
func (f *Fault) Remove() {
	f.b.t.Helper()
	if err := f.b.broker.Chaos().Remove(f.name); err != nil {
		f.b.t.Fatalf("testkit: %v", err)
	}
	f.b.events.add("fault", "removed: %s", f.name)
}

// Unfired names the planned faults that have not happened.
func (b *Broker) Unfired() (names []string) {
	_, all := b.broker.Chaos().List()
	for _, s := range all {
		if s.Fired == 0 {
			names = append(names, s.Name)
		}
	}
	return names
}

// WantFault waits for a planned fault.
type WantFault struct {
	*Want
	fault *Fault
}

// Fault waits for a planned fault.
func (w *Want) Fault(f *Fault) WantFault { return WantFault{w, f} }

// Fired waits until it has happened n times.
func (w WantFault) Fired(n int) {
	w.t.Helper()
	w.number("times that the fault "+w.fault.name+" has happened", n, w.fault.Fired)
}

// fired is told by the broker of each fault that happens.
func (b *Broker) fired(f chaos.Firing) {
	b.events.add("fault", "%s", f)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faulty != nil {
		close(b.faulty)
		b.faulty = nil
	}
}

// nextFault is closed when the next fault happens.
func (b *Broker) nextFault() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faulty == nil {
		b.faulty = make(chan struct{})
	}
	return b.faulty
}

// describe says a rule in a line.
func describe(r chaos.Rule) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s %s", r.Name, r.Do, r.At)
	for _, x := range []struct{ name, value string }{
		{"client", r.Client}, {"topic", r.Topic}, {"listener", r.Listener}, {"code", string(r.Code)}, {"after", number(r.After)}, {"times", number(r.Times)},
	} {
		if x.value != "" {
			s.WriteString(" " + x.name + " " + x.value)
		}
	}
	return s.String()
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// ---- MQTT ---------------------------------------------------------------------

// Packet is a packet of MQTT: as the broker sends it, where it goes both ways.
type Packet string

// Packets.
const (
	CONNECT     Packet = "CONNECT"
	CONNACK     Packet = "CONNACK"
	PUBLISH     Packet = "PUBLISH"
	PUBACK      Packet = "PUBACK"
	PUBREC      Packet = "PUBREC"
	PUBREL      Packet = "PUBREL"
	PUBCOMP     Packet = "PUBCOMP"
	SUBSCRIBE   Packet = "SUBSCRIBE"
	SUBACK      Packet = "SUBACK"
	UNSUBSCRIBE Packet = "UNSUBSCRIBE"
	UNSUBACK    Packet = "UNSUBACK"
	PINGREQ     Packet = "PINGREQ"
	PINGRESP    Packet = "PINGRESP"
	DISCONNECT  Packet = "DISCONNECT"
)

// FromClient is the packet as the client sends it: PUBACK.FromClient() is the answer to a delivery.
func (p Packet) FromClient() Packet { return "in/" + p }

// Conn is the connections of one client: by the client id of MQTT and Kafka, or the name that a client gives its
// connection of AMQP (connection_name). * stands for any text.
type Conn struct {
	b      *Broker
	client string
}

// Conn looks at the connections of a client, those to come included.
func (b *Broker) Conn(client string) Conn { return Conn{b, client} }

func (c Conn) next(p Packet, r chaos.Rule) *Fault {
	c.b.t.Helper()
	r.At, r.Client, r.Times = "mqtt/"+string(p), c.client, 1
	return c.b.Fault(r)
}

// DropNext loses the next packet of a kind.
func (c Conn) DropNext(p Packet) *Fault {
	c.b.t.Helper()
	return c.next(p, chaos.Rule{Do: chaos.Drop})
}

// DelayNext holds the next packet of a kind back, and what comes behind it.
func (c Conn) DelayNext(p Packet, d time.Duration) *Fault {
	c.b.t.Helper()
	return c.next(p, chaos.Rule{Do: chaos.Delay, Delay: grammar.Duration(d)})
}

// DuplicateNext sends the next packet of a kind twice.
func (c Conn) DuplicateNext(p Packet) *Fault {
	c.b.t.Helper()
	return c.next(p, chaos.Rule{Do: chaos.Duplicate})
}

// AnswerNext puts a reason code in the next packet of a kind, and, with PUBLISH.FromClient() and
// SUBSCRIBE.FromClient(), in the answer to one that then has no effect.
func (c Conn) AnswerNext(p Packet, reason mqttwire.Reason) *Fault {
	c.b.t.Helper()
	return c.next(p, chaos.Rule{Do: chaos.Answer, Code: chaos.Code(strconv.Itoa(int(reason)))})
}

// DisconnectNext ends the connection in place of the next packet of a kind, with a reason code.
func (c Conn) DisconnectNext(p Packet, reason mqttwire.Reason) *Fault {
	c.b.t.Helper()
	return c.next(p, chaos.Rule{Do: chaos.Disconnect, Code: chaos.Code(strconv.Itoa(int(reason)))})
}

// ResetNext breaks the connection in place of the next packet of a kind.
func (c Conn) ResetNext(p Packet) *Fault {
	c.b.t.Helper()
	return c.next(p, chaos.Rule{Do: chaos.Reset})
}

func (c Conn) link(r chaos.Rule) *Fault {
	c.b.t.Helper()
	r.At, r.Client = "conn", c.client
	return c.b.Fault(r)
}

// Reset breaks the connections that there are, and, until it is removed, those that come, as soon as it is known whose
// they are.
func (c Conn) Reset() *Fault {
	c.b.t.Helper()
	return c.link(chaos.Rule{Do: chaos.Reset})
}

// ResetOnce breaks one connection: one that there is, or else the next.
func (c Conn) ResetOnce() *Fault {
	c.b.t.Helper()
	return c.link(chaos.Rule{Do: chaos.Reset, Times: 1})
}

// ResetAfter breaks connections once n more bytes have passed.
func (c Conn) ResetAfter(n int) *Fault {
	c.b.t.Helper()
	return c.link(chaos.Rule{Do: chaos.Reset, Bytes: grammar.Size(n)})
}

// Hang has nothing pass any more, either way, until it is removed: neither side is told.
func (c Conn) Hang() *Fault {
	c.b.t.Helper()
	return c.link(chaos.Rule{Do: chaos.Hang})
}

// Latency has everything that passes take longer, each way, by d and up to jitter more.
func (c Conn) Latency(d, jitter time.Duration) *Fault {
	c.b.t.Helper()
	return c.link(chaos.Rule{Do: chaos.Delay, Delay: grammar.Duration(d), Jitter: grammar.Duration(jitter)})
}

// Bandwidth has no more than so many bytes pass each second, each way.
func (c Conn) Bandwidth(bytes int) *Fault {
	c.b.t.Helper()
	return c.link(chaos.Rule{Do: chaos.Slow, Bytes: grammar.Size(bytes)})
}

// Refuse takes no more connections of a protocol, mqtt, kafka, amqp or http; "": of none.
func (b *Broker) Refuse(protocol string) *Fault {
	b.t.Helper()
	return b.Fault(chaos.Rule{At: strings.TrimSuffix("conn/"+protocol, "/"), Do: chaos.Refuse})
}

// ---- Kafka --------------------------------------------------------------------

// API is the requests of Kafka for one API.
type API struct {
	b             *Broker
	name          string
	client, topic string
}

// API looks at the requests for an API of Kafka by its name: "Produce", "OffsetCommit".
func (b *Broker) API(name string) API { return API{b: b, name: name} }

// Of narrows it to a client id.
func (a API) Of(client string) API { a.client = client; return a }

// Topic narrows Produce and Fetch to a topic, as MQTT spells it.
func (a API) Topic(topic string) API { a.topic = topic; return a }

func (a API) next(n int, r chaos.Rule) *Fault {
	a.b.t.Helper()
	r.At, r.Client, r.Topic, r.Times = "kafka/"+a.name, a.client, a.topic, n
	return a.b.Fault(r)
}

// FailNext answers the next n requests with an error code, such as kerr.NotLeaderForPartition.Code, and does not carry
// them out.
func (a API) FailNext(n int, code int16) *Fault {
	a.b.t.Helper()
	return a.next(n, chaos.Rule{Do: chaos.Fail, Code: chaos.Code(strconv.Itoa(int(code)))})
}

// DelayNext has the next n requests wait.
func (a API) DelayNext(n int, d time.Duration) *Fault {
	a.b.t.Helper()
	return a.next(n, chaos.Rule{Do: chaos.Delay, Delay: grammar.Duration(d)})
}

// LoseNext carries the next n requests out and breaks the connection before the answer.
func (a API) LoseNext(n int) *Fault {
	a.b.t.Helper()
	return a.next(n, chaos.Rule{Do: chaos.Drop})
}

// ResetNext breaks the connection at each of the next n requests, which are not carried out.
func (a API) ResetNext(n int) *Fault {
	a.b.t.Helper()
	return a.next(n, chaos.Rule{Do: chaos.Reset})
}

// ---- AMQP ---------------------------------------------------------------------

// Method is one method of AMQP.
type Method struct {
	b             *Broker
	name          string
	client, topic string
}

// Method looks at a method of AMQP by its name: "basic.publish" and others as clients send them, "basic.ack" and
// "basic.deliver" as the broker does. "in/basic.ack" is a consumer's.
func (b *Broker) Method(name string) Method { return Method{b: b, name: name} }

// Of narrows it to the name of a connection.
func (m Method) Of(client string) Method { m.client = client; return m }

// Topic narrows basic.publish and basic.deliver to the address of a message, as MQTT spells it.
func (m Method) Topic(topic string) Method { m.topic = topic; return m }

func (m Method) next(n int, r chaos.Rule) *Fault {
	m.b.t.Helper()
	r.At, r.Client, r.Topic, r.Times = "amqp/"+m.name, m.client, m.topic, n
	return m.b.Fault(r)
}

// DropNext loses the next n: of basic.publish the message, of basic.ack the confirm of one that was taken, of
// basic.deliver the delivery.
func (m Method) DropNext(n int) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Drop})
}

// DelayNext has the next n wait.
func (m Method) DelayNext(n int, d time.Duration) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Delay, Delay: grammar.Duration(d)})
}

// NackNext nacks the next n: of basic.publish, messages that are then not taken; of basic.ack, some that are.
func (m Method) NackNext(n int) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Nack})
}

// CloseNext closes the channel in place of the next n, with a reply code such as amqp.PreconditionFailed.
func (m Method) CloseNext(n, code int) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Close, Code: chaos.Code(strconv.Itoa(code))})
}

// DisconnectNext closes the connection in place of the next n, with a reply code such as amqp.ConnectionForced.
func (m Method) DisconnectNext(n, code int) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Disconnect, Code: chaos.Code(strconv.Itoa(code))})
}

// ResetNext breaks the connection in place of the next n.
func (m Method) ResetNext(n int) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Reset})
}

// BlockNext has the connection blocked at the next n publishes, for so long. They are taken.
func (m Method) BlockNext(n int, d time.Duration) *Fault {
	m.b.t.Helper()
	return m.next(n, chaos.Rule{Do: chaos.Block, Delay: grammar.Duration(d)})
}

// faultsStory is what was planned, and how often it has happened.
func (b *Broker) faultsStory(s *strings.Builder) {
	seed, all := b.broker.Chaos().List()
	if len(all) > 0 {
		fmt.Fprintf(s, "what was to go wrong (seed %d):\n", seed)
	}
	for _, f := range all {
		fmt.Fprintf(s, "  %s — fired %d of %d\n", describe(f.Rule), f.Fired, f.Seen)
	}
}
