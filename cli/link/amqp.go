package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/fault"
)

// amqpClient is a connection with one channel.
type amqpClient struct {
	conn   *amqp.Connection
	ch     *amqp.Channel
	closed chan *amqp.Error // one value when the channel or the connection fails
	target Target
}

// dialAMQP connects and opens a channel.
func dialAMQP(ctx context.Context, t Target, o Options) (*amqpClient, error) {
	u := url.URL{Scheme: "amqp", Host: t.Address}
	if t.TLS {
		u.Scheme = "amqps"
	}
	user, password := t.User, t.Password
	if user == "" && password == "" {
		user, password = "guest", "guest"
	}
	vhost := o.VHost
	if vhost == "" {
		vhost = "/"
	}
	name := o.ClientID
	if name == "" {
		name = "rmq"
	}
	// The client knows no context: its connection is cut off instead.
	var cut func() bool
	defer func() {
		if cut != nil {
			cut()
		}
	}()
	config := amqp.Config{
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}}, Vhost: vhost,
		Heartbeat: 10 * time.Second, TLSClientConfig: o.TLS,
		Properties: amqp.Table{"connection_name": name, "product": "rmq"},
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			cut = context.AfterFunc(ctx, func() { _ = conn.Close() })
			return conn, conn.SetDeadline(time.Now().Add(dialTimeout)) // lifted by the client once it is let in
		},
	}
	conn, err := amqp.DialConfig(u.String(), config)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, amqpError("connect to", t.Address, err)
	}
	c := &amqpClient{conn: conn, target: t}
	if err := c.channel(); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return c, nil
}

// channel opens a channel: the first one, or another after an error closed it.
func (c *amqpClient) channel() error {
	ch, err := c.conn.Channel()
	if err != nil {
		return amqpError("open a channel on", c.target.Address, err)
	}
	c.ch, c.closed = ch, ch.NotifyClose(make(chan *amqp.Error, 1))
	return nil
}

// reason is why the channel ended. Only to be asked once it has.
func (c *amqpClient) reason(op string) error {
	select {
	case err := <-c.closed:
		if err != nil {
			return amqpError(op, c.target.String(), err)
		}
	case <-time.After(reasonWait):
	}
	return fault.New(fault.Unavailable, "connection to", c.target.Address, "it was closed")
}

func (c *amqpClient) leave() { _ = c.conn.Close() }

// ---- produce

type amqpProducer struct {
	*amqpClient
	exchange, key string
	mandatory     bool
	pending       chan amqpPending // in the order sent; capacity bounds what waits
	returned      chan amqp.Return
	done          chan struct{} // closed when the collector has ended
}

type amqpPending struct {
	confirm *amqp.DeferredConfirmation
	tell    func(Receipt, error)
}

func newAMQPProducer(ctx context.Context, t Target, o Options) (Producer, error) {
	c, err := dialAMQP(ctx, t, o)
	if err != nil {
		return nil, err
	}
	p := &amqpProducer{amqpClient: c, exchange: t.Exchange, key: t.Key, mandatory: o.Routed, pending: make(chan amqpPending, inflightMax), done: make(chan struct{})}
	if t.Queue != "" {
		// Who names a queue means that queue: without one the message would vanish, or make a stream of
		// its name where the broker captures what has no home.
		if err := c.findQueue(); err != nil {
			c.leave()
			return nil, err
		}
		p.exchange, p.key, p.mandatory = "", t.Queue, true
	} else if t.Exchange != "" {
		if err := c.findExchange(); err != nil {
			c.leave()
			return nil, err
		}
	} else {
		p.mandatory = true // each message says for itself
	}
	if err := c.ch.Confirm(false); err != nil {
		defer c.leave()
		return nil, amqpError("produce to", t.String(), err)
	}
	// Deeper than what may be under way, so that the client never waits for us.
	p.returned = c.ch.NotifyReturn(make(chan amqp.Return, inflightMax+1))
	go p.collect() // ends when Close closes pending
	return p, nil
}

// findExchange checks that the target's exchange exists, on a channel of its own,
// because asking for one that does not closes the channel.
func (c *amqpClient) findExchange() error {
	ch, err := c.conn.Channel()
	if err != nil {
		return amqpError("open a channel on", c.target.Address, err)
	}
	// A passive declaration compares nothing but the name; the type is only there
	// because the method has the field.
	if err := ch.ExchangeDeclarePassive(c.target.Exchange, amqp.ExchangeTopic, false, false, false, false, nil); err != nil {
		return amqpError("use exchange", c.target.Exchange, err)
	}
	return ch.Close()
}

// findQueue checks that the target's queue exists, on a channel of its own too. One that is another
// connection's, or of which we may not ask, is one that can be sent to as far as we know.
func (c *amqpClient) findQueue() error {
	ch, err := c.conn.Channel()
	if err != nil {
		return amqpError("open a channel on", c.target.Address, err)
	}
	if _, err := ch.QueueDeclarePassive(c.target.Queue, true, false, false, false, nil); err != nil {
		if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code != amqp.NotFound && e.Code != amqp.ConnectionForced {
			return nil
		}
		return amqpError("produce to", c.target.String(), err)
	}
	return ch.Close()
}

func (p *amqpProducer) Send(ctx context.Context, m *Message, done func(Receipt, error)) error {
	exchange, key, mandatory := p.exchange, p.key, p.mandatory
	if exchange == "" && key == "" {
		exchange, key, mandatory = amqpPlace(m)
	}
	confirm, err := p.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, mandatory, false, amqpPublishing(m))
	if err != nil {
		if errors.Is(err, amqp.ErrClosed) {
			return p.reason("produce to")
		}
		return amqpError("produce to", p.target.String(), err)
	}
	select {
	case p.pending <- amqpPending{confirm, done}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// amqpPlace is where a message says that it goes. One to a queue is not to vanish.
func amqpPlace(m *Message) (exchange, key string, mandatory bool) {
	if m.Queue != "" {
		return "", m.Queue, true
	}
	return m.Exchange, m.RoutingKey, false
}

// ErrUnbound is what becomes of a message that its exchange leads to no queue.
var ErrUnbound = errors.New("no queue is bound for it")

// collect tells the outcomes in the order in which the messages were sent.
func (p *amqpProducer) collect() {
	defer close(p.done)
	for w := range p.pending {
		ctx, cancel := context.WithTimeout(context.Background(), ackTimeout)
		ok, err := w.confirm.WaitContext(ctx)
		cancel()
		switch {
		case err != nil:
			err = fault.New(fault.Timeout, "produce to", p.target.String(), "no confirm after %v", ackTimeout)
		case p.mandatory && p.wasReturned():
			why := errors.New("no such queue")
			if p.target.Queue == "" {
				why = ErrUnbound
			}
			err = fault.New(fault.NotFound, "produce to", p.target.String(), "%w", why)
		case !ok && p.ch.IsClosed():
			err = p.reason("produce to")
		case !ok:
			err = fault.New(fault.Exhausted, "produce to", p.target.String(), "the broker refused the message: a queue is full")
		}
		w.tell(Receipt{Protocol: AMQP, Target: p.target.String()}, err)
	}
}

// wasReturned tells whether the message just confirmed came back: a return precedes
// its message's confirm, and every message goes to the same queue.
func (p *amqpProducer) wasReturned() bool {
	select {
	case _, ok := <-p.returned:
		return ok
	default:
		return false
	}
}

func (p *amqpProducer) Close(ctx context.Context) error {
	close(p.pending)
	select {
	case <-p.done: // each wait in it is bounded
	case <-ctx.Done():
	}
	p.leave() // what still waits ends with the connection
	<-p.done
	return nil
}

// amqpPublishing puts a message in AMQP's form.
func amqpPublishing(m *Message) amqp.Publishing {
	pub := amqp.Publishing{Body: m.Value, DeliveryMode: amqp.Persistent, Priority: m.Priority}
	if m.QoS != nil && *m.QoS == 0 {
		pub.DeliveryMode = amqp.Transient
	}
	headers := amqp.Table{}
	add := func(name string, value any) {
		switch old := headers[name].(type) {
		case nil:
			headers[name] = value
		case []any: // repeats become an array under one name
			headers[name] = append(old, value)
		default:
			headers[name] = []any{old, value}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		name, value := plainProperty(name, m.Properties[name])
		s := string(value)
		switch name {
		case ContentType:
			pub.ContentType = s
		case ContentEncoding:
			pub.ContentEncoding = s
		case CorrelationID:
			if len(s) <= 255 && utf8.Valid(value) {
				pub.CorrelationId = s
			} else {
				add("x-correlation-id", value)
			}
		case ReplyTo:
			pub.ReplyTo = s
		case MessageID:
			pub.MessageId = s
		case Type:
			pub.Type = s
		case AppID:
			pub.AppId = s
		case UserID:
			pub.UserId = s
		case Timestamp:
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				pub.Timestamp = time.Unix(n, 0)
			} else {
				add(name, s)
			}
		default:
			add(name, s)
		}
	}
	if m.Key != nil {
		add(headerKey, m.Key)
	}
	if m.Partition != nil {
		add(headerPartition, *m.Partition)
	}
	if m.Retain {
		add(headerRetain, true)
	}
	if !m.ExpiresAt.IsZero() {
		pub.Expiration = strconv.FormatInt(max(0, time.Until(m.ExpiresAt).Milliseconds()), 10)
	}
	for _, h := range m.Headers {
		switch {
		case h.Name == "x-delay": // read as a number by every broker that knows it
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil {
				add(h.Name, n)
				continue
			}
			add(h.Name, string(h.Value))
		case h.Value == nil:
			headers[h.Name] = nil
		case utf8.Valid(h.Value):
			add(h.Name, string(h.Value))
		default:
			add(h.Name, h.Value)
		}
	}
	if len(headers) > 0 {
		pub.Headers = headers
	}
	return pub
}

// ---- consume

type amqpReader struct {
	*amqpClient
	queue      string
	peek       bool
	choosy     bool // it leaves some messages of a queue in it
	left       int  // messages before what was the end; -1: follow
	emptied    bool // the queue was found empty before left was down to 0
	deliveries <-chan amqp.Delivery
	last       amqp.Delivery
}

func openAMQP(ctx context.Context, t Target, o ConsumeOptions) (reader, error) {
	if o.From.Kind != AtEnd && (t.Queue == "" || o.From.Kind != AtStart) {
		return nil, fault.New(fault.Unsupported, "consume", t.String(), "AMQP gives a queue from its start and an exchange from now on, not from %s", o.From)
	}
	if o.Peek && t.Queue == "" {
		return nil, fault.New(fault.Invalid, "consume", t.String(), "only the messages of a queue can be left in it")
	}
	if o.UntilEnd && t.Queue == "" {
		return nil, fault.New(fault.Unsupported, "consume", t.String(), "an exchange has no end: stop by --idle, --timeout or -n")
	}
	c, err := dialAMQP(ctx, t, o.Options)
	if err != nil {
		return nil, err
	}
	// What is passed over in a queue stays unsettled too, so its room is needed.
	r := &amqpReader{amqpClient: c, peek: o.Peek, choosy: o.Where != nil && t.Queue != "", left: -1}
	if err := r.subscribe(t, o); err != nil {
		c.leave()
		return nil, err
	}
	return r, nil
}

func (r *amqpReader) subscribe(t Target, o ConsumeOptions) error {
	exclusive := false
	if t.Queue != "" && o.Make {
		exclusive = true
		if _, err := r.ch.QueueDeclare(t.Queue, false, true, true, false, nil); err != nil {
			return amqpError("create", t.String(), err)
		}
		r.queue = t.Queue
	} else if t.Queue != "" {
		q, err := r.ch.QueueDeclarePassive(t.Queue, false, false, false, false, nil)
		if err != nil {
			return amqpError("consume", t.String(), err)
		}
		r.queue = t.Queue
		if o.UntilEnd {
			r.left = q.Messages
		}
	} else {
		if err := r.findExchange(); err != nil {
			return err
		}
		name, durable := "", false
		if o.Group != "" {
			name, durable = o.Group, true
		}
		exclusive = !durable
		q, err := r.ch.QueueDeclare(name, durable, false, exclusive, false, nil)
		if err != nil {
			return amqpError("consume", t.String(), err)
		}
		r.queue = q.Name
		if err := r.ch.QueueBind(q.Name, t.Key, t.Exchange, false, nil); err != nil {
			return amqpError("bind to", t.String(), err)
		}
	}
	if r.left == 0 {
		return nil // at the end before anything is asked for
	}
	if err := r.ch.Qos(r.window(o.N), 0, false); err != nil {
		return amqpError("consume", t.String(), err)
	}
	var err error
	r.deliveries, err = r.ch.Consume(r.queue, "", false, exclusive, false, false, nil)
	if err != nil {
		return amqpError("consume", t.String(), err)
	}
	return nil
}

// window is how many messages the broker may send ahead: never more than are wanted,
// which it would have to take back. One that peeks never settles, so it needs room
// for all it wants to see.
func (r *amqpReader) window(n int64) int {
	switch {
	case r.choosy, r.peek && (n == 0 || n > 65535):
		return 0 // no limit
	case n > 0 && (r.peek || n < prefetch):
		return int(n)
	}
	return prefetch
}

func (r *amqpReader) next(ctx context.Context) (*Message, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	for {
		var quiet <-chan time.Time
		if r.left > 0 {
			quiet = time.After(quietWait)
		}
		select {
		case d, ok := <-r.deliveries:
			if !ok {
				return nil, r.gone()
			}
			if r.left > 0 {
				r.left--
			}
			r.last = d
			return amqpMessage(r.target, r.queue, &d), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-quiet:
			// Others may have taken some meanwhile: an empty queue is an end too. What was on
			// its way to us when we asked has come before the answer.
			q, err := r.ch.QueueDeclarePassive(r.queue, false, false, false, false, nil)
			if err != nil {
				return nil, amqpError("consume", r.target.String(), err)
			}
			if q.Messages == 0 && len(r.deliveries) == 0 {
				if r.emptied {
					return nil, io.EOF
				}
				r.emptied = true // once more, for what the client is still handing on
			}
		}
	}
}

// quietWait is the silence after which a reader that wants the end of a queue asks
// whether it is there.
const quietWait = 200 * time.Millisecond

// gone tells why deliveries stopped: an error, or that the queue was deleted.
func (r *amqpReader) gone() error {
	if !r.conn.IsClosed() && !r.ch.IsClosed() {
		return fault.New(fault.NotFound, "consume", r.target.String(), "the queue was deleted")
	}
	return r.reason("consume")
}

func (r *amqpReader) settle(context.Context) error {
	if r.peek {
		return nil // leaving the connection puts it back in its place
	}
	if err := r.last.Ack(false); err != nil {
		return amqpError("acknowledge", r.target.String(), err)
	}
	return nil
}

// pass leaves a message of a queue in its place, and is done with one that came only for
// us.
func (r *amqpReader) pass(ctx context.Context) error {
	if r.choosy {
		return nil
	}
	return r.settle(ctx)
}

func (r *amqpReader) hold(meant bool) func() error {
	last := r.last
	return func() error {
		if r.peek || !meant && r.choosy {
			return nil
		}
		if err := last.Ack(false); err != nil {
			return amqpError("acknowledge", r.target.String(), err)
		}
		return nil
	}
}

func (r *amqpReader) waits() bool { return false }

// close leaves in order, which waits for the broker to have taken the last
// acknowledgement.
func (r *amqpReader) close() { r.leave() }

// amqpMessage reads AMQP's form.
func amqpMessage(t Target, queue string, d *amqp.Delivery) *Message {
	m := &Message{
		Protocol: AMQP, Target: t.String(), Exchange: d.Exchange, RoutingKey: d.RoutingKey, Value: d.Body, Time: time.Now(),
		Redelivered: d.Redelivered, Priority: d.Priority, Size: len(d.Body), Properties: map[string]string{},
	}
	if t.Queue != "" {
		m.Queue = queue
	}
	if m.Value == nil {
		m.Value = []byte{} // AMQP has no null
	}
	qos := uint8(0)
	if d.DeliveryMode == amqp.Persistent {
		qos = 1
	}
	m.QoS = &qos
	for name, value := range map[string]string{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo,
		MessageID: d.MessageId, Type: d.Type, AppID: d.AppId, UserID: d.UserId,
	} {
		setProperty(m, name, []byte(value))
	}
	if !d.Timestamp.IsZero() {
		m.Properties[Timestamp] = strconv.FormatInt(d.Timestamp.Unix(), 10)
	}
	if ms, err := strconv.ParseInt(d.Expiration, 10, 64); err == nil {
		m.ExpiresAt = m.Time.Add(time.Duration(ms) * time.Millisecond)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		value := d.Headers[name]
		if name == headerKey {
			m.Key = amqpText(value)
			continue
		}
		if many, ok := value.([]any); ok && !slices.ContainsFunc(many, func(v any) bool { _, s := v.(string); return !s }) {
			for _, v := range many {
				m.Headers = append(m.Headers, Header{Name: name, Value: amqpText(v)})
			}
			continue
		}
		m.Headers = append(m.Headers, Header{Name: name, Value: amqpText(value)})
	}
	return m
}

// amqpText writes a header's value as text: times as seconds since 1970, tables and
// arrays as JSON, bytes as they are. nil stays nil.
func amqpText(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []byte(v)
	case []byte:
		return v
	case time.Time:
		return strconv.AppendInt(nil, v.Unix(), 10)
	case amqp.Decimal:
		return decimalText(v)
	}
	b, err := json.Marshal(amqpJSON(v))
	if err != nil { // not-a-number is a legal AMQP double
		return fmt.Append(nil, v)
	}
	return b
}

// decimalText writes a decimal with its point: scale 2, value 150 is 1.50.
func decimalText(d amqp.Decimal) []byte {
	sign, digits := "", strconv.FormatInt(int64(d.Value), 10)
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	scale := int(d.Scale)
	if pad := scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	if scale > 0 {
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	return []byte(sign + digits)
}

// amqpJSON makes times inside tables seconds, as they are outside.
func amqpJSON(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Unix()
	case amqp.Decimal:
		return json.Number(decimalText(v))
	case amqp.Table:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = amqpJSON(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = amqpJSON(e)
		}
		return out
	}
	return v
}

// ---- errors

// amqpKinds gives a kind to AMQP's reply codes.
var amqpKinds = map[int]fault.Kind{
	amqp.ContentTooLarge:    fault.TooLarge,
	amqp.NoConsumers:        fault.NotFound,
	amqp.ConnectionForced:   fault.Unavailable,
	amqp.InvalidPath:        fault.Denied,
	amqp.AccessRefused:      fault.Denied,
	amqp.NotFound:           fault.NotFound,
	amqp.ResourceLocked:     fault.Locked,
	amqp.PreconditionFailed: fault.Conflict,
	amqp.NotAllowed:         fault.Denied,
	amqp.NotImplemented:     fault.Unsupported,
	amqp.ResourceError:      fault.Exhausted,
	amqp.InternalError:      fault.Unavailable,
}

func amqpError(op, target string, err error) error {
	if errors.Is(err, amqp.ErrCredentials) {
		return fault.New(fault.Unauthorized, op, target, "bad user name or password")
	}
	if errors.Is(err, amqp.ErrVhost) {
		return fault.New(fault.Denied, op, target, "no access to the virtual host")
	}
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		kind, ok := amqpKinds[e.Code]
		if !ok {
			kind = fault.Unavailable
		}
		return fault.New(kind, op, target, "%s", e.Reason)
	}
	if opErr, ok := errors.AsType[*net.OpError](err); ok && opErr.Err != nil {
		err = opErr.Err // the address stands in the message already
	}
	return fault.New(fault.Unavailable, op, target, "%w", err)
}
