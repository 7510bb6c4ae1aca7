// Package link produces and consumes over the public protocols, with the clients
// that everybody else uses, so `rmq produce` and `rmq consume` work against any
// MQTT, Kafka or AMQP broker and owe rmq nothing.
//
// target.go reads what a user typed ("mqtt:a/b", "kafka://host/orders"); Consume and
// NewProducer below hold what the protocols share: when to stop, and how many
// messages may wait for their acknowledgement. mqtt.go, kafka.go and amqp.go hold the
// rest.
//
// Messages have one form, Message, whichever protocol carries them; its Properties
// use the names that rmq gives properties when a message changes protocol, so a
// Kafka header "content-type" and an MQTT content type are typed alike.
//
// Errors are *fault.Error: NotFound for a missing topic or queue, Unauthorized and
// Denied, Unavailable when nobody answers, Timeout when fewer messages came than were
// asked for.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// Message is one message in the form that every protocol shares.
type Message = adminapi.Message

// Header is one name and value of a message.
type Header = adminapi.Header

// Names of properties. Those that a protocol has no field for travel as a header of
// that name.
const (
	ContentType     = "content-type"
	ContentEncoding = "content-encoding"
	CorrelationID   = "correlation-id"
	ReplyTo         = "reply-to"
	MessageID       = "message-id"
	Type            = "type"
	AppID           = "app-id"
	UserID          = "user-id"
	Timestamp       = "timestamp" // seconds since 1970
	PayloadFormat   = "payload-format"

	binarySuffix = "-b64" // of a property whose bytes are not UTF-8
)

// Headers that rmq takes from clients of a protocol that has no field for them.
const (
	headerKey       = "rmq-key"
	headerPartition = "rmq-partition"
	headerRetain    = "rmq-retain"
	headerExpires   = "expires-at" // ms since 1970
)

// HeaderNative is where rmq keeps, in Kafka records, what messages of the other
// protocols have and headers cannot say: bytes for its own eyes.
const HeaderNative = "rmq-native"

// Carry readies a message for another protocol than it was read over: properties that
// travelled as headers become properties again, and what only its protocol means goes.
func Carry(m *Message) {
	kept := m.Headers[:0:0]
	for _, h := range m.Headers {
		_, has := m.Properties[h.Name]
		switch {
		case h.Name == HeaderNative:
		case standard[h.Name] && !has && h.Value != nil:
			if m.Properties == nil {
				m.Properties = map[string]string{}
			}
			setProperty(m, h.Name, h.Value)
		default:
			kept = append(kept, h)
		}
	}
	m.Headers = kept
}

// standard holds the names of properties.
var standard = map[string]bool{
	ContentType: true, ContentEncoding: true, CorrelationID: true, ReplyTo: true, MessageID: true, Type: true,
	AppID: true, UserID: true, Timestamp: true, PayloadFormat: true,
}

const (
	dialTimeout = 5 * time.Second  // to connect and be let in
	ackTimeout  = 30 * time.Second // for one acknowledgement
	prefetch    = 256              // messages a broker may send ahead of their settling
	inflightMax = 1024             // sent messages that wait for their acknowledgement
)

// Options are about the connection.
type Options struct {
	ClientID string // "": one is made up
	TLS      *tls.Config
	VHost    string // AMQP; "": "/"
	// Routed: what an exchange leads nowhere is an error (AMQP).
	Routed bool
	Acks   string // Kafka, to produce: all ("" too), 1 or 0
	// LostAfter is how long a producer of Kafka waits for brokers that cannot be reached any more; 0: 10s.
	LostAfter time.Duration
	// Guard refuses what changes something at the broker, before it is reached; it is told what
	// that is, as in "publish to kafka:orders". nil: nothing is refused.
	Guard func(what string) error
}

func (o *Options) guard(what string) error {
	if o.Guard == nil {
		return nil
	}
	return o.Guard(what)
}

// ---- produce

// Receipt tells what became of a message.
type Receipt struct {
	Protocol  string `json:"protocol"`
	Target    string `json:"target"`
	Partition *int32 `json:"partition,omitempty"`
	Offset    *int64 `json:"offset,omitempty"`
	// Unmatched: the broker took it, and says that nobody is subscribed (MQTT 5).
	Unmatched bool `json:"unmatched,omitempty"`
}

// Producer sends messages to one target, in order.
type Producer interface {
	// Send hands m over and returns, once there is room for another: at most
	// inflightMax messages wait. done is called once, in order, from another
	// goroutine, when the broker has answered for m. An error means that m was not
	// sent, that done will not be called, and that the producer is of no more use.
	Send(ctx context.Context, m *Message, done func(Receipt, error)) error
	// Close waits for what is under way and leaves.
	Close(ctx context.Context) error
}

// NewProducer connects to a target. One that names a broker and nothing there has each message
// say where it goes: by its Topic and Partition, its Queue, or its Exchange and RoutingKey.
func NewProducer(ctx context.Context, t Target, o Options) (Producer, error) {
	if err := o.guard("publish to " + t.String()); err != nil {
		return nil, err
	}
	switch t.Protocol {
	case MQTT:
		return newMQTTProducer(ctx, t, o)
	case Kafka:
		return newKafkaProducer(ctx, t, o)
	case AMQP:
		return newAMQPProducer(ctx, t, o)
	}
	return nil, fault.New(fault.Invalid, "produce", t.String(), "unknown protocol %q", t.Protocol)
}

// ---- consume

// ConsumeOptions say what to read and when to stop. The zero value follows for ever
// from now on.
type ConsumeOptions struct {
	Options
	From     Position
	N        int64         // stop after that many; 0: no limit
	UntilEnd bool          // stop at what was the end when reading began
	Idle     time.Duration // stop when nothing came for so long; 0: never
	Timeout  time.Duration // stop after so long; 0: never
	// Group shares the messages among all who name it, and goes on where it stopped:
	// a Kafka consumer group, an MQTT shared subscription, a durable queue bound to an
	// AMQP exchange.
	Group   string
	QoS     uint8         // MQTT: the most that is asked for
	Session time.Duration // MQTT: how long the session waits for us; 0: a clean one. Needs ClientID
	Peek    bool          // AMQP queues: leave the messages where they are
	// Where tells which messages are meant; nil: all. What is not meant counts for
	// nothing: it is passed over, and in an AMQP queue it stays in its place.
	Where func(*Message) bool
	// Ready is called when reading has begun: what is sent from then on is read.
	Ready func() error
	// Make makes what is read, if it is not there: a queue that dies with its reader, a
	// Kafka topic.
	Make bool
}

// reader is one subscription under way.
type reader interface {
	// next returns the next message. io.EOF: the end that was asked for is reached.
	// The error is ctx's when it ended first; the reader can then be used again.
	next(ctx context.Context) (*Message, error)
	// settle says that the last message next returned was dealt with.
	settle(ctx context.Context) error
	// pass says that it was not meant.
	pass(ctx context.Context) error
	// hold returns what settles, or passes over, the last message later, in the order in
	// which they came.
	hold(meant bool) func() error
	// waits tells that the next message comes only when the last is settled.
	waits() bool
	close()
}

// Consume reads a target and calls emit with each message, until the options, the
// context or emit say to stop. A message that emit refused is not acknowledged. It
// returns how many were emitted; the error is a fault.Timeout when fewer than N came.
func Consume(ctx context.Context, t Target, o ConsumeOptions, emit func(*Message) error) (int64, error) {
	if o.Group != "" || o.Session > 0 || t.Queue != "" && !o.Peek {
		if err := o.guard("take messages from " + t.String()); err != nil {
			return 0, err
		}
	}
	// Connecting counts: --timeout is how long the user waits.
	limited := ctx
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	r, err := open(limited, t, o)
	if err != nil {
		return 0, notConnected(ctx, limited, "consume", t, o.Timeout, err)
	}
	defer r.close()
	if o.Ready != nil {
		if err := o.Ready(); err != nil {
			return 0, err
		}
	}
	return drain(ctx, limited, r, t, o, emit)
}

// notConnected is why an attempt to connect failed: --timeout passed, or the user left, or err. A dialer
// goes by the deadline and may be there before the context.
func notConnected(ctx, limited context.Context, op string, t Target, timeout time.Duration, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if end, ok := limited.Deadline(); ok && !time.Now().Before(end) {
		return fault.New(fault.Timeout, op, t.String(), "not connected after %v", timeout)
	}
	return err
}

// open begins to read a target.
func open(ctx context.Context, t Target, o ConsumeOptions) (reader, error) {
	switch t.Protocol {
	case MQTT:
		return openMQTT(ctx, t, o)
	case Kafka:
		return openKafka(ctx, t, o)
	case AMQP:
		return openAMQP(ctx, t, o)
	}
	return nil, fault.New(fault.Invalid, "consume", t.String(), "unknown protocol %q", t.Protocol)
}

// drain moves messages from r to emit until something says stop.
func drain(ctx, limited context.Context, r reader, t Target, o ConsumeOptions, emit func(*Message) error) (n int64, err error) {
	for o.N == 0 || n < o.N {
		m, err := nextWithin(limited, r, o.Idle)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return n, ctx.Err() // the user left
		case errors.Is(err, io.EOF):
			return n, enough(n, "consume", t, o, "the end was reached")
		case limited.Err() != nil:
			if o.UntilEnd && o.N == 0 {
				return n, fault.New(fault.Timeout, "consume", t.String(), "%d messages after %v, and the end was not reached", n, o.Timeout)
			}
			return n, enough(n, "consume", t, o, fmt.Sprintf("%v passed", o.Timeout))
		case errors.Is(err, context.DeadlineExceeded):
			return n, enough(n, "consume", t, o, fmt.Sprintf("nothing came for %v", o.Idle))
		default:
			return n, err
		}
		deal := r.settle
		if o.Where != nil && !o.Where(m) {
			deal = r.pass
		} else {
			err := emit(m)
			if errors.Is(err, ErrRefused) {
				if err := refuse(r); err != nil {
					return n, err
				}
				continue
			}
			if err != nil {
				return n, err
			}
			n++
		}
		// What was shown is settled even if the user has just left.
		settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
		err = deal(settling)
		cancel()
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// ErrRefused, of emit, has a message of an AMQP queue come again.
var ErrRefused = errors.New("refused")

func refuse(r reader) error {
	a, ok := r.(*amqpReader)
	if !ok {
		return fault.New(fault.Unsupported, "refuse", "", "only AMQP takes a message back")
	}
	if err := a.last.Reject(true); err != nil {
		return amqpError("refuse", a.target.String(), err)
	}
	return nil
}

func nextWithin(ctx context.Context, r reader, idle time.Duration) (*Message, error) {
	if idle > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, idle)
		defer cancel()
	}
	return r.next(ctx)
}

func enough(n int64, op string, t Target, o ConsumeOptions, why string) error {
	if n < o.N {
		return fault.New(fault.Timeout, op, t.String(), "wanted %d messages, got %d before %s", o.N, n, why)
	}
	return nil
}

// ---- what the protocols share

// dial connects to one of the addresses of a target, over TLS where it asks for that.
func dial(ctx context.Context, t Target, o Options) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	var conn net.Conn
	var err error
	switch {
	case t.Network == QUIC:
		conn, err = dialQUIC(ctx, t, o)
	case t.Network == Unix:
		conn, err = d.DialContext(ctx, "unix", t.Address)
	case t.TLS:
		conn, err = (&tls.Dialer{NetDialer: d, Config: o.TLS}).DialContext(ctx, "tcp", t.Address)
	default:
		conn, err = d.DialContext(ctx, "tcp", t.Address)
	}
	if err != nil {
		return nil, unreachable(t, err)
	}
	return conn, nil
}

func unreachable(t Target, err error) error {
	var opErr *net.OpError
	if errors.As(err, &opErr) && opErr.Err != nil {
		err = opErr.Err // the address stands in the message already
	}
	return fault.New(fault.Unavailable, "connect to", t.Address, "%w", err)
}
