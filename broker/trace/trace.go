// Package trace shows, while it happens, what the broker sees of its clients and does for them:
// packets both ways, where messages are routed, what is dropped and why connections end.
//
// A Tracer is where protocol servers tell and operators look. As long as nobody looks, a server pays one
// atomic load a packet: On. Then Wants tells whether an event is worth making, and Emit hands it to those
// who want it. Emit never waits: who reads too slowly loses events, which are counted.
//
// # Invariants
//
//   - What a server is asked about in Wants is what it would put in the event: so nothing is made that
//     nobody gets.
//   - An event has memory of its own. It never holds a password or what proves one.
package trace

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/fault"
)

// What an event is.
const (
	In    = "in"    // a packet came
	Out   = "out"   // a packet was handed to the connection
	Route = "route" // where a message that came goes
	Log   = "log"   // a message is committed, and rests at a place
	Ack   = "ack"   // a client has acknowledged a delivery
	Wait  = "wait"  // a message is held until there is room
	Drop  = "drop"  // a message is not taken, or not delivered
	End   = "end"   // the connection has ended
)

// Event is one thing that was seen or done.
type Event struct {
	At       time.Time `json:"at"` // broker time
	Node     uint64    `json:"node"`
	Protocol string    `json:"protocol"`
	Client   string    `json:"client,omitempty"` // client id; "" before it is known
	User     string    `json:"user,omitempty"`
	Remote   string    `json:"remote,omitempty"`
	What     string    `json:"what"`
	Packet   string    `json:"packet,omitempty"` // as the protocol calls it: PUBLISH, Produce
	Topic    string    `json:"topic,omitempty"`
	Fields   []Field   `json:"fields,omitempty"` // of the packet, in its order
	// Payload is the beginning of what a message carries, and Size its whole length.
	Payload []byte `json:"payload,omitempty"`
	Size    int    `json:"size,omitempty"`
	Text    string `json:"text,omitempty"` // why

	// Mark is what the publisher of the message has marked it with: the header MarkHeader.
	Mark string `json:"mark,omitempty"`
	// Message is the same in all that is told of one publish on its way in.
	Message string `json:"message,omitempty"`
	// Place is where the message rests, by which its deliveries are known on every node.
	Place *Place `json:"place,omitempty"`
}

// MarkHeader is the name of a header (over MQTT, of a user property) that marks a message to be followed.
const MarkHeader = "x-rmq-trace"

// Place is where a message rests: in a partition of a stream, or with the bodies of a shard.
type Place struct {
	Shard     uint32 `json:"shard"`
	Entry     uint64 `json:"entry,omitempty"` // of the shard's log
	Log       uint64 `json:"log"`
	Offset    int64  `json:"offset"`
	Stream    string `json:"stream,omitempty"`
	Partition int32  `json:"partition,omitempty"`
}

// Field is one property of a packet.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Bounds of an event and of those who look.
const (
	PayloadMax = 256  // bytes of a payload that are kept
	fieldMax   = 512  // bytes of a field's value
	fieldsMax  = 64   // fields of an event; the last says how many there were more
	watchesMax = 16   // lookers at one node
	eventLen   = 128  // what Len counts for the rest of an event
	watchedMax = 1024 // events that wait for one
)

// Add adds a field; what is long is shortened.
func (e *Event) Add(name string, value any) {
	switch n := len(e.Fields); {
	case n == fieldsMax-1:
		e.Fields = append(e.Fields, Field{Name: "more", Value: "1"})
		return
	case n == fieldsMax:
		var more int
		_, _ = fmt.Sscan(e.Fields[n-1].Value, &more) // our own number
		e.Fields[n-1].Value = fmt.Sprint(more + 1)
		return
	}
	e.Fields = append(e.Fields, Field{Name: name, Value: Shorten(fmt.Sprint(value), fieldMax)})
}

// Carry notes what a message carries.
func (e *Event) Carry(payload []byte) {
	e.Size, e.Payload = len(payload), []byte(cut(payload, PayloadMax))
}

// Shorten cuts a text to at most so many bytes, and marks that there was more.
func Shorten(s string, most int) string {
	if short := cut(s, most); len(short) < len(s) {
		return short + "…"
	}
	return strings.Clone(s)
}

// cut is the beginning of a text, which ends with a whole rune if there are any.
func cut[T ~string | ~[]byte](s T, most int) string {
	if len(s) <= most {
		return string(s)
	}
	n := most
	for n > 0 && n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return string(s[:n])
}

// Len is about how many bytes an event has.
func (e *Event) Len() int {
	n := len(e.Client) + len(e.User) + len(e.Remote) + len(e.Packet) + len(e.Topic) + len(e.Payload) + len(e.Text) + len(e.Mark) + len(e.Message) + eventLen
	for i := range e.Fields {
		n += len(e.Fields[i].Name) + len(e.Fields[i].Value)
	}
	return n
}

// Query says what is looked at. One of its fields says so; the zero value wants everything.
type Query struct {
	Client string
	IP     netip.Prefix
	Topic  func(topic string) bool
	Mark   string // of messages
}

func (q *Query) wants(client string, remote net.Addr, topic, mark string) bool {
	switch {
	case q.Mark != "":
		return mark == q.Mark
	case q.Topic != nil:
		return topic != "" && q.Topic(topic)
	case q.Client != "":
		return client == q.Client
	case q.IP.IsValid():
		return q.IP.Contains(addrOf(remote))
	}
	return true
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{} // a Unix socket: in no network
}

// Watch is one who looks. Events come until Stop.
type Watch struct {
	Events  <-chan Event
	t       *Tracer
	q       Query
	events  chan Event
	dropped atomic.Uint64
}

// Dropped is how many events did not fit.
func (w *Watch) Dropped() uint64 { return w.dropped.Load() }

// Tracer is where servers tell and operators look. A nil one traces nothing. Safe for concurrent use.
type Tracer struct {
	node    uint64
	numbers atomic.Uint64
	mu      sync.Mutex // held by who changes watches
	all     atomic.Pointer[[]*Watch]
}

// Number is a name for a publish, which no other has.
func (t *Tracer) Number() string { return fmt.Sprintf("%d-%d", t.node, t.numbers.Add(1)) }

// New returns the Tracer of a node.
func New(node uint64) *Tracer { return &Tracer{node: node} }

// On tells whether anybody looks.
func (t *Tracer) On() bool { return t != nil && t.all.Load() != nil }

// Look begins to look. fault.Exhausted: too many do.
func (t *Tracer) Look(q Query) (*Watch, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*Watch
	if p := t.all.Load(); p != nil {
		all = *p
	}
	if len(all) >= watchesMax {
		return nil, fault.New(fault.Exhausted, "trace", "", "%d are looking already", len(all))
	}
	w := &Watch{t: t, q: q, events: make(chan Event, watchedMax)}
	w.Events = w.events
	all = append(slices.Clone(all), w)
	t.all.Store(&all)
	return w, nil
}

// Stop ends a look.
func (w *Watch) Stop() {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(*w.t.all.Load()), func(x *Watch) bool { return x == w })
	if len(all) == 0 {
		w.t.all.Store(nil)
		return
	}
	w.t.all.Store(&all)
}

// Wants tells whether anybody wants events of a client, an address or a topic; "" where it has none.
func (t *Tracer) Wants(client string, remote net.Addr, topic string) bool {
	return t.WantsMessage(client, remote, topic, "")
}

// WantsMessage is Wants of a message that is marked; "": it is not.
func (t *Tracer) WantsMessage(client string, remote net.Addr, topic, mark string) bool {
	if !t.On() {
		return false
	}
	if all := t.all.Load(); all != nil {
		for _, w := range *all {
			if w.q.wants(client, remote, topic, mark) {
				return true
			}
		}
	}
	return false
}

// Emit hands an event to those who want it.
func (t *Tracer) Emit(remote net.Addr, e *Event) {
	all := t.all.Load()
	if all == nil {
		return
	}
	e.Node = t.node
	if remote != nil {
		e.Remote = remote.String()
	}
	for _, w := range *all {
		if !w.q.wants(e.Client, remote, e.Topic, e.Mark) {
			continue
		}
		select {
		case w.events <- *e:
		default:
			w.dropped.Add(1)
		}
	}
}
