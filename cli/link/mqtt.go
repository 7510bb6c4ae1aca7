package link

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"github.com/robustmq/rmq/broker/fault"
)

// mqttClient is an MQTT 5 connection, and why it ended once it has.
type mqttClient struct {
	*paho.Client
	target Target
	states *ackWatcher

	gone     chan struct{} // closed with the connection
	goneOnce sync.Once
	told     chan struct{} // closed when err is set
	toldOnce sync.Once
	err      error // first reason for the end
}

// watchedConn tells its owner when it is closed, by whomever.
type watchedConn struct {
	net.Conn
	sync.Mutex // paho locks a connection that can be locked, as TLS needs
	closed     func()
}

func (c *watchedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// ackWatcher stands between paho and its session state. It takes each publish's
// answer, which paho's ordered way of sending throws away, and tells when an incoming
// message has been acknowledged.
type ackWatcher struct {
	session.SessionManager
	// answer receives the outcome of the publish being added; nil for other packets.
	// Only the sending goroutine touches it.
	answer chan packets.ControlPacket
	acked  chan struct{} // one value for each acknowledged message
}

func (w *ackWatcher) AddToSession(ctx context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	if p.Type() == packets.PUBLISH && w.answer != nil {
		resp = w.answer
	}
	return w.SessionManager.AddToSession(ctx, p, resp)
}

func (w *ackWatcher) Ack(p *packets.Publish) error {
	err := w.SessionManager.Ack(p)
	select {
	case w.acked <- struct{}{}:
	default: // nobody waits
	}
	return err
}

// dialMQTT connects. receive is called for each message, in order; the message is
// acknowledged when it returns.
func dialMQTT(ctx context.Context, t Target, o Options, cp *paho.Connect, receive func(*mqttClient, *paho.Publish)) (*mqttClient, *paho.Connack, error) {
	conn, err := dial(ctx, t, o)
	if err != nil {
		return nil, nil, err
	}
	c := &mqttClient{
		target: t, gone: make(chan struct{}), told: make(chan struct{}),
		states: &ackWatcher{SessionManager: state.NewInMemory(), acked: make(chan struct{}, 1)},
	}
	conf := paho.ClientConfig{
		Conn:          &watchedConn{Conn: conn, closed: func() { c.goneOnce.Do(func() { close(c.gone) }) }},
		Session:       c.states,
		PacketTimeout: ackTimeout,
		OnClientError: func(err error) { c.ended(unreachable(t, err)) },
		OnServerDisconnect: func(d *paho.Disconnect) {
			c.ended(mqttFault("connection to", t.Address, d.ReasonCode, disconnectText(d)))
		},
	}
	conf.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
		if receive != nil {
			receive(c, p.Packet)
		}
		return true, nil
	}}
	c.Client = paho.NewClient(conf)
	cp.ClientID = o.ClientID
	if cp.ClientID == "" {
		cp.ClientID = "rmq-" + strings.ToLower(rand.Text()[:10])
	}
	if t.User != "" || t.Password != "" {
		cp.Username, cp.UsernameFlag = t.User, t.User != ""
		cp.Password, cp.PasswordFlag = []byte(t.Password), t.Password != ""
	}
	connecting, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ack, err := c.Connect(connecting, cp)
	if err != nil {
		_ = c.states.Close()
		if ack != nil && ack.ReasonCode >= 0x80 {
			text := ""
			if ack.Properties != nil {
				text = ack.Properties.ReasonString
			}
			return nil, nil, mqttFault("connect to", t.Address, ack.ReasonCode, text)
		}
		return nil, nil, fault.New(fault.Unavailable, "connect to", t.Address, "it does not answer as an MQTT 5 broker: %w", err)
	}
	return c, ack, nil
}

// ended keeps the first reason for the end of the connection.
func (c *mqttClient) ended(err error) {
	c.toldOnce.Do(func() {
		c.err = err
		close(c.told)
	})
}

// reason is why the connection is gone. paho tells it a moment after it closed.
func (c *mqttClient) reason() error {
	select {
	case <-c.told:
		return c.err
	case <-time.After(reasonWait):
		return fault.New(fault.Unavailable, "connection to", c.target.Address, "it was closed")
	}
}

const reasonWait = time.Second

// whileThere is a context that ends with the connection too: paho goes on to wait for an answer that cannot come.
func (c *mqttClient) whileThere(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the context
		select {
		case <-c.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (c *mqttClient) leave() {
	_ = c.Disconnect(&paho.Disconnect{}) // the connection closes either way
	_ = c.states.Close()
}

// ---- produce

// packetMax is what MQTT can say of the length of a packet (MQTT 5 section 1.5.5), less room for what is not the value.
const packetMax = 1<<28 - 1 - 1<<18

type mqttProducer struct {
	*mqttClient
	pending chan mqttPending // in the order sent; capacity bounds what waits
	done    chan struct{}    // closed when the collector has ended
}

type mqttPending struct {
	answer chan packets.ControlPacket // nil at QoS 0
	tell   func(Receipt, error)
}

func newMQTTProducer(ctx context.Context, t Target, o Options) (Producer, error) {
	if strings.ContainsAny(t.Topic, "+#") {
		return nil, fault.New(fault.Invalid, "produce to", t.String(), "a topic that is published to has no wildcard")
	}
	c, _, err := dialMQTT(ctx, t, o, &paho.Connect{KeepAlive: 30, CleanStart: true}, nil)
	if err != nil {
		return nil, err
	}
	p := &mqttProducer{mqttClient: c, pending: make(chan mqttPending, inflightMax), done: make(chan struct{})}
	go p.collect() // ends when Close closes pending
	return p, nil
}

func (p *mqttProducer) Send(ctx context.Context, m *Message, done func(Receipt, error)) error {
	if len(m.Value) > packetMax {
		return fault.New(fault.TooLarge, "produce to", p.target.String(), "MQTT has no packet for a value of %d bytes", len(m.Value))
	}
	pub := mqttPublish(cmp.Or(p.target.Topic, m.Topic), m)
	waiting := mqttPending{tell: done}
	if pub.QoS > 0 {
		// The session state sends into it while it holds its lock: never without room.
		waiting.answer = make(chan packets.ControlPacket, 1)
	}
	p.states.answer = waiting.answer
	_, err := p.PublishWithOptions(ctx, pub, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil && !errors.Is(err, paho.ErrNetworkErrorAfterStored) {
		select {
		case <-p.gone:
			return p.reason()
		default:
		}
		if errors.Is(err, paho.ErrInvalidArguments) {
			return fault.New(fault.Unsupported, "produce to", p.target.String(), "%w", err)
		}
		kind := fault.Unavailable
		if errors.Is(err, context.DeadlineExceeded) {
			kind = fault.Timeout // every packet identifier that the broker allows is taken
		}
		return fault.New(kind, "produce to", p.target.String(), "%w", err)
	}
	select {
	case p.pending <- waiting:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// collect tells the outcomes in the order in which the messages were sent.
func (p *mqttProducer) collect() {
	defer close(p.done)
	receipt := Receipt{Protocol: MQTT, Target: p.target.String()}
	for w := range p.pending {
		if w.answer == nil {
			w.tell(receipt, nil)
			continue
		}
		r := receipt
		timer := time.NewTimer(ackTimeout)
		var err error
		select {
		case cp := <-w.answer:
			r.Unmatched, err = p.outcome(cp)
		case <-p.gone:
			select {
			case cp := <-w.answer: // it came before
				r.Unmatched, err = p.outcome(cp)
			default:
				err = p.reason()
			}
		case <-timer.C:
			err = fault.New(fault.Timeout, "produce to", p.target.String(), "no acknowledgement after %v", ackTimeout)
		}
		timer.Stop()
		w.tell(r, err)
	}
}

func (p *mqttProducer) outcome(cp packets.ControlPacket) (unmatched bool, err error) {
	var code byte
	var text string
	switch a := cp.Content.(type) {
	case *packets.Puback:
		code, text = a.ReasonCode, a.Properties.ReasonString
	case *packets.Pubrec:
		code, text = a.ReasonCode, a.Properties.ReasonString
	case *packets.Pubcomp:
		code, text = a.ReasonCode, a.Properties.ReasonString
	default: // the connection was lost first
		return false, p.reason()
	}
	if code >= 0x80 {
		return false, mqttFault("produce to", p.target.String(), code, text)
	}
	return code == packets.PubackNoMatchingSubscribers, nil
}

// arrived returns once the broker has read all that was sent, QoS 0 too: it answers in order.
func (p *mqttProducer) arrived(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	ctx, answered := p.whileThere(ctx)
	defer answered()
	ack, err := p.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{"rmq/nothing"}})
	if err == nil || ack != nil {
		return nil // whatever it says of that
	}
	select {
	case <-p.gone:
		return p.reason()
	default:
	}
	return fault.New(fault.Timeout, "produce to", p.target.Address, "the broker does not answer: %w", err)
}

func (p *mqttProducer) Close(ctx context.Context) error {
	close(p.pending)
	select {
	case <-p.done: // each wait in it is bounded
	case <-ctx.Done():
	}
	p.leave() // what still waits ends with the connection
	<-p.done
	return nil
}

// mqttPublish puts a message in MQTT's form.
func mqttPublish(topic string, m *Message) *paho.Publish {
	props := &paho.PublishProperties{}
	user := func(name, value string) { props.User = append(props.User, paho.UserProperty{Key: name, Value: value}) }
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		switch name, value := plainProperty(name, m.Properties[name]); name {
		case ContentType:
			props.ContentType = string(value)
		case ReplyTo:
			props.ResponseTopic = string(value)
		case CorrelationID:
			props.CorrelationData = value
		case PayloadFormat:
			f := byte(0)
			if s := string(value); s == "utf-8" || s == "1" {
				f = 1
			}
			props.PayloadFormat = &f
		default:
			user(name, string(value))
		}
	}
	if m.Key != nil {
		if utf8.Valid(m.Key) {
			user(headerKey, string(m.Key))
		} else {
			user(headerKey+binarySuffix, base64.StdEncoding.EncodeToString(m.Key))
		}
	}
	if m.Partition != nil {
		user(headerPartition, strconv.Itoa(int(*m.Partition)))
	}
	if m.Priority != 0 {
		user("priority", strconv.Itoa(int(m.Priority)))
	}
	if !m.ExpiresAt.IsZero() {
		left := uint32(max(1, (time.Until(m.ExpiresAt)+time.Second-1)/time.Second))
		props.MessageExpiry = &left
	}
	for _, h := range m.Headers {
		if utf8.Valid(h.Value) {
			user(h.Name, string(h.Value))
		} else {
			user(h.Name, base64.StdEncoding.EncodeToString(h.Value))
			user(h.Name+"-encoding", "base64")
		}
	}
	pub := &paho.Publish{Topic: topic, QoS: 1, Retain: m.Retain, Payload: m.Value, Properties: props}
	if m.QoS != nil {
		pub.QoS = *m.QoS
	}
	return pub
}

// ---- consume

type mqttReader struct {
	*mqttClient
	messages chan *paho.Publish // unbuffered: paho waits in receive until we take one
	taken    chan struct{}      // the message may be acknowledged
	last     *paho.Publish      // returned by next and not settled; nil when none
	retained bool               // only what is retained is wanted, and it has an end
}

func openMQTT(ctx context.Context, t Target, o ConsumeOptions) (reader, error) {
	retained := o.From.Kind == AtStart && o.UntilEnd && o.Group == ""
	if o.From.Kind != AtEnd && !retained {
		return nil, fault.New(fault.Unsupported, "consume", t.String(), "MQTT has no history to read from %s", o.From)
	}
	if o.UntilEnd && !retained {
		return nil, fault.New(fault.Unsupported, "consume", t.String(), "an MQTT subscription has no end: stop by --idle, --timeout or -n")
	}
	filter := t.Topic
	if o.Group != "" {
		filter = "$share/" + o.Group + "/" + filter
	}
	window := uint16(prefetch)
	// A reader that is paused (`| less`) cannot answer pings, so it promises none; TCP
	// tells when the peer is gone.
	cp := &paho.Connect{CleanStart: o.Session == 0, Properties: &paho.ConnectProperties{ReceiveMaximum: &window, RequestProblemInfo: true}}
	if o.Session > 0 {
		if o.ClientID == "" {
			return nil, fault.New(fault.Invalid, "consume", t.String(), "a session needs a client id to be found again")
		}
		seconds := uint32(min(o.Session/time.Second, 0xFFFFFFFF))
		cp.Properties.SessionExpiryInterval = &seconds
	}
	r := &mqttReader{messages: make(chan *paho.Publish), taken: make(chan struct{}), retained: retained}
	c, _, err := dialMQTT(ctx, t, o.Options, cp, r.receive)
	if err != nil {
		return nil, err
	}
	r.mqttClient = c
	asking, answered := c.whileThere(ctx)
	defer answered()
	ack, err := c.Subscribe(asking, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: o.QoS, RetainAsPublished: false}}})
	if err != nil {
		defer c.leave()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case ack != nil && len(ack.Reasons) == 1:
			text := ""
			if ack.Properties != nil {
				text = ack.Properties.ReasonString
			}
			return nil, mqttFault("subscribe to", filter, ack.Reasons[0], text)
		case asking.Err() != nil:
			err := c.reason()
			if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Invalid { // what is asked for, not the connection
				return nil, fault.New(f.Kind, "subscribe to", filter, "%w", f.Err)
			}
			return nil, err
		}
		return nil, fault.New(fault.Invalid, "subscribe to", filter, "%w", err)
	}
	return r, nil
}

// receive runs on paho's goroutine: it offers the message, and returns when it was
// dealt with, so that paho acknowledges then and not before.
func (r *mqttReader) receive(c *mqttClient, p *paho.Publish) {
	select {
	case r.messages <- p:
	case <-c.gone:
		return
	}
	select {
	case <-r.taken:
	case <-c.gone:
	}
}

func (r *mqttReader) next(ctx context.Context) (*Message, error) {
	var quiet <-chan time.Time
	if r.retained {
		quiet = time.After(retainedWait)
	}
	for {
		select {
		case p := <-r.messages:
			r.last = p
			if r.retained && !p.Retain { // published meanwhile
				if err := r.settle(ctx); err != nil {
					return nil, err
				}
				continue
			}
			return mqttMessage(r.target, p), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.gone:
			return nil, r.reason()
		case <-quiet:
			return nil, io.EOF
		}
	}
}

// retainedWait is the time without a retained message after which there is none left: a
// broker sends them when it has granted the subscription, and does not say which is the
// last.
const retainedWait = 500 * time.Millisecond

func (r *mqttReader) settle(ctx context.Context) error {
	p := r.last
	r.last = nil
	select {
	case <-r.states.acked: // left by nobody's message but a duplicate's
	default:
	}
	select {
	case r.taken <- struct{}{}:
	case <-r.gone:
		return nil // next tells
	}
	if p.QoS == 0 {
		return nil
	}
	select {
	case <-r.states.acked:
	case <-r.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (r *mqttReader) pass(ctx context.Context) error { return r.settle(ctx) }

func (r *mqttReader) hold(bool) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), ackTimeout)
		defer cancel()
		return r.settle(ctx)
	}
}

func (r *mqttReader) waits() bool { return true }

func (r *mqttReader) close() { r.leave() }

// mqttMessage reads MQTT's form.
func mqttMessage(t Target, p *paho.Publish) *Message {
	qos := p.QoS
	m := &Message{
		Protocol: MQTT, Target: t.String(), Topic: p.Topic, Value: p.Payload, QoS: &qos, Retain: p.Retain,
		Duplicate: p.Duplicate(), Time: time.Now(), Size: len(p.Payload), Properties: map[string]string{},
	}
	if m.Value == nil {
		m.Value = []byte{} // MQTT has no null
	}
	if props := p.Properties; props != nil {
		setProperty(m, ContentType, []byte(props.ContentType))
		setProperty(m, ReplyTo, []byte(props.ResponseTopic))
		setProperty(m, CorrelationID, props.CorrelationData)
		if props.PayloadFormat != nil && *props.PayloadFormat == 1 {
			setProperty(m, PayloadFormat, []byte("utf-8"))
		}
		if props.MessageExpiry != nil {
			m.ExpiresAt = m.Time.Add(time.Duration(*props.MessageExpiry) * time.Second)
		}
		for _, u := range props.User {
			switch u.Key {
			case headerKey:
				m.Key = []byte(u.Value)
			case headerKey + binarySuffix:
				if k, err := base64.StdEncoding.DecodeString(u.Value); err == nil {
					m.Key = k
					continue
				}
				fallthrough
			default:
				m.Headers = append(m.Headers, Header{Name: u.Key, Value: []byte(u.Value)})
			}
		}
	}
	return m
}

// setProperty keeps a property unless it is empty.
func setProperty(m *Message, name string, value []byte) {
	switch {
	case len(value) == 0:
	case utf8.Valid(value):
		m.Properties[name] = string(value)
	default:
		m.Properties[name+binarySuffix] = base64.StdEncoding.EncodeToString(value)
	}
}

// plainProperty undoes setProperty.
func plainProperty(name, value string) (string, []byte) {
	if plain, ok := strings.CutSuffix(name, binarySuffix); ok {
		if b, err := base64.StdEncoding.DecodeString(value); err == nil {
			return plain, b
		}
	}
	return name, []byte(value)
}

// ---- errors

// mqttReasons gives the reason codes of MQTT 5 (section 2.4) a kind and words. Codes that
// are missing are told by their number.
var mqttReasons = map[byte]struct {
	kind fault.Kind
	text string
}{
	0x80: {fault.Unavailable, "unspecified error"},
	0x81: {fault.Invalid, "malformed packet"},
	0x82: {fault.Invalid, "protocol error"},
	0x83: {fault.Invalid, "implementation specific error"},
	0x84: {fault.Unsupported, "it does not speak MQTT 5"},
	0x85: {fault.Invalid, "client identifier not valid"},
	0x86: {fault.Unauthorized, "bad user name or password"},
	0x87: {fault.Denied, "not authorized"},
	0x88: {fault.Unavailable, "server unavailable"},
	0x89: {fault.Unavailable, "server busy"},
	0x8A: {fault.Denied, "banned"},
	0x8B: {fault.Unavailable, "server shutting down"},
	0x8C: {fault.Unauthorized, "bad authentication method"},
	0x8D: {fault.Unavailable, "keep alive timeout"},
	0x8E: {fault.Conflict, "another connection took the session over"},
	0x8F: {fault.Invalid, "topic filter invalid"},
	0x90: {fault.Invalid, "topic name invalid"},
	0x91: {fault.Conflict, "packet identifier in use"},
	0x93: {fault.Exhausted, "receive maximum exceeded"},
	0x95: {fault.TooLarge, "packet too large"},
	0x96: {fault.Exhausted, "message rate too high"},
	0x97: {fault.Exhausted, "quota exceeded"},
	0x98: {fault.Unavailable, "an operator ended it"},
	0x99: {fault.Invalid, "payload format invalid"},
	0x9A: {fault.Unsupported, "retain not supported"},
	0x9B: {fault.Unsupported, "QoS not supported"},
	0x9D: {fault.Unavailable, "server moved"},
	0x9E: {fault.Unsupported, "shared subscriptions not supported"},
	0xA1: {fault.Unsupported, "subscription identifiers not supported"},
	0xA2: {fault.Unsupported, "wildcard subscriptions not supported"},
}

func mqttFault(op, target string, code byte, text string) error {
	row, ok := mqttReasons[code]
	if !ok {
		row.kind, row.text = fault.Unavailable, fmt.Sprintf("reason code 0x%02x", code)
	}
	if text != "" {
		row.text += " (" + text + ")"
	}
	return fault.New(row.kind, op, target, "%s", row.text)
}

func disconnectText(d *paho.Disconnect) string {
	if d.Properties != nil {
		return d.Properties.ReasonString
	}
	return ""
}
