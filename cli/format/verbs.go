package format

import (
	"errors"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
)

// verb is a field of a message, and how it is written when nothing else is said.
type verb struct {
	letter byte
	name   string
	// One of these:
	text   func(it *Item) []byte
	number func(it *Item) (n int64, ok bool)
	time   func(it *Item) time.Time
	// inHeader: it stands in %h{…} too, for a header.
	inHeader bool
}

// verbs are in the order in which they are told.
var verbs = []verb{
	{letter: 't', name: "topic: MQTT topic, Kafka topic, AMQP routing key", text: topicOf},
	{letter: 'k', name: "key; in `%h{…}` the name of a header", text: func(it *Item) []byte { return it.Message.Key }, inHeader: true},
	{letter: 'v', name: "value; in `%h{…}` that of a header", text: func(it *Item) []byte { return it.Message.Value }, inHeader: true},
	{letter: 'T', name: "length of the topic, in bytes", number: lengthOf(topicOf)},
	{letter: 'K', name: "length of the key; in `%h{…}` of a header's name", number: lengthOf(func(it *Item) []byte { return it.Message.Key }), inHeader: true},
	{letter: 'V', name: "length of the value; in `%h{…}` of a header's", number: lengthOf(func(it *Item) []byte { return it.Message.Value }), inHeader: true},
	{letter: 'h', name: "each header, by the format in its braces: `%h{%k=%v }`"},
	{letter: 'H', name: "how many headers", number: func(it *Item) (int64, bool) { return int64(len(it.Message.Headers)), true }},
	{letter: 'p', name: "Kafka partition", number: func(it *Item) (int64, bool) {
		if p := it.Message.Partition; p != nil {
			return int64(*p), true
		}
		return -1, false
	}},
	{letter: 'o', name: "Kafka offset", number: func(it *Item) (int64, bool) {
		if o := it.Message.Offset; o != nil {
			return *o, true
		}
		return -1, false
	}},
	{letter: 'd', name: "time", time: func(it *Item) time.Time { return it.Message.Time }},
	{letter: 'i', name: "number of the message, from 1; in `%h{…}` of the header", number: func(it *Item) (int64, bool) { return it.N, true }, inHeader: true},
	{letter: 'j', name: "the whole message as one line of JSON, as by `-o json`", text: wholeJSON},
	{letter: '(', name: "`%(EXPR)`: what an expression of the filter language says: `%(json.price * 2)`, `%(qos)`, `%(headers[\"x\"])`"},
}

// otherVerbs are fields that rpk has, of what clients of Kafka alone are told.
var otherVerbs = map[byte]string{
	'a': "a record's attributes", 'e': "the leader epoch", 'x': "the producer id", 'y': "the producer epoch",
	'[': "the log start offset", '|': "the last stable offset", ']': "the high watermark",
}

func verbOf(letter byte) *verb {
	for i := range verbs {
		if verbs[i].letter == letter {
			return &verbs[i]
		}
	}
	return nil
}

func verbList() string {
	var b strings.Builder
	for i, v := range verbs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("%" + string(v.letter))
	}
	return b.String() + "EXPR)"
}

func topicOf(it *Item) []byte {
	m := it.Message
	for _, s := range []string{m.Topic, m.Address, m.RoutingKey} {
		if s != "" {
			return []byte(s)
		}
	}
	return nil
}

func lengthOf(text func(*Item) []byte) func(*Item) (int64, bool) {
	return func(it *Item) (int64, bool) { return int64(len(text(it))), true }
}

func wholeJSON(it *Item) []byte {
	b, err := Line(it, it.JSON != nil)
	if err != nil {
		return nil // it has been JSON before
	}
	return b
}

// compiler makes parts of nodes.
type compiler struct {
	source string
	now    func() time.Time
}

func (c *compiler) parts(nodes []node) ([]part, error) {
	var out []part
	for _, n := range nodes {
		p, err := c.part(n)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (c *compiler) part(n node) (part, error) {
	if n.verb == 0 {
		text := n.text
		return func(dst []byte, _ *Item) []byte { return append(dst, text...) }, nil
	}
	if n.verb == 'h' {
		return c.headers(n)
	}
	v := verbOf(n.verb)
	switch {
	case n.verb == '(':
		return c.expression(n)
	case v.time != nil:
		write, err := c.timeModifier(n)
		if err != nil {
			return nil, err
		}
		return func(dst []byte, it *Item) []byte { return write(dst, v.time(it)) }, nil
	case v.number != nil:
		write, err := c.numberModifier(n)
		if err != nil {
			return nil, err
		}
		return func(dst []byte, it *Item) []byte {
			n, ok := v.number(it)
			return write(dst, n, ok)
		}, nil
	}
	if n.verb == 'j' && n.modifier != "" {
		return nil, &Error{Source: c.source, Pos: n.at, What: "%j has no modifier"}
	}
	write, err := c.textModifier(n)
	if err != nil {
		return nil, err
	}
	if n.verb == 'v' {
		return func(dst []byte, it *Item) []byte { return write(dst, it.Message.Value, it.JSON) }, nil
	}
	return func(dst []byte, it *Item) []byte { return write(dst, v.text(it), nil) }, nil
}

// headers writes each header as if it were a message of its own, whose key is its name.
func (c *compiler) headers(n node) (part, error) {
	parts, err := c.parts(n.inner)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, it *Item) []byte {
		for i, h := range it.Message.Headers {
			header := Item{Message: &adminapi.Message{Key: []byte(h.Name), Value: h.Value}, N: int64(i) + 1}
			for _, p := range parts {
				dst = p(dst, &header)
			}
		}
		return dst
	}, nil
}

func (c *compiler) expression(n node) (part, error) {
	x, err := filter.CompilePrinter(n.expr, filter.Options{Now: c.now})
	if err != nil {
		e := &Error{Source: c.source, Pos: n.pos + 2, What: err.Error()}
		if f, ok := errors.AsType[*filter.Error](err); ok {
			e.Pos, e.What, e.Hint = n.pos+2+f.Pos, f.What, f.Hint
		}
		return nil, e
	}
	write, err := c.textModifier(n)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, it *Item) []byte {
		text, ok := x.Append(nil, it.ForFilter())
		if !ok {
			return dst
		}
		return write(dst, text, nil)
	}, nil
}
