// Package format turns messages into what a person asked to see: a %-format
// (`-f '%t %k %v\n'`), a Go template (`--template '{{.topic}}'`) or a jq expression
// (`--jq .json.id`). The last two also take the data of any command.
//
// A format is text in which % begins a field of the message:
//
//	%t %k %v %h{%k=%v }  %p %o %d{rfc3339}  %(json.price * 2)  %j
//
// docs/FORMAT.md tells the language; the tables in it are those of verbs.go. Whoever knows
// rpk's formats can go on: what both have means the same. Compile reads a format once; what
// is wrong is an *Error with its position. NewReader reads messages by a format.
//
// # Files
//
//	format.go     Format, Compile, Item, Error
//	parse.go      a format to nodes
//	verbs.go      the fields of a message
//	modifier.go   how text, numbers and times are written
//	unpack.go     text as binary numbers
//	read.go       messages by a format
//	jq.go         jq
//	template.go   Go templates
//	object.go     a message as JSON data
package format

import (
	"fmt"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
)

// SourceMax bounds a format, in bytes.
const SourceMax = 8 << 10

// Item is a message to be shown.
type Item struct {
	Message *adminapi.Message
	JSON    []byte // what a decoder made of the value; nil: the value as it is
	N       int64  // the how manieth it is, from 1
}

// ForFilter lets an expression look at the item: "json" is what was decoded.
func (it *Item) ForFilter() filter.Message {
	if it.JSON == nil {
		return it.Message.ForFilter()
	}
	return &decoded{it.Message.ForFilter(), it.JSON}
}

// decoded is a message whose value was decoded.
type decoded struct {
	filter.Message
	json []byte
}

func (d *decoded) Field(f filter.Field) filter.Value {
	if f == filter.FieldJSON {
		return filter.Bytes(d.json)
	}
	return d.Message.Field(f)
}

// Format is a compiled format. It is immutable.
type Format struct{ parts []part }

// part appends one piece of output.
type part func(dst []byte, it *Item) []byte

// Options change what a format sees besides the message.
type Options struct {
	Now func() time.Time // what "now" means; nil: time.Now
}

// Compile reads a format. The error is an *Error.
func Compile(source string, o Options) (*Format, error) {
	nodes, err := parse(source)
	if err != nil {
		return nil, err
	}
	field := false
	for _, n := range nodes {
		field = field || n.verb != 0
	}
	if !field {
		return nil, &Error{Source: source, What: "it shows nothing of a message", Hint: `a field begins with %, as in '%t %v\n'`}
	}
	c := compiler{source: source, now: o.Now}
	parts, err := c.parts(nodes)
	return &Format{parts}, err
}

// Append appends what the format makes of an item.
func (f *Format) Append(dst []byte, it *Item) []byte {
	for _, p := range f.parts {
		dst = p(dst, it)
	}
	return dst
}

// Error is what is wrong with a format, a template or a jq expression.
type Error struct {
	Source string
	Pos    int    // byte at which it goes wrong
	What   string // lower case
	Hint   string // may be empty
}

// Error says what is wrong and in which column.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s (column %d)", e.What, e.Column())
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Column is Pos in characters from 1, in its line.
func (e *Error) Column() int {
	before := e.Source[:min(e.Pos, len(e.Source))]
	return 1 + len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
}

// Caret shows the line, and below it a caret where it goes wrong.
func (e *Error) Caret() string {
	at := min(e.Pos, len(e.Source))
	line := e.Source[strings.LastIndexByte(e.Source[:at], '\n')+1:]
	line, _, _ = strings.Cut(line, "\n")
	flat := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line)
	return flat + "\n" + strings.Repeat(" ", e.Column()-1) + "^"
}
