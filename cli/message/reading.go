package message

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/format"
	"github.com/robustmq/rmq/cli/link"
)

// reading is what the commands that read messages share: which are meant, how each is
// shown, and when to stop.
type reading struct {
	connection
	where   string
	idle    env.Duration
	timeout env.Duration
	nul     bool
	format  string

	decoding decoding

	printer *format.Format // nil: by -o
	shown   int64

	filter *filter.Filter // nil: all
	passed int64          // messages that did not match
	lacked int64          // of those, for want of something that the expression asks for
	item   *format.Item   // the message at hand
}

func newReading(e *env.Env) reading { return reading{connection: connection{e: e}} }

func (r *reading) flags(fs *pflag.FlagSet) {
	r.whereFlag(fs)
	fs.Var(&r.idle, "idle", "stop when nothing has come for so long")
	r.showFlags(fs)
}

// whereFlag adds --where to a command.
func (r *reading) whereFlag(fs *pflag.FlagSet) {
	fs.StringVarP(&r.where, "where", "w", "", "only messages for which this holds, such as 'json.celsius > 30' (docs/FILTER.md), or @NAME of a saved filter")
}

// showFlags adds the flags of all who show messages.
func (r *reading) showFlags(fs *pflag.FlagSet) {
	fs.Var(&r.timeout, "timeout", "stop after so long")
	fs.StringVarP(&r.format, "format", "f", "", "how to print each message, such as '%t %p %o %k %v\\n' (docs/FORMAT.md)")
	r.decoding.Flags(fs)
	fs.BoolVarP(&r.nul, "null-separated", "0", false, "end each value with a NUL instead of a line end")
	r.connection.flags(fs)
}

// prepare compiles what was given, before anything is asked of a broker.
func (r *reading) prepare(o *link.ConsumeOptions) error {
	if err := r.compile("--where"); err != nil {
		return err
	}
	o.Idle, o.Timeout = time.Duration(r.idle), time.Duration(r.timeout)
	if r.filter != nil {
		o.Where = r.meant
	}
	return nil
}

// compile reads the expression, which came by a flag or an argument, and the format.
func (r *reading) compile(by string) error {
	if r.format != "" {
		if r.e.Picks() {
			return env.Failf(env.Usage, "--format, --jq and --template are three ways to print: give one")
		}
		var err error
		if r.printer, err = format.Compile(r.format, format.Options{Now: r.e.Now}); err != nil {
			return env.BadFormat("--format", err)
		}
	}
	if err := r.decoding.prepare(); err != nil {
		return err
	}
	if r.where == "" {
		return nil
	}
	src, err := r.e.Filter(r.where)
	if err != nil {
		return err
	}
	if r.filter, err = filter.Compile(src, filter.Options{Now: r.e.Now}); err != nil {
		return badExpression(by, err)
	}
	return nil
}

// badExpression tells what is wrong with an expression, with a caret below the place.
func badExpression(by string, err error) error {
	e, ok := errors.AsType[*filter.Error](err)
	if !ok {
		return err
	}
	return &env.Failure{Exit: env.Usage, What: fmt.Sprintf("%s: %s (column %d)", by, e.What, e.Column()), Show: e.Caret(), Hint: e.Hint, See: "docs/FILTER.md", Err: err}
}

// meant tells whether a message matches, and counts those that do not.
func (r *reading) meant(m *link.Message) bool {
	switch r.filter.Eval(r.itemOf(m).ForFilter()) {
	case filter.Yes:
		return true
	case filter.Unknown:
		r.lacked++
	}
	r.passed++
	return false
}

// itemOf is a message with what is decoded of it, which is done once.
func (r *reading) itemOf(m *link.Message) *format.Item {
	if r.item == nil || r.item.Message != m {
		r.item = r.decoding.item(m)
	}
	return r.item
}

// tally says how many messages were passed over, and how many could not be decoded; "" when
// none were.
func (r *reading) tally() string {
	s := ""
	if r.passed > 0 {
		s = fmt.Sprintf("; %d did not match", r.passed)
	}
	if r.lacked > 0 {
		s += fmt.Sprintf(", %d of them for want of what the expression asks for", r.lacked)
	}
	return s + r.decoding.tally()
}

// show writes one message in the format asked for, at once: whoever reads a pipe waits
// for it. from stands before it in text, when it is one of several targets.
func (r *reading) show(m *link.Message, from string) error {
	r.shown++
	it := r.itemOf(m)
	it.N = r.shown
	if r.printer != nil {
		_, err := r.e.Out.Write(r.printer.Append(nil, it))
		return err
	}
	switch r.e.Format() {
	case env.FormatJSON:
		return r.e.PrintLine(it)
	case env.FormatYAML:
		return r.e.PrintDocument(it)
	case env.FormatTable:
		return r.row(it, from)
	}
	end := byte('\n')
	if r.nul {
		end = 0
	}
	// One write: the reader at the other end of a pipe sees whole messages.
	value := plain(it)
	line := make([]byte, 0, len(from)+1+len(value)+1)
	if from != "" {
		line = append(append(line, from...), '\t')
	}
	_, err := r.e.Out.Write(append(append(line, value...), end))
	return err
}

// plain is what a message says: its value, or what was decoded of it, text without quotes.
func plain(it *format.Item) []byte {
	if it.JSON == nil || it.Message.Value == nil {
		return it.Message.Value
	}
	var s string
	if it.JSON[0] == '"' && json.Unmarshal(it.JSON, &s) == nil {
		return []byte(s)
	}
	return it.JSON
}

// row is a message for a person: where it came from, then what it says, with nothing
// in it that the terminal would obey.
func (r *reading) row(it *format.Item, from string) error {
	m := it.Message
	var b strings.Builder
	if from != "" {
		b.WriteString(r.e.Bold(from) + "  ")
	}
	b.WriteString(r.e.Faint(m.Time.Format("15:04:05.000") + " " + source(m)))
	if m.Key != nil {
		b.WriteString(r.e.Faint(" " + env.Preview(m.Key, keyWidth)))
	}
	if m.Retain {
		b.WriteString(r.e.Faint(" retained"))
	}
	if m.Redelivered {
		b.WriteString(r.e.Faint(" again"))
	}
	for _, h := range m.Headers {
		if h.Name == link.HeaderNative {
			continue
		}
		b.WriteString(r.e.Faint(" " + env.Clean(h.Name) + "=" + env.Preview(h.Value, headerWidth)))
	}
	b.WriteString("  ")
	if m.Value == nil {
		b.WriteString(r.e.Faint("null"))
	}
	b.WriteString(env.Clean(string(plain(it))))
	b.WriteByte('\n')
	_, err := r.e.Out.Write([]byte(b.String()))
	return err
}

const (
	keyWidth    = 40
	headerWidth = 40
)

// source is where a message came from, in its protocol's own terms.
func source(m *link.Message) string {
	switch {
	case m.Partition != nil && m.Offset != nil:
		return fmt.Sprintf("%s/%d@%d", env.Clean(m.Topic), *m.Partition, *m.Offset)
	case m.Topic != "":
		return env.Clean(m.Topic)
	}
	return env.Clean(m.Exchange + "/" + m.RoutingKey)
}
