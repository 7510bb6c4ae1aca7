// Package recording is the file of what was published to a broker and committed, in the order in which it
// was: messages with where they went, batches of Kafka producers as they came, and, where something had to
// be left out, how much.
//
// The file is a row of frames (broker/internal/frame): about first, then items and marks, then the end. A
// file without its end was cut short, and is read as far as it goes. docs/format/recording.md draws it.
package recording

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/internal/frame"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// What stands first in the file, and its version. The line end is damaged by who takes it for text.
const (
	magic   = "RMQREC\r\n"
	version = 1
)

// Kinds of frames. Integers are little-endian; a text is its length (uvarint) and bytes.
//
//	about    JSON: About
//	message  time i64, namespace text, how u8 (bit 0: by an exchange), exchange text, key text,
//	         further keys: their number (uvarint) and a text each; then one batch that the broker made, of
//	         one record that rests in no stream
//	batch    time i64, namespace text, address text, partition and partitions (uvarint), acks u8; then the
//	         batch as its producer made it
//	mark     time i64, left out u64: how much so far. What was committed until then stands before it
const (
	kindAbout   = 1
	kindMessage = 2
	kindBatch   = 3
	kindMark    = 4
)

// ItemMax bounds the bytes of an item's batch: a message may have 32 MiB.
const ItemMax = 40 << 20

// keysMax bounds the further keys of a message.
const keysMax = 1 << 16

var (
	// ErrCorrupt: the file is damaged, or none.
	ErrCorrupt = frame.ErrCorrupt
	// ErrVersion: written by a newer release.
	ErrVersion = frame.ErrVersion
	// ErrTorn: the file was cut short; what was read of it is whole.
	ErrTorn = frame.ErrTorn
)

// About says what a recording is of.
type About struct {
	Release string    `json:"rmq"`               // that wrote it
	Begun   time.Time `json:"begun"`             // by broker time
	Virtual bool      `json:"virtual,omitempty"` // broker time was
	Cluster string    `json:"cluster,omitempty"`
	Profile string    `json:"profile,omitempty"`
}

// Item is one message, or one batch of a Kafka producer, that was committed.
type Item struct {
	Time      int64 // broker time at which it came in, ms since 1970
	Namespace string

	// Of a message: how it was routed, as kernel.Publish has it.
	ViaExchange   bool
	Exchange, Key string
	Keys          []string

	// Of a Kafka producer's batch, which Kafka says this is of: the address of its stream, which of how many
	// partitions, and whether the producer asked to be answered.
	Kafka                 bool
	Address               string
	Partition, Partitions int32
	Acks                  bool

	Batch record.Batch
}

// Message returns the message of an item that is one; it shares the item's memory.
func (it *Item) Message() (m message.Message, err error) {
	if it.Kafka {
		return m, fmt.Errorf("%w: it is a batch", ErrCorrupt)
	}
	n := 0
	err = it.Batch.Each(func(r *record.Record) error {
		m = message.FromRecord(r.Key, r.Value, slices.Clone(r.Headers), r.Time, "", true)
		n++
		return nil
	})
	if err == nil && (n != 1 || m.QoS > 2) {
		err = fmt.Errorf("%w: %d records, QoS %d", ErrCorrupt, n, m.QoS)
	}
	return m, err
}

// Each calls fn with the messages of an item, which fn must not keep.
func (it *Item) Each(fn func(m *message.Message) error) error {
	if !it.Kafka {
		m, err := it.Message()
		if err != nil {
			return err
		}
		return fn(&m)
	}
	return it.Batch.Each(func(r *record.Record) error {
		m := message.FromRecord(r.Key, r.Value, r.Headers, r.Time, it.Address, false)
		if !it.Acks {
			m.QoS = 0
		}
		return fn(&m)
	})
}

// Only leaves of an item the messages that meant tells of; how many go. All of them: nothing is left.
func (it *Item) Only(meant func(m *message.Message) bool) (passed int, err error) {
	total := 0
	var kept record.Builder
	kept.Reset(nil, it.Batch.BaseTime())
	if !it.Kafka {
		err := it.Each(func(m *message.Message) error {
			total++
			if !meant(m) {
				passed++
			}
			return nil
		})
		if passed > 0 {
			it.Batch = nil
		}
		return passed, err
	}
	err = it.Batch.Each(func(r *record.Record) error {
		total++
		m := message.FromRecord(r.Key, r.Value, slices.Clone(r.Headers), r.Time, it.Address, false)
		if !meant(&m) {
			passed++
			return nil
		}
		kept.Add(r.Time, r.Key, r.Value, r.Headers...)
		return nil
	})
	switch {
	case err != nil || passed == 0:
	case passed == total:
		it.Batch = nil
	default:
		it.Batch = kept.Finish()
	}
	return passed, err
}

// Rename gives an item another address, as to says of its own; the routing key of a message that went by an
// exchange follows it.
func (it *Item) Rename(to func(address string) string) error {
	if it.Kafka {
		it.Address = to(it.Address)
		return nil
	}
	m, err := it.Message()
	if err != nil {
		return err
	}
	if it.ViaExchange {
		it.Key = renameKey(it.Key, to)
		for i := range it.Keys {
			it.Keys[i] = renameKey(it.Keys[i], to)
		}
		m.Address = message.AddressOf(it.Exchange, it.Key)
		if x, _, content, ok := message.SplitAMQPNative(m.Native); ok && m.Source == message.AMQP {
			m.Native = message.AppendAMQPNative(nil, string(x), it.Key, content)
		}
	} else {
		m.Address = to(m.Address)
	}
	it.Batch = Made(&m)
	return nil
}

// renameKey is a routing key whose address is another. One that stays is as it was spelled.
func renameKey(key string, to func(string) string) string {
	address := message.FromAMQPKey(key)
	if other := to(address); other != address {
		return message.AMQPKey(other)
	}
	return key
}

// Made is a message as a batch of its own, that rests in no stream.
func Made(m *message.Message) record.Batch {
	var b record.Builder
	b.Reset(nil, m.Time)
	b.MarkMade()
	b.Add(m.Time, message.RecordKey(m, ""), m.Value, message.AppendRecordHeaders(nil, m, "")...)
	return b.Finish()
}

// Writer writes a recording.
type Writer struct {
	f    *frame.Writer
	buf  []byte
	left uint64 // of the last mark
}

// NewWriter begins a recording.
func NewWriter(w io.Writer, a About) (*Writer, error) {
	about, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	out := &Writer{f: frame.NewWriter(w, magic, version)}
	return out, out.f.Frame(kindAbout, about)
}

// Item adds an item.
func (w *Writer) Item(it *Item) error {
	b := binary.LittleEndian.AppendUint64(w.buf[:0], uint64(it.Time))
	b = appendText(b, it.Namespace)
	kind := byte(kindMessage)
	if it.Kafka {
		kind = kindBatch
		b = appendText(b, it.Address)
		b = binary.AppendUvarint(b, uint64(it.Partition))
		b = binary.AppendUvarint(b, uint64(it.Partitions))
		b = append(b, oneOf(it.Acks))
	} else {
		b = append(b, oneOf(it.ViaExchange))
		b = appendText(appendText(b, it.Exchange), it.Key)
		b = binary.AppendUvarint(b, uint64(len(it.Keys)))
		for _, key := range it.Keys {
			b = appendText(b, key)
		}
	}
	w.buf = append(b, it.Batch...)
	return w.f.Frame(kind, w.buf)
}

// Mark says that all that was committed until a time, and was not left out, has been written.
func (w *Writer) Mark(m Mark) error {
	b := binary.LittleEndian.AppendUint64(w.buf[:0], uint64(m.Time))
	w.buf = binary.LittleEndian.AppendUint64(b, m.LeftOut)
	w.left = m.LeftOut
	return w.f.Frame(kindMark, w.buf)
}

// End ends the recording.
func (w *Writer) End() error {
	_, err := w.f.End()
	return err
}

// Mark is how far a recording is.
type Mark struct {
	Time    int64 // broker time, ms since 1970
	LeftOut uint64
}

func oneOf(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reader reads a recording.
type Reader struct {
	About
	f *frame.Reader
}

// NewReader begins to read a recording.
func NewReader(r io.Reader) (*Reader, error) {
	f, err := frame.NewReader(r, magic, version)
	if err != nil {
		return nil, err
	}
	in := &Reader{f: f}
	kind, body, err := f.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, malformed("it does not say what it is of")
	case err != nil:
		return nil, err
	case kind != kindAbout:
		return nil, malformed("what it is of is to be said first")
	}
	if err := json.Unmarshal(body, &in.About); err != nil {
		return nil, malformed("what it is of: %v", err)
	}
	return in, nil
}

// Next returns the next item, or, with nil, a mark. An item is the caller's. io.EOF: there is no more.
// ErrTorn: there was, and it is lost.
func (r *Reader) Next() (*Item, Mark, error) {
	kind, body, err := r.f.Next()
	if err != nil {
		return nil, Mark{}, err
	}
	p := parser{b: body}
	at := int64(p.u64())
	switch kind {
	case kindMark:
		m := Mark{Time: at, LeftOut: p.u64()}
		if p.bad || len(p.b) > 0 {
			return nil, Mark{}, malformed("a mark of %d bytes", len(body))
		}
		return nil, m, nil
	case kindMessage, kindBatch:
	default:
		return nil, Mark{}, malformed("a frame of kind %d", kind)
	}
	it := &Item{Time: at, Namespace: p.text(), Kafka: kind == kindBatch}
	if it.Kafka {
		it.Address = p.text()
		it.Partition, it.Partitions = p.number(), p.number()
		it.Acks = p.flag()
	} else {
		it.ViaExchange = p.flag()
		it.Exchange, it.Key = p.text(), p.text()
		n := p.uvarint()
		if n > keysMax {
			p.bad = true
		}
		for range n {
			if p.bad {
				break
			}
			it.Keys = append(it.Keys, p.text())
		}
	}
	if p.bad {
		return nil, Mark{}, malformed("an item that is cut short")
	}
	if len(it.Exchange) > message.AMQPNameMax || len(it.Key) > message.AMQPNameMax ||
		slices.ContainsFunc(it.Keys, func(k string) bool { return len(k) > message.AMQPNameMax }) {
		return nil, Mark{}, malformed("a name of AMQP of more than %d bytes", message.AMQPNameMax)
	}
	b, rest, err := record.Check(slices.Clone(p.b), ItemMax)
	if err != nil || len(rest) > 0 || b.Control() || b.Made() == it.Kafka || b.Count() < 1 {
		return nil, Mark{}, malformed("an item whose batch is none: %v", err)
	}
	it.Batch = b
	if !it.Kafka {
		if b.Count() != 1 || b.Codec() != record.None {
			return nil, Mark{}, malformed("a message of %d records", b.Count())
		}
		if _, err := it.Message(); err != nil {
			return nil, Mark{}, malformed("a message that is none: %v", err)
		}
	} else if it.Partition >= it.Partitions || it.Address == "" {
		return nil, Mark{}, malformed("a batch of partition %d of %d of %q", it.Partition, it.Partitions, it.Address)
	}
	return it, Mark{}, nil
}

// Bytes is how many bytes of whole frames were read.
func (r *Reader) Bytes() int64 { return r.f.Bytes() }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// parser cuts fields off a body; bad once there was none.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.b)) {
		p.bad = true
		return nil
	}
	f := p.b[:n]
	p.b = p.b[n:]
	return f
}

func (p *parser) u64() uint64 {
	b := p.take(8)
	if p.bad {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (p *parser) uvarint() uint64 {
	n, width := binary.Uvarint(p.b)
	if width <= 0 || width > 1 && p.b[width-1] == 0 { // one spelling each
		p.bad = true
		return 0
	}
	p.take(uint64(width))
	return n
}

func (p *parser) text() string { return string(p.take(p.uvarint())) }

func (p *parser) number() int32 {
	n := p.uvarint()
	if n > 1<<31-1 {
		p.bad = true
	}
	return int32(n)
}

func (p *parser) flag() bool {
	b := p.take(1)
	if p.bad || b[0] > 1 {
		p.bad = true
		return false
	}
	return b[0] == 1
}

// Moves are the renamings of a replay: an address and all below it becomes another, and what is below that.
type Moves []struct{ From, To string }

// Add reads "from=to", both in MQTT spelling.
func (m *Moves) Add(text string) error {
	from, to, ok := strings.Cut(text, "=")
	if !ok || from == "" || to == "" || strings.ContainsAny(text, "+#\x00") {
		return fmt.Errorf("%q is not from=to, two topics as MQTT spells them", text)
	}
	*m = append(*m, struct{ From, To string }{from, to})
	return nil
}

// Of is what an address becomes by the first that is about it.
func (m Moves) Of(address string) string {
	for _, one := range m {
		if address == one.From {
			return one.To
		}
		if message.Below(address, one.From) {
			return one.To + address[len(one.From):]
		}
	}
	return address
}
