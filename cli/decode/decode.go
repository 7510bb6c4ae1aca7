// Package decode makes JSON of what messages hold: JSON, Avro, Protobuf, CBOR, MessagePack
// and Sparkplug B, so that filters, jq and formats see into all of them alike.
//
// A Decoder is told what values are (Kind), or finds it out by itself (Auto): by the
// content type, by the topic of Sparkplug, by the magic byte and the schema id that
// clients of a schema registry put before a value, and by the bytes. Schemas come from a
// file or from a registry.
//
// # Bounds
//
// A value comes from anybody. A decoder makes at most nodesMax values of one, nested at
// most depthMax deep, and allocates nothing by a length that the bytes behind it do not
// bear out.
//
// # Files
//
//	decode.go      Decoder, Auto, budget
//	json.go        the tree that decoders make, as JSON
//	cbor.go        CBOR (RFC 8949)
//	msgpack.go     MessagePack
//	avro.go        Avro, binary encoding; avro_schema.go its schemas
//	protobuf.go    Protobuf, with a schema and without
//	sparkplug.go   Sparkplug B
//	registry.go    schemas by id
package decode

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Kinds of values.
const (
	Auto      = "auto"
	JSON      = "json"
	Avro      = "avro"
	Protobuf  = "protobuf"
	CBOR      = "cbor"
	MsgPack   = "msgpack"
	Sparkplug = "sparkplug"
	Text      = "text"
	Hex       = "hex"

	// Registered is what Decode found by the schema id that a value begins with.
	Registered = "registry"
)

// Kinds lists what a value may be said to be.
var Kinds = []string{Auto, JSON, Avro, Protobuf, CBOR, MsgPack, Sparkplug, Text, Hex}

const (
	nodesMax = 1 << 20 // values made of one
	depthMax = 64      // levels of nesting
)

// Options say what values are.
type Options struct {
	Kind     string
	Schema   string // FILE or FILE:TYPE, of Avro or Protobuf
	Registry string // URL of a schema registry; "": none
	HTTP     *http.Client
}

// Decoder makes JSON of values. It is not for several goroutines at once.
type Decoder struct {
	kind     string
	avro     *avroType
	proto    *protoType
	registry *registry
}

// New reads the schema, if there is one.
func New(o Options) (*Decoder, error) {
	d := &Decoder{kind: o.Kind}
	if !slices.Contains(Kinds, o.Kind) {
		return nil, fmt.Errorf("%q is none of %s", o.Kind, strings.Join(Kinds, ", "))
	}
	if o.Registry != "" {
		var err error
		if d.registry, err = newRegistry(o.Registry, o.HTTP); err != nil {
			return nil, err
		}
	}
	switch {
	case o.Schema != "":
		return d, d.readSchema(o.Schema)
	case o.Kind == Avro && d.registry == nil:
		return nil, errors.New("avro cannot be read without its schema: give --schema FILE.avsc, or --registry URL")
	}
	return d, nil
}

// readSchema reads FILE or FILE:TYPE.
func (d *Decoder) readSchema(name string) error {
	file, typ := splitSchema(name)
	protobuf := strings.HasSuffix(file, ".proto") || strings.HasSuffix(file, ".binpb") || strings.HasSuffix(file, ".desc") || strings.HasSuffix(file, ".pb")
	var err error
	switch {
	case d.kind == Protobuf, d.kind == Auto && protobuf:
		d.proto, err = readProtoFile(file, typ)
	case d.kind == Avro, d.kind == Auto:
		d.avro, err = readAvroFile(file, typ)
	default:
		err = fmt.Errorf("%s has no schema", d.kind)
	}
	return err
}

// splitSchema splits FILE:TYPE. A drive (C:\x) is no type.
func splitSchema(s string) (file, typ string) {
	i := strings.LastIndexByte(s, ':')
	if i <= 1 || strings.ContainsAny(s[i:], `/\`) {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// ErrNotKnown says that nothing tells what a value is.
var ErrNotKnown = errors.New("nothing tells what it is")

// Decode returns what a message's value is, as JSON in one line, and which kind it was. A
// nil value is none: null.
func (d *Decoder) Decode(ctx context.Context, m *adminapi.Message) (doc []byte, kind string, err error) {
	if m.Value == nil {
		return []byte("null"), d.kind, nil
	}
	kind = d.kind
	if kind == Auto {
		if kind = d.guess(m); kind == "" {
			return nil, "", ErrNotKnown
		}
	}
	v, err := d.decode(ctx, kind, m.Value)
	if err != nil {
		return nil, kind, fmt.Errorf("%s: %w", kind, err)
	}
	if doc, err = encode(v); err != nil {
		return nil, kind, fmt.Errorf("%s: %w", kind, err)
	}
	return doc, kind, nil
}

// guess tells what a value is; "" when nothing does.
func (d *Decoder) guess(m *adminapi.Message) string {
	value := m.Value
	switch {
	case strings.HasPrefix(m.Topic, sparkplugRoot) && !strings.HasPrefix(m.Topic, sparkplugRoot+"STATE/"):
		return Sparkplug
	case d.registry != nil && framed(value):
		return Registered
	case d.avro != nil:
		return Avro
	case d.proto != nil:
		return Protobuf
	}
	if kind := byContentType(contentType(m)); kind != "" {
		return kind
	}
	switch {
	case json.Valid(value):
		return JSON
	case utf8.Valid(value):
		return Text
	case tries(decodeCBOR, value, 0xa0, 0xbf): // a map is told from the others' bytes
		return CBOR
	case tries(decodeMsgPack, value, 0x80, 0x8f), tries(decodeMsgPack, value, 0xde, 0xdf):
		return MsgPack
	}
	return ""
}

// tries tells whether a value that begins as a map can be decoded to its end.
func tries(decode func(*budget, []byte) (any, error), value []byte, from, to byte) bool {
	if len(value) < 2 || value[0] < from || value[0] > to {
		return false
	}
	_, err := decode(newBudget(), value)
	return err == nil
}

func contentType(m *adminapi.Message) string {
	if t, ok := m.Properties["content-type"]; ok {
		return t
	}
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, "content-type") {
			return string(h.Value)
		}
	}
	return ""
}

// byContentType is the kind that a media type names. One of Avro or Protobuf is of no use
// without a schema.
func byContentType(t string) string {
	t, _, _ = strings.Cut(strings.ToLower(t), ";")
	t = strings.TrimSpace(t)
	switch {
	case t == "application/json" || strings.HasSuffix(t, "+json"):
		return JSON
	case t == "application/cbor" || strings.HasSuffix(t, "+cbor"):
		return CBOR
	case t == "application/msgpack" || t == "application/x-msgpack" || t == "application/vnd.msgpack":
		return MsgPack
	case t == "application/protobuf" || t == "application/x-protobuf":
		return Protobuf
	case strings.HasPrefix(t, "text/"):
		return Text
	}
	return ""
}

// SchemaOf is the id of the schema that the first bytes of a Registered value name.
func SchemaOf(value []byte) uint32 { return binary.BigEndian.Uint32(value[1:5]) }

func (d *Decoder) decode(ctx context.Context, kind string, value []byte) (any, error) {
	b := newBudget()
	switch kind {
	case JSON:
		if !json.Valid(value) {
			var v any
			return nil, json.Unmarshal(value, &v) // tells where
		}
		return json.RawMessage(value), nil
	case Text:
		return strings.ToValidUTF8(string(value), "\uFFFD"), nil
	case Hex:
		return hex.EncodeToString(value), nil
	case CBOR:
		return decodeCBOR(b, value)
	case MsgPack:
		return decodeMsgPack(b, value)
	case Sparkplug:
		return decodeSparkplug(b, value)
	case Registered:
		return d.registry.decode(ctx, b, value)
	}
	if d.registry != nil && framed(value) {
		return d.registry.decode(ctx, b, value)
	}
	if kind == Avro {
		if d.avro == nil {
			return nil, errors.New("it does not begin as a client of a schema registry writes it, and there is no --schema")
		}
		return decodeAvro(b, d.avro, value)
	}
	if d.proto == nil {
		return decodeWire(b, value)
	}
	return d.proto.decode(value)
}

// budget bounds what is made of one value.
type budget struct{ nodes int }

func newBudget() *budget { return &budget{nodes: nodesMax} }

var (
	errNodes = fmt.Errorf("it holds more than %d values", nodesMax)
	errDepth = fmt.Errorf("it is nested more than %d deep", depthMax)
	errShort = errors.New("it ends too early")
)

// node counts one value at a depth.
func (b *budget) node(depth int) error {
	if depth > depthMax {
		return errDepth
	}
	if b.nodes--; b.nodes < 0 {
		return errNodes
	}
	return nil
}

// take cuts n bytes off the front of src.
func take(src *[]byte, n uint64) ([]byte, error) {
	if n > uint64(len(*src)) {
		return nil, errShort
	}
	head := (*src)[:n]
	*src = (*src)[n:]
	return head, nil
}

// whole wants nothing to be left.
func whole(v any, rest []byte, err error) (any, error) {
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left behind it", len(rest))
	}
	return v, err
}

// compact is JSON in one line.
func compact(src []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, src)
	return b.Bytes(), err
}
