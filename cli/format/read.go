package format

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/grammar"
)

// ReadMax bounds one field that a Reader reads.
const ReadMax = 64 << 20

// headersMax bounds the headers of one message that a Reader reads.
const headersMax = 10_000

// Reader reads messages, one after another, as a format says that they stand there.
//
// Text reaches to the text that follows it in the format, or, when a length was read
// before (%K, %V), is that long. A length may also be fixed: %v{3}.
type Reader struct {
	source string
	steps  []step
	r      *bufio.Reader
	n      int // messages read
}

// step reads one piece of a message.
type step func(r *Reader, m *reading) error

// reading is a message that is being read.
type reading struct {
	m       *adminapi.Message
	key     int // lengths that were read; -1 when none was
	value   int
	headers int
	begun   bool // something was read: an end of the input is too early
}

// NewReader reads a format. The error is an *Error.
func NewReader(source string, in io.Reader) (*Reader, error) {
	nodes, err := parse(source)
	if err != nil {
		return nil, err
	}
	c := readCompiler{source: source}
	r := &Reader{source: source, r: bufio.NewReaderSize(in, 64<<10)}
	if r.steps, err = c.steps(nodes, nil); err != nil {
		return nil, err
	}
	if !c.reads {
		return nil, &Error{Source: source, What: "it reads nothing", Hint: `such as '%k %v\n'`}
	}
	return r, nil
}

// Next reads a message; io.EOF when none follows.
func (r *Reader) Next() (*adminapi.Message, error) {
	m := &reading{m: &adminapi.Message{}, key: -1, value: -1, headers: -1}
	for _, s := range r.steps {
		if err := s(r, m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				if !m.begun {
					return nil, io.EOF
				}
				err = errors.New("the input ends within it")
			}
			return nil, fmt.Errorf("message %d is not as %s says: %w", r.n+1, strconv.Quote(r.source), err)
		}
	}
	if !m.begun { // of no length at all: it would be read for ever
		if _, err := r.r.Peek(1); err != nil {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("message %d: %s reads nothing", r.n+1, strconv.Quote(r.source))
	}
	r.n++
	m.m.Size = len(m.m.Value)
	return m.m, nil
}

type readCompiler struct {
	source   string
	reads    bool
	key      bool // a length was read before
	value    bool
	headers  bool
	inHeader bool
}

func (c *readCompiler) fail(pos int, hint, format string, args ...any) error {
	return &Error{Source: c.source, Pos: pos, What: fmt.Sprintf(format, args...), Hint: hint}
}

// steps compiles nodes; after is the text behind them.
func (c *readCompiler) steps(nodes []node, after []byte) ([]step, error) {
	var out []step
	for i, n := range nodes {
		if n.verb == 0 {
			text := []byte(n.text)
			last := i == len(nodes)-1 && !c.inHeader
			out = append(out, func(r *Reader, m *reading) error { return r.expect(m, text, last) })
			continue
		}
		until := after
		if i+1 < len(nodes) {
			until = nil
			if nodes[i+1].verb == 0 {
				until = []byte(nodes[i+1].text)
			}
		}
		s, err := c.step(n, until, i+1 == len(nodes) && !c.inHeader)
		if err != nil {
			return nil, err
		}
		c.reads = true
		out = append(out, s)
	}
	return out, nil
}

// step compiles a field with the text behind it; last tells that it may reach to the end of
// the input.
func (c *readCompiler) step(n node, until []byte, last bool) (step, error) {
	switch n.verb {
	case 'K', 'V', 'H':
		read, err := c.number(n, until)
		if err != nil {
			return nil, err
		}
		c.key, c.value, c.headers = c.key || n.verb == 'K', c.value || n.verb == 'V', c.headers || n.verb == 'H'
		verb := n.verb
		return func(r *Reader, m *reading) error {
			n, err := read(r, m)
			most := int64(ReadMax)
			if verb == 'H' {
				most = headersMax
			}
			if err != nil {
				return err
			}
			if n < 0 || n > most {
				return fmt.Errorf("%%%c is %d, and at most %d", verb, n, most)
			}
			switch verb {
			case 'K':
				m.key = int(n)
			case 'V':
				m.value = int(n)
			default:
				m.headers = int(n)
			}
			return nil
		}, nil
	case 'p':
		read, err := c.number(n, until)
		if err != nil {
			return nil, err
		}
		return func(r *Reader, m *reading) error {
			n, err := read(r, m)
			if err == nil && (n < 0 || n > 1<<31-1) {
				err = fmt.Errorf("%d is no partition", n)
			}
			p := int32(n)
			m.m.Partition = &p
			return err
		}, nil
	case 'd':
		return c.time(n, until, last)
	case 'k', 'v', 'j':
		return c.text(n, until, last)
	case 'h':
		return c.header(n)
	}
	name := "%" + string(n.verb)
	if n.verb == '(' {
		name = "%(…)"
	}
	return nil, c.fail(n.pos, "what is read is %k %v %h{…} %K %V %H %p %d %j", "%s is not read", name)
}

// header reads each header by the format in the braces, as often as %H said.
func (c *readCompiler) header(n node) (step, error) {
	if !c.headers {
		return nil, c.fail(n.pos, "such as '%H %h{%k=%v }'", "how many headers there are must stand before them, as %%H")
	}
	inner := readCompiler{source: c.source, inHeader: true}
	steps, err := inner.steps(n.inner, nil)
	if err != nil {
		return nil, err
	}
	return func(r *Reader, m *reading) error {
		for range m.headers {
			h := reading{m: &adminapi.Message{}, key: -1, value: -1, begun: true}
			for _, s := range steps {
				if err := s(r, &h); err != nil {
					return err
				}
			}
			m.m.Headers = append(m.m.Headers, adminapi.Header{Name: string(h.m.Key), Value: h.m.Value})
		}
		return nil
	}, nil
}

// number compiles how a number is read.
func (c *readCompiler) number(n node, until []byte) (func(*Reader, *reading) (int64, error), error) {
	if fixed, err := strconv.ParseInt(n.modifier, 10, 32); err == nil {
		return func(*Reader, *reading) (int64, error) { return fixed, nil }, nil
	}
	width, order, digits := 0, binary.ByteOrder(binary.BigEndian), false
	switch n.modifier {
	case "", "number", "ascii":
		return func(r *Reader, m *reading) (int64, error) { return r.digits(m) }, nil
	case "big64", "big32", "big16":
		width, _ = strconv.Atoi(n.modifier[3:])
	case "little64", "little32", "little16":
		width, _ = strconv.Atoi(n.modifier[6:])
		order = binary.LittleEndian
	case "byte", "big8", "little8":
		width = 8
	case "hex64", "hex32", "hex16", "hex8", "hex4":
		width, _ = strconv.Atoi(n.modifier[3:])
		digits = true
	default:
		w := compiler{source: c.source}
		return nil, w.unknown(n, numberModifiers)
	}
	return func(r *Reader, m *reading) (int64, error) {
		if digits {
			b, err := r.exactly(m, width/4)
			if err != nil {
				return 0, err
			}
			u, err := strconv.ParseUint(string(b), 16, 64)
			return int64(u), err
		}
		b, err := r.exactly(m, width/8)
		if err != nil {
			return 0, err
		}
		switch width {
		case 8:
			return int64(b[0]), nil
		case 16:
			return int64(order.Uint16(b)), nil
		case 32:
			return int64(order.Uint32(b)), nil
		}
		return int64(order.Uint64(b)), nil
	}, nil
}

// text compiles how %k, %v or %j is read.
func (c *readCompiler) text(n node, until []byte, last bool) (step, error) {
	length := -1 // fixed
	decode := func(b []byte) ([]byte, error) { return b, nil }
	sized := n.verb == 'k' && c.key || n.verb == 'v' && c.value
	switch n.modifier {
	case "", "text":
	case "hex":
		decode = func(b []byte) ([]byte, error) { return hex.AppendDecode([]byte{}, b) }
	case "base64":
		decode = func(b []byte) ([]byte, error) { return base64.StdEncoding.AppendDecode([]byte{}, b) }
	case "base64raw":
		decode = func(b []byte) ([]byte, error) { return base64.RawStdEncoding.AppendDecode([]byte{}, b) }
	case "base64url":
		decode = func(b []byte) ([]byte, error) {
			return base64.RawURLEncoding.AppendDecode([]byte{}, bytes.TrimRight(b, "="))
		}
	case "json":
		decode = func(b []byte) ([]byte, error) {
			if !json.Valid(b) {
				return nil, fmt.Errorf("%.40q is no JSON", b)
			}
			return b, nil
		}
	default:
		fixed, err := strconv.Atoi(n.modifier)
		if err != nil || fixed < 0 || fixed > ReadMax {
			w := compiler{source: c.source}
			return nil, w.unknown(n, []modifier{{name: "hex"}, {name: "base64"}, {name: "base64raw"}, {name: "base64url"}, {name: "json"}, {name: "text"}})
		}
		length = fixed
	}
	if length < 0 && !sized && len(until) == 0 && !last {
		return nil, c.fail(n.pos, "put text between the two, or its length before it", "where %%%c ends cannot be told", n.verb)
	}
	verb := n.verb
	return func(r *Reader, m *reading) error {
		n := length
		switch {
		case n >= 0:
		case verb == 'k' && sized:
			n = m.key
		case verb == 'v' && sized:
			n = m.value
		}
		var b []byte
		var err error
		if n >= 0 {
			b, err = r.exactly(m, n)
		} else {
			b, err = r.until(m, until)
		}
		if err != nil {
			return err
		}
		if b, err = decode(b); err != nil {
			return err
		}
		switch verb {
		case 'k':
			m.m.Key = b
		case 'v':
			m.m.Value = b
		default:
			key, value, headers := m.m.Key, m.m.Value, m.m.Headers
			if err := json.Unmarshal(b, m.m); err != nil {
				return err
			}
			if key != nil {
				m.m.Key = key
			}
			if value != nil {
				m.m.Value = value
			}
			m.m.Headers = append(m.m.Headers, headers...)
		}
		return nil
	}, nil
}

// time compiles how %d is read.
func (c *readCompiler) time(n node, until []byte, last bool) (step, error) {
	read := func(s string) (time.Time, error) {
		ms, err := strconv.ParseInt(s, 10, 64)
		return time.UnixMilli(ms), err
	}
	rest, local := strings.CutPrefix(n.modifier, "local:")
	zone := time.UTC
	if local {
		zone = time.Local
	}
	name, arg, given := argument(rest)
	switch {
	case given && name == "go":
		read = func(s string) (time.Time, error) { return time.ParseInLocation(arg, s, zone) }
	case name == "" || name == "ms":
	case name == "unix":
		read = func(s string) (time.Time, error) {
			sec, err := strconv.ParseInt(s, 10, 64)
			return time.Unix(sec, 0), err
		}
	case name == "rfc3339":
		read = grammar.ParseTime
	default:
		w := compiler{source: c.source}
		return nil, w.unknown(n, []modifier{{name: "ms"}, {name: "unix"}, {name: "rfc3339"}, {name: "go[F]"}})
	}
	if len(until) == 0 && !last {
		return nil, c.fail(n.pos, "put text between the two", "where %%d ends cannot be told")
	}
	return func(r *Reader, m *reading) error {
		b, err := r.until(m, until)
		if err != nil {
			return err
		}
		m.m.Time, err = read(string(b))
		return err
	}, nil
}

// ---- reading

// expect reads text that must stand there. At the end of the input the last of a message may
// be missing: a file need not end with a line end.
func (r *Reader) expect(m *reading, text []byte, last bool) error {
	got, err := r.r.Peek(len(text))
	if last && m.begun && len(got) == 0 && errors.Is(err, io.EOF) {
		return nil
	}
	if !bytes.HasPrefix(got, text) {
		if err != nil && bytes.HasPrefix(text, got) {
			if len(got) > 0 {
				m.begun = true
			}
			return err
		}
		return fmt.Errorf("%q is expected, not %.40q", text, got)
	}
	m.begun = true
	_, err = r.r.Discard(len(text))
	return err
}

// exactly reads so many bytes.
func (r *Reader) exactly(m *reading, n int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.r, int64(n))) // grows as bytes come: a length alone costs nothing
	if len(b) > 0 {
		m.begun = true
	}
	if err == nil && len(b) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// digits reads a whole number.
func (r *Reader) digits(m *reading) (int64, error) {
	var b []byte
	for len(b) < 20 {
		c, err := r.r.ReadByte()
		if err != nil {
			if len(b) == 0 {
				return 0, err
			}
			break
		}
		if (c < '0' || c > '9') && !(c == '-' && len(b) == 0) {
			if err := r.r.UnreadByte(); err != nil {
				return 0, err
			}
			break
		}
		m.begun = true
		b = append(b, c)
	}
	if len(b) == 0 {
		return 0, errors.New("a number is expected")
	}
	return strconv.ParseInt(string(b), 10, 64)
}

// until reads what stands before text, which stays; all of the input when text is empty, or
// when it does not come.
func (r *Reader) until(m *reading, text []byte) ([]byte, error) {
	out := []byte{}
	for {
		next, err := r.r.Peek(1)
		if errors.Is(err, io.EOF) && (m.begun || len(out) > 0) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		m.begun = true
		if len(text) > 0 && next[0] == text[0] {
			if got, _ := r.r.Peek(len(text)); bytes.Equal(got, text) { // what is missing does not match
				return out, nil
			}
		}
		if len(out) == ReadMax {
			return nil, fmt.Errorf("a field is larger than %d bytes", ReadMax)
		}
		out = append(out, next[0])
		if _, err := r.r.Discard(1); err != nil {
			return nil, err
		}
	}
}
