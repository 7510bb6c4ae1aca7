// Package kind says how each kind of thing that a broker holds is shown: which columns
// a list of them has, what a look at one of them tells, how it is found and filtered.
//
// It is data and pure functions: values of adminapi go in, plain text with a Tone comes
// out. It knows nothing of terminals, colours, keys or time; package tui draws, and
// gives what changes (the time, rates) in a Look. Text that came from clients is made
// safe here (Clean), so that no name can move the cursor of whoever looks at it.
//
// # Files
//
//	kind.go      Kind, Column, Cell: a list and its columns
//	detail.go    Section: one thing in full
//	filter.go    the language of filters
//	format.go    counts, sizes, durations, rates
//	clean.go     text from strangers
//	access.go    bans, bridges, quotas and settings
//	chaos.go     planned faults; due.go what time will bring
//	errors.go    protocol errors and their sections
//	value.go     a message's value: JSON, text, bytes
//	tree.go      a structured value as a tree, and paths into it
//	twig.go      items as a tree
//	diff.go      how two messages differ
//	spark.go     series as block characters
//	plot.go      points as dots
//	topic.go …   the kinds
package kind

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Tone says what a piece of text means; a theme decides how that looks. Nothing is
// said by tone alone: a terminal without colour loses no information.
type Tone uint8

// Tones.
const (
	Plain  Tone = iota
	Faint       // accompanies what matters
	Strong      // headings, names
	Good        // as it should be
	Warn        // worth a look
	Bad         // wrong
	MQTT
	Kafka
	AMQP
	Name // in a structured value: a member's name
	Text // … a string
	Num  // … a number, true, false, null
	Tones
)

// Protocol returns the tone of a protocol.
func Protocol(name string) Tone {
	switch name {
	case "mqtt":
		return MQTT
	case "kafka":
		return Kafka
	case "amqp":
		return AMQP
	}
	return Plain
}

// Cell is text with a tone, on one line.
type Cell struct {
	Text string
	Tone Tone
}

// Look is what a thing is looked at with.
type Look struct {
	Now  time.Time      // the broker's
	Zone *time.Location // of times of day; nil is UTC
	// Rate tells how fast the thing with this id counts, per second; NaN when it is not
	// known (yet). nil: never known.
	Rate func(id string) float64
	// Decode makes JSON of a message's value and says what it was; as "": it is best seen in its own bytes. nil:
	// nothing is decoded.
	Decode func(*adminapi.Message) (doc []byte, as string, err error)
	// Trend tells how that went, the newest last. nil: never known.
	Trend func(id string) []float64
}

func (l Look) rate(id string) float64 {
	if l.Rate == nil {
		return math.NaN()
	}
	return l.Rate(id)
}

// Value is a message's value to be looked at: what was decoded of it, or, with as "", what it is.
func (l Look) Value(m *adminapi.Message) (value []byte, as string, err error) {
	if l.Decode == nil {
		return m.Value, "", nil
	}
	doc, as, err := l.Decode(m)
	if as == "" {
		return m.Value, "", err
	}
	return doc, as, nil
}

// Clock writes the time of day.
func (l Look) Clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return l.in(t).Format("15:04:05")
}

// Stamp writes date and time, with milliseconds.
func (l Look) Stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return l.in(t).Format("2006-01-02 15:04:05.000 MST")
}

func (l Look) in(t time.Time) time.Time {
	if l.Zone == nil {
		return t.UTC()
	}
	return t.In(l.Zone)
}

// Since writes how long ago t was.
func (l Look) Since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return Duration(l.Now.Sub(t).Truncate(time.Second)) // what changes faster is not read
}

// Kind is one kind of thing.
type Kind[T any] struct {
	One, Many string // "topic", "topics"
	Columns   []Column[T]
	SortBy    string // title of the column that orders the list at first
	Empty     string // what to do when there are none

	// ID names an item among its kind, for as long as it exists.
	ID func(*T) string
	// List asks for all items, at most limit of them.
	List func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error)
	// Get asks for one again.
	Get func(ctx context.Context, src adminapi.Source, item T) (T, error)
	// Counter grows with each message that the item sees; nil when nothing does.
	Counter func(*T) int64
	// Level goes up and down; its trend is what it was, and its rate how fast it changes. A
	// kind has one of Counter and Level at most.
	Level func(*T) int64
	// Span is how far back its growth is looked at: long where it comes in bursts.
	Span time.Duration

	// Tree arranges those items that are shown, by their indexes, below each other; nil: they stand in a
	// list alone.
	Tree func(items []T, shown []int, l Look) []*Twig

	// Title is what an item is called where it stands alone; "" means ID.
	Title   func(*T) string
	Detail  func(*T, Look) []Section
	Command func(*T) string // that tells the same without a screen
	// Trace asks to see what happens to an item; nil: nothing can.
	Trace func(*T) adminapi.TraceQuery
	// Copied is what goes to the clipboard; nil: ID.
	Copied func(*T) string
}

// Column is one column of a list. It has Text or Number, what it is sorted and filtered
// by; or Show alone, and is only looked at.
type Column[T any] struct {
	Title string // one word, in capitals; filters know it in small letters
	Width int    // of its text, at least that of Title
	Grow  int    // share of the columns of the terminal that are left over
	Keep  int    // where there is little room, columns with the least go first

	Text   func(*T, Look) string
	Number func(*T, Look) float64 // NaN: unknown
	// Show is how it looks, when that is not the plain text or the count.
	Show func(*T, Look) Cell
}

// Cell returns what the column shows of an item.
func (c *Column[T]) Cell(item *T, l Look) Cell {
	switch {
	case c.Show != nil:
		s := c.Show(item, l)
		s.Text = Clean(s.Text)
		return s
	case c.Number != nil:
		return count(c.Number(item, l))
	}
	return Cell{Text: Clean(c.Text(item, l))}
}

// Plain is the column's value of an item for another program: whole, and numbers as digits.
func (c *Column[T]) Plain(item *T, l Look) string {
	if c.Number == nil {
		return c.Text(item, l)
	}
	if f := c.Number(item, l); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return ""
}

// Numeric tells whether it holds numbers, which stand to the right.
func (c *Column[T]) Numeric() bool { return c.Number != nil }

// Sortable tells whether it has anything to sort and filter by.
func (c *Column[T]) Sortable() bool { return c.Text != nil || c.Number != nil }

// Field is the column's name in a filter.
func (c *Column[T]) Field() string { return strings.ToLower(c.Title) }

// count shows a number; zero steps back.
func count(f float64) Cell {
	if math.IsNaN(f) {
		return Cell{"-", Faint}
	}
	if f == 0 {
		return Cell{"0", Faint}
	}
	return Cell{Text: Count(int64(f))}
}

// Fields returns the names that a filter of this kind may use.
func (k *Kind[T]) Fields() []string {
	var out []string
	for i := range k.Columns {
		if k.Columns[i].Sortable() {
			out = append(out, k.Columns[i].Field())
		}
	}
	return out
}

// Match tells whether a filter lets an item through.
func (k *Kind[T]) Match(f *Filter, item *T, l Look) bool {
	return f.Match(&subject[T]{k, item, l})
}

// subject is an item as a filter sees it.
type subject[T any] struct {
	kind *Kind[T]
	item *T
	look Look
}

func (s *subject[T]) Any(has func(text string) bool) bool {
	if has(s.kind.ID(s.item)) {
		return true
	}
	for i := range s.kind.Columns {
		if c := &s.kind.Columns[i]; c.Text != nil && has(c.Text(s.item, s.look)) {
			return true
		}
	}
	return false
}

func (s *subject[T]) Field(name string) Value {
	for i := range s.kind.Columns {
		c := &s.kind.Columns[i]
		if c.Field() != name || !c.Sortable() {
			continue
		}
		if c.Number != nil {
			return NumberValue(c.Number(s.item, s.look))
		}
		return TextValue(c.Text(s.item, s.look))
	}
	return Value{}
}

// yes shows a truth that is worth a column only where it holds.
func yes(b bool, word string) string {
	if b {
		return word
	}
	return ""
}

// words puts those that are not empty in a row.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(w string) bool { return w == "" }), " ")
}
