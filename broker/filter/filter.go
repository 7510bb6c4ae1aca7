// Package filter is the language in which a person says which messages are meant: in
// `rmq consume --where`, in the TUI's filter bar, in tests, in rules.
//
//	topicMatches("sensors/+/temp") && json.celsius > 30
//	headers["source"] == "shop" && now - time < duration("5m")
//
// It is a subset of CEL, the Common Expression Language, over the fields of a message;
// docs/FILTER.md tells it in full, with the tables of names and functions that
// reference.go makes.
//
// Compile parses an expression, checks the types of its parts and turns it into closures;
// what is wrong is an *Error with its position. A compiled Filter matches a message
// without allocating, unless the expression makes new text (+, string of a number, lower
// of upper-case letters, a JSON string with escapes).
//
// # What is not there
//
// A message may lack what an expression asks for: its value is no JSON, it has no such
// header, text is no number. Such a part is Unknown, and so is what is made of it, except
// that `false && x` is false and `true || x` true whatever x is. An expression that is
// Unknown as a whole does not match. has(x) and x == null tell whether something is there.
//
// # Bounds
//
// Compile refuses text past ExprMax and nesting past DepthMax. One match looks at no more
// than workMax bytes of a message, counting every time that it looks; past that it is
// Unknown. Text that an expression makes is at most textMax bytes.
//
// # Files
//
//	filter.go      Filter, Compile, Match
//	value.go       Value: what an expression is made of
//	message.go     Message: what a filter looks at, and its fields
//	lex.go         text to tokens
//	parse.go       tokens to a tree
//	check.go       a tree to typed closures
//	operator.go    what the operators do
//	function.go    the functions
//	json.go        looking into JSON text without reading it whole
//	reference.go   the tables of docs/FILTER.md
package filter

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	ExprMax  = 8 << 10   // bytes of an expression
	DepthMax = 100       // levels of nesting
	workMax  = 128 << 20 // bytes looked at for one message
	textMax  = 1 << 20   // bytes of text that an expression makes
	keptMax  = 64 << 10  // bytes of made text whose memory is kept for the next message
)

// Filter is a compiled expression. It is immutable, and any number of goroutines may use
// it at once.
type Filter struct {
	source string
	eval   eval
	clock  func() time.Time
	states sync.Pool // of *state
}

// Options change what an expression sees besides the message.
type Options struct {
	Now func() time.Time // what "now" means; nil: time.Now
}

// Compile reads an expression. The error is an *Error.
func Compile(source string, o Options) (*Filter, error) {
	return compile(source, o, func(c *checker, tree *expr, n node) error {
		if n.typ == typeBool || n.typ == typeAny {
			return nil
		}
		return c.errorf(tree, n.typ.hintBool(source), "it is %s, not a condition", n.typ)
	})
}

func compile(source string, o Options, fits func(*checker, *expr, node) error) (*Filter, error) {
	tree, err := parse(source)
	if err != nil {
		return nil, err
	}
	c := checker{source: source}
	n, err := c.check(tree)
	if err == nil {
		err = fits(&c, tree, n)
	}
	if err != nil {
		return nil, err
	}
	f := &Filter{source: source, eval: n.eval, clock: o.Now}
	if f.clock == nil {
		f.clock = time.Now
	}
	return f, nil
}

// String returns the expression as it was written.
func (f *Filter) String() string { return f.source }

// Truth is what an expression says of a message.
type Truth uint8

const (
	No Truth = iota
	Yes
	Unknown // the message lacks what the expression asks for
)

// Match tells whether a message is meant.
func (f *Filter) Match(m Message) bool { return f.Eval(m) == Yes }

// Eval is Match that tells Unknown from No.
func (f *Filter) Eval(m Message) Truth {
	truth := Unknown
	f.run(m, func(_ *state, v Value) {
		switch {
		case v.isTrue():
			truth = Yes
		case v.isFalse():
			truth = No
		}
	})
	return truth
}

// run evaluates the expression; then may use what the state has made of it.
func (f *Filter) run(m Message, then func(*state, Value)) {
	s, ok := f.states.Get().(*state)
	if !ok {
		s = &state{clock: f.clock}
	}
	s.m, s.work, s.made, s.timed = m, 0, s.made[:0], false
	then(s, f.eval(s))
	s.m = nil
	if cap(s.made) > keptMax {
		s.made = nil
	}
	f.states.Put(s)
}

// Printer is a compiled expression of any type, for whoever prints what it says.
type Printer struct{ f *Filter }

// CompilePrinter reads an expression of any type. The error is an *Error.
func CompilePrinter(source string, o Options) (*Printer, error) {
	f, err := compile(source, o, func(c *checker, tree *expr, n node) error {
		if n.typ < typeList {
			return nil
		}
		return c.errorf(tree, "", "%s is not one value", n.typ)
	})
	if err != nil {
		return nil, err
	}
	return &Printer{f}, nil
}

// Append appends what the expression says of a message, as string(x) writes it; ok is false
// when it is Unknown.
func (t *Printer) Append(dst []byte, m Message) (out []byte, ok bool) {
	t.f.run(m, func(s *state, v Value) {
		if v.known() {
			text := s.toText(v)
			dst, ok = append(dst, text.s...), text.known()
		}
	})
	return dst, ok
}

// state is one evaluation.
type state struct {
	m     Message
	work  int    // bytes looked at so far
	made  []byte // memory of texts that were made; what is in it never changes
	clock func() time.Time
	now   int64 // ns, once timed
	timed bool
}

// look counts bytes that are about to be looked at, and tells whether they may be.
func (s *state) look(n int) bool {
	s.work += n
	return s.work <= workMax
}

// Error is what is wrong with an expression.
type Error struct {
	Source string // the expression
	Pos    int    // byte at which it goes wrong
	What   string // lower case
	Hint   string // what to write instead; may be empty
}

// Error says what is wrong and in which column.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s (column %d)", e.What, e.Column())
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Column is Pos in characters from 1.
func (e *Error) Column() int { return 1 + len([]rune(e.Source[:min(e.Pos, len(e.Source))])) }

// Caret shows the expression, and below it a caret where it goes wrong.
func (e *Error) Caret() string {
	flat := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, e.Source)
	return flat + "\n" + strings.Repeat(" ", e.Column()-1) + "^"
}
