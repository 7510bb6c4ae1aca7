package shard

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/record"
)

// Description is an entry taken apart for a person. Batches alias the entry.
type Description struct {
	Header
	Batches  []DescribedBatch
	Commands []DescribedCommand
}

// DescribedBatch is a batch of an entry, before it has its offset.
type DescribedBatch struct {
	Log   uint64
	Once  Once // zero: it may come more than once
	Batch record.Batch
}

// DescribedCommand is a command and its fields, in the order in which they stand.
type DescribedCommand struct {
	Op     string
	Fields []DescribedField
}

// DescribedField is one field. Value is a number, a bool, a string, []uint64, or Once.
type DescribedField struct {
	Name  string
	Value any
}

// String is how a command reads in a line: credit queue=5 attachment=3 n=10.
func (c DescribedCommand) String() string {
	var b strings.Builder
	b.WriteString(c.Op)
	for _, f := range c.Fields {
		switch v := f.Value.(type) {
		case string:
			fmt.Fprintf(&b, " %s=%q", f.Name, v)
		default:
			fmt.Fprintf(&b, " %s=%v", f.Name, v)
		}
	}
	return b.String()
}

// commands names each command and its fields, as its Builder method writes them:
// name:type, where the type is u unsigned, i signed, b bool, y one byte, s string, x bytes
// (their length is told), n bytes or none, l list of unsigned, o Once, j JSON.
var commands = [...]struct{ name, fields string }{
	OpRoute:        {"route", "batch:u record:i namespace:s address:s queues:l sessions:b size:u expires:i priority:y qos:y retain:b from:s to:s"},
	OpRetain:       {"retain", "namespace:s address:s batch:i record:i expires:i"},
	OpCreateLog:    {"create-log", "log:u address:s"},
	OpDeleteLog:    {"delete-log", "log:u"},
	OpTrim:         {"trim", "log:u start:i"},
	OpCreateQueue:  {"create-queue", "queue:u ttl:i max-length:i max-bytes:i delivery-limit:i overflow:y max-priority:y dead-letter:b single-active:b expires:i"},
	OpDeleteQueue:  {"delete-queue", "queue:u if-unused:b if-empty:b"},
	OpPurge:        {"purge", "queue:u"},
	OpAttach:       {"attach", "queue:u attachment:u credit:i no-ack:b exclusive:b pull:b refill:b priority:i"},
	OpDetach:       {"detach", "queue:u attachment:u lost:b"},
	OpCancel:       {"cancel", "queue:u attachment:u"},
	OpCredit:       {"credit", "queue:u attachment:u n:i"},
	OpGet:          {"get", "queue:u attachment:u"},
	OpSettle:       {"settle", "queue:u attachment:u delivery:u multiple:b outcome:y"},
	OpDeadLettered: {"dead-lettered", "queue:u message:u"},
	OpOpenSession:  {"open-session", "session:s epoch:u clean:b expiry:u receive-max:u will:n will-delay:u"},
	OpStart:        {"start", "session:s epoch:u packet:u"},
	OpCloseSession: {"close-session", "session:s epoch:u will:b expiry-plus-one:u end:b"},
	OpSubscribe:    {"subscribe", "session:s filter:s id:u qos:y retain-handling:y no-local:b retain-as-published:b"},
	OpUnsubscribe:  {"unsubscribe", "session:s filter:s"},
	OpAck:          {"ack", "session:s epoch:u packet:u ok:b"},
	OpReceived:     {"received", "session:s epoch:u packet:u"},
	OpIncoming:     {"incoming", "session:s epoch:u packet:u"},
	OpRelease:      {"release", "session:s epoch:u packet:u"},
	OpTick:         {"tick", ""},
	OpGroup:        {"group", "command:j"},
	OpRefuse:       {"refuse", "session:s epoch:u packet:u"},
	OpForget:       {"forget", "once:o"},
	OpDelay:        {"delay", "batch:u record:u due:i envelope:x"},
	OpDelayed:      {"delayed", "message:u"},
	OpHandOver:     {"hand-over", "batch:u record:u session:s epoch:u share:u size:u expires:i retain:b"},
	OpDispatch:     {"dispatch", "queue:u how:y"},
}

// String is the command's name.
func (o Op) String() string {
	if int(o) < len(commands) && commands[o].name != "" {
		return commands[o].name
	}
	return fmt.Sprintf("command %d", uint8(o))
}

// HeaderOf returns the header of an entry.
func HeaderOf(entry []byte) (Header, error) {
	h, _, err := parseHeader(entry)
	return h, err
}

// Describe takes an entry apart. What comes before an error is described.
func Describe(data []byte) (d Description, err error) {
	var rest []byte
	if d.Header, rest, err = parseHeader(data); err != nil {
		return d, err
	}
	r := codec.NewReader(rest)
	for range r.Count() {
		log, once, raw := r.Uint(), readOnce(&r), r.Bytes()
		if r.Err() != nil {
			return d, r.Err()
		}
		b, left, err := record.Next(raw)
		if err != nil || len(left) > 0 {
			return d, fmt.Errorf("batch %d: malformed, %d bytes", len(d.Batches), len(raw))
		}
		d.Batches = append(d.Batches, DescribedBatch{Log: log, Once: once, Batch: b})
	}
	for r.Len() > 0 && r.Err() == nil {
		o := Op(r.Byte())
		if int(o) >= len(commands) || commands[o].name == "" {
			return d, fmt.Errorf("command %d is unknown", o)
		}
		c := DescribedCommand{Op: commands[o].name}
		for field := range strings.FieldsSeq(commands[o].fields) {
			name, kind, _ := strings.Cut(field, ":")
			c.Fields = append(c.Fields, DescribedField{name, readField(&r, kind)})
		}
		if r.Err() != nil {
			return d, fmt.Errorf("%s: %w", c.Op, r.Err())
		}
		d.Commands = append(d.Commands, c)
	}
	return d, r.Err()
}

func readField(r *codec.Reader, kind string) any {
	switch kind {
	case "u":
		return r.Uint()
	case "i":
		return r.Int()
	case "b":
		return r.Bool()
	case "y":
		return r.Byte()
	case "s", "j":
		return r.String()
	case "x":
		return fmt.Sprintf("%d bytes", len(r.Bytes()))
	case "n":
		if b := r.Nullable(); b != nil {
			return fmt.Sprintf("%d bytes", len(b))
		}
		return "none"
	case "l":
		list := make([]uint64, 0, 4)
		for range r.Count() {
			list = append(list, r.Uint())
		}
		return list
	case "o":
		return readOnce(r)
	}
	panic("shard: a field of kind " + kind)
}

// String is how a Once reads in a line.
func (o Once) String() string {
	if o == (Once{}) {
		return "none"
	}
	return fmt.Sprintf("session %d packet %d use %d", o.Session, o.PacketID, o.N)
}

// KeyDescription is a key of a shard's checkpoint, for a person.
type KeyDescription struct {
	Kind string // carried, clock, delayed, grave, group, log, qos2, queue, retained, session
	Of   string // which one: a number, or a name
	Part string // which part of it: "head", "page", "member"…; "" when it has one
	Text string // what the value says, where it is short; "" otherwise
}

// DescribeKey says what a key of a shard's checkpoint is. false: it is none.
func DescribeKey(k, v []byte) (d KeyDescription, ok bool) {
	if len(k) == 0 {
		return d, false
	}
	number := func(b []byte) (uint64, bool) {
		if len(b) < 8 {
			return 0, false
		}
		return binary.BigEndian.Uint64(b), true
	}
	switch k[0] {
	case 'c':
		r := codec.NewReader(v)
		now, _, _, _, links := r.Int(), r.Int(), r.Uint(), r.Uint(), r.Count()
		return KeyDescription{Kind: "clock", Text: fmt.Sprintf("time %d, %d proposers", now, links)}, len(k) == 1
	case 'd':
		n, ok := number(k[1:])
		return KeyDescription{Kind: "delayed", Of: fmt.Sprint(n)}, ok
	case 'l':
		return describeLogKey(k, v)
	case 'o':
		n, ok := number(k[1:])
		return KeyDescription{Kind: "qos2", Of: fmt.Sprint(n)}, ok && len(k) == 11
	case 'q', 'x':
		n, ok := number(k[1:])
		if !ok || len(k) < 10 {
			return d, false
		}
		kind := "queue"
		if k[0] == 'x' { // one that is gone, of which something is left
			kind = "grave"
		}
		return KeyDescription{Kind: kind, Of: fmt.Sprint(n), Part: queuePart(k[9:])}, true
	case 'r':
		return KeyDescription{Kind: "retained", Of: printable(string(k[1:]))}, true
	case Carried:
		n, ok := number(k[1:])
		return KeyDescription{Kind: "carried", Of: fmt.Sprint(n), Text: fmt.Sprintf("a batch of %d bytes that its segment lacks", len(v))}, ok && len(k) == 17
	case 's', 'g':
		name, rest, err := unnamed(k)
		if err != nil || len(rest) == 0 {
			return d, false
		}
		d = KeyDescription{Kind: map[byte]string{'s': "session", 'g': "group"}[k[0]], Of: printable(name)}
		switch rest[0] {
		case 'h':
			d.Part = "deadline"
		case 'o':
			d.Part = ownPart(k[0], rest[1:])
		case 'p':
			d.Part = "backlog " + queuePart(append([]byte{'p'}, rest[1:]...))
		}
		return d, true
	}
	return d, false
}

// describeLogKey says what a piece of a log is.
func describeLogKey(k, v []byte) (d KeyDescription, ok bool) {
	if len(k) < 10 {
		return d, false
	}
	id, kind, rest := binary.BigEndian.Uint64(k[1:]), k[9], k[10:]
	d = KeyDescription{Kind: "log", Of: fmt.Sprint(id)}
	if kind == logHead {
		d.Part = "head"
		if l, err := decodeLogHead(id, v); err == nil {
			d.Text = fmt.Sprintf("offsets %d to %d, epoch %d", l.Start, l.Next, l.Epoch)
			if l.Address != "" {
				d.Text = fmt.Sprintf("%q, ", l.Address) + d.Text
			}
			if l.Deleted {
				d.Text += ", deleted"
			}
		}
		return d, len(rest) == 0
	}
	if len(rest) != 8 {
		return d, false
	}
	n := int64(binary.BigEndian.Uint64(rest))
	switch kind {
	case logProducer:
		d.Part = fmt.Sprintf("producer %d", n)
		if p, err := decodeProducer(v); err == nil {
			d.Text = fmt.Sprintf("epoch %d, sequence %d", p.epoch, p.batches[p.n-1].last)
		}
	case logPage:
		d.Part = "page"
		var l Log
		if l.decodePage(n, v) == nil {
			d.Text = fmt.Sprintf("%d batches from offset %d on are referred to", l.Referred(), l.oldest())
		}
	default:
		return d, false
	}
	return d, true
}

// queuePart names what comes after a queue's number.
func queuePart(k []byte) string {
	if len(k) < 2 {
		return "deadline"
	}
	switch k[1] {
	case 'a':
		return "attachment"
	case 'h':
		return "head"
	case 'p':
		return "page"
	case 't':
		return "purged page"
	}
	return fmt.Sprintf("%q", k[1:])
}

func ownPart(kind byte, k []byte) string {
	if len(k) == 0 {
		return ""
	}
	switch string([]byte{kind, k[0]}) {
	case "sh", "gh":
		return "head"
	case "ss":
		return "subscriptions"
	case "gm":
		return "member " + printable(string(k[1:]))
	case "go":
		return "offsets of " + printable(string(k[1:]))
	case "gt":
		return "transaction"
	}
	return fmt.Sprintf("%q", k)
}

// printable shows a name that holds its namespace and a zero before it.
func printable(name string) string {
	if ns, rest, ok := strings.Cut(name, "\x00"); ok && ns == "/" {
		return rest
	}
	return strings.ReplaceAll(name, "\x00", " ")
}
