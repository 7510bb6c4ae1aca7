package tui

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// list is a screen of one kind of thing: a table, and one of them in full.
//
// What is shown of the items is worked out for the rows in sight alone, so that a
// hundred thousand of them scroll as ten do.
type list[T any] struct {
	kind      *kind.Kind[T]
	namespace string
	place     place

	items []T   // as the broker gave them
	shown []int // of items: those that the filter lets through, in order
	known bool  // there was an answer
	at    time.Time
	err   error // of the last answer
	rates rates

	sortBy  int // index of a column
	falling bool
	where   kind.Filter
	natural []int // how wide each column has to be

	wanted        string  // id of an item that is to be shown in full as soon as it is known
	cursor, top   int     // indexes into shown
	mark          *string // id of the item under the cursor, until arrange has found it anew
	width, height int
	tree          *tree      // nil: the items are a table
	picked        *picked[T] // nil: tree or table is shown
}

// picked is the item that is shown in full.
type picked[T any] struct {
	id   string
	item T
	page pager
	gone error // why the broker does not have it any more
}

func newList[T any](k *kind.Kind[T], namespace string, p place) *list[T] {
	l := &list[T]{kind: k, namespace: namespace, place: p, rates: newRates(k.Span, k.Level != nil)}
	for i := range k.Columns {
		if k.Columns[i].Title == k.SortBy {
			l.sortBy, l.falling = i, k.Columns[i].Numeric()
		}
	}
	return l
}

func (s *list[T]) resize(width, height int) {
	s.width, s.height = width, height
	s.hold()
	if s.tree != nil {
		s.tree.hold(height)
	}
}

// ---- what is asked, and what is answered

func (s *list[T]) question() feed.Question {
	if p := s.picked; p != nil {
		item := p.item
		return func(ctx context.Context, src adminapi.Source) (any, error) { return s.kind.Get(ctx, src, item) }
	}
	return func(ctx context.Context, src adminapi.Source) (any, error) {
		return s.kind.List(ctx, src, s.namespace, adminapi.ListMax)
	}
}

func (s *list[T]) answer(data any, at time.Time) {
	s.at, s.err = at, nil
	switch data := data.(type) {
	case []T:
		s.mark = s.currentID() // of what the old indexes mean
		s.items, s.known = data, true
		s.count(data, at)
	case T:
		if s.picked != nil {
			s.picked.item, s.picked.gone = data, nil
		}
		s.count([]T{data}, at)
	}
}

func (s *list[T]) count(items []T, at time.Time) {
	counter := s.kind.Counter
	if counter == nil {
		counter = s.kind.Level
	}
	if counter == nil {
		return
	}
	for i := range items {
		s.rates.note(s.kind.ID(&items[i]), counter(&items[i]), at)
	}
	if s.picked == nil {
		s.rates.forget(at)
	}
}

func (s *list[T]) failed(err error) {
	if s.picked != nil && adminapi.ErrorOf(err).Category == adminapi.CategoryNotFound {
		s.picked.gone = err
		return
	}
	s.err = err
}

// look adds to a look what this list knows.
func (s *list[T]) look(l kind.Look) kind.Look {
	l.Rate, l.Trend = s.rates.of, s.rates.trend
	return l
}

// arrange filters and sorts, and keeps the cursor on the item it was on. It follows every
// answer at once: until then shown speaks of the items before.
func (s *list[T]) arrange(l kind.Look) {
	l = s.look(l)
	id := s.mark
	if id == nil {
		id = s.currentID()
	}
	s.mark = nil
	s.shown = s.shown[:0]
	for i := range s.items {
		if s.where.Empty() || s.kind.Match(&s.where, &s.items[i], l) {
			s.shown = append(s.shown, i)
		}
	}
	s.sort(l)
	s.measure(l)
	if id != nil {
		if n := slices.IndexFunc(s.shown, func(i int) bool { return s.kind.ID(&s.items[i]) == *id }); n >= 0 {
			s.top += n - s.cursor
			s.cursor = n
		}
	}
	s.hold()
	s.grow(l)
}

// grow makes the tree of what is shown.
func (s *list[T]) grow(l kind.Look) {
	if s.tree != nil {
		s.tree.set(s.kind.Tree(s.items, s.shown, l), s.height)
	}
}

// measuredMax is how many rows say how wide columns have to be.
const measuredMax = 500

// measure finds how wide the columns that may grow have to be, so that they grow no
// further.
func (s *list[T]) measure(l kind.Look) {
	s.natural = make([]int, len(s.kind.Columns))
	for _, i := range s.shown[:min(len(s.shown), measuredMax)] {
		widen(s.natural, s.kind.Columns, &s.items[i], l)
	}
}

// sort orders shown. The keys are worked out once each; ties are by id, upwards.
func (s *list[T]) sort(l kind.Look) {
	c := &s.kind.Columns[s.sortBy]
	sign := 1
	if s.falling {
		sign = -1
	}
	byID := func(a, b int) int { return strings.Compare(s.kind.ID(&s.items[a]), s.kind.ID(&s.items[b])) }
	var less func(a, b int) int
	if c.Numeric() {
		keys := make([]float64, len(s.items))
		for _, i := range s.shown {
			if keys[i] = c.Number(&s.items[i], l); math.IsNaN(keys[i]) {
				keys[i] = math.Inf(-1)
			}
		}
		less = func(a, b int) int { return cmp.Or(sign*cmp.Compare(keys[a], keys[b]), byID(a, b)) }
	} else {
		keys := make([]string, len(s.items))
		for _, i := range s.shown {
			keys[i] = c.Text(&s.items[i], l)
		}
		less = func(a, b int) int { return cmp.Or(sign*strings.Compare(keys[a], keys[b]), byID(a, b)) }
	}
	if !slices.IsSortedFunc(s.shown, less) {
		slices.SortFunc(s.shown, less)
	}
}

// current is the item under the cursor, or nil.
func (s *list[T]) current() *T {
	if s.tree != nil && s.picked == nil {
		if i := s.tree.item(); i >= 0 && i < len(s.items) {
			return &s.items[i]
		}
		return nil
	}
	if s.cursor < len(s.shown) {
		return &s.items[s.shown[s.cursor]]
	}
	return nil
}

func (s *list[T]) currentID() *string {
	item := s.current()
	if item == nil {
		return nil
	}
	id := s.kind.ID(item)
	return &id
}

// rowsSeen is how many rows the table has room for, under its heading.
func (s *list[T]) rowsSeen() int { return max(1, s.height-1) }

// hold keeps cursor and top where there are rows.
func (s *list[T]) hold() {
	s.cursor = max(0, min(s.cursor, len(s.shown)-1))
	s.top = max(0, min(s.top, len(s.shown)-s.rowsSeen()))
	s.top = max(min(s.top, s.cursor), s.cursor-s.rowsSeen()+1)
}

// ---- what keys do

func (s *list[T]) can(v verb) bool {
	switch {
	case v == treeForm:
		return s.kind.Tree != nil && s.picked == nil && (s.tree != nil || len(s.shown) > 0)
	case s.tree != nil && s.picked == nil:
		switch v {
		case copyIt, copyCommand:
			return s.current() != nil
		case find, export:
			return s.known
		case back:
			return s.where.Source != ""
		}
		return s.tree.can(v)
	}
	switch v {
	case up, pageUp, first:
		return s.picked != nil && s.picked.page.top > 0 || s.picked == nil && s.cursor > 0
	case down, pageDown, last:
		if s.picked != nil {
			return s.picked.page.top < len(s.detail(noTheme, kind.Look{}))-s.height
		}
		return s.cursor < len(s.shown)-1
	case open:
		return s.picked == nil && len(s.shown) > 0
	case back:
		return s.picked != nil || s.where.Source != ""
	case earlier:
		return s.picked != nil && s.neighbour(-1) >= 0
	case later:
		return s.picked != nil && s.neighbour(1) >= 0
	case find:
		return s.picked == nil
	case sortNext, reverse:
		return s.picked == nil && len(s.shown) > 1
	case copyIt, copyCommand:
		return s.picked != nil || len(s.shown) > 0
	case export:
		return len(s.shown) > 0
	}
	return false
}

// neighbour is the place in shown of the item before or after the one shown in full, or
// -1.
func (s *list[T]) neighbour(by int) int {
	n := s.cursor + by
	if n < 0 || n >= len(s.shown) {
		return -1
	}
	return n
}

func (s *list[T]) do(v verb, l kind.Look) (asks bool) {
	if s.picked != nil {
		return s.doPicked(v, l)
	}
	switch {
	case v == treeForm:
		s.turn(l)
		return false
	case s.tree != nil && v == open && s.tree.item() >= 0:
		s.cursor = max(0, slices.Index(s.shown, s.tree.item()))
		s.pick()
		return true
	case s.tree != nil && v != back:
		s.tree.do(v, s.height)
		return false
	}
	switch v {
	case up, down, pageUp, pageDown, first, last:
		s.cursor, s.top = moved(v, s.cursor, s.top, s.rowsSeen(), len(s.shown))
	case open:
		s.pick()
		return true
	case back:
		s.where = kind.Filter{}
		s.arrange(l)
	case sortNext:
		s.sortNext()
		s.arrange(l)
	case reverse:
		s.falling = !s.falling
		s.arrange(l)
	}
	s.hold()
	return false
}

// turn shows a tree in place of the table, or the other way round, with the cursor where it was.
func (s *list[T]) turn(l kind.Look) {
	if s.tree == nil {
		at := s.cursor
		s.tree = newTree()
		s.grow(l)
		if at < len(s.shown) {
			s.tree.seek(s.shown[at], s.height)
		}
		return
	}
	at := s.tree.item()
	s.tree = nil
	if n := slices.Index(s.shown, at); n >= 0 {
		s.cursor = n
	}
	s.hold()
}

// sortNext goes to the next of the columns in sight.
func (s *list[T]) sortNext() {
	cols := slices.DeleteFunc(s.columns(), func(c column[T]) bool { return !c.Sortable() })
	at := slices.IndexFunc(cols, func(c column[T]) bool { return c.index > s.sortBy })
	c := cols[max(0, at)]
	s.sortBy, s.falling = c.index, c.Numeric()
}

func (s *list[T]) pick() {
	item := s.items[s.shown[s.cursor]]
	s.picked = &picked[T]{id: s.kind.ID(&item), item: item}
}

func (s *list[T]) doPicked(v verb, l kind.Look) (asks bool) {
	switch v {
	case back:
		s.picked, s.err = nil, nil
		if s.tree != nil && s.cursor < len(s.shown) && s.tree.item() != s.shown[s.cursor] {
			s.tree.seek(s.shown[s.cursor], s.height) // others were stepped to
		}
		return true
	case earlier, later:
		by := 1
		if v == earlier {
			by = -1
		}
		s.cursor = s.neighbour(by)
		s.hold()
		s.pick()
		return true
	}
	s.picked.page.scroll(v, len(s.detail(noTheme, l)), s.height)
	return false
}

func (s *list[T]) copied() (text, what string) {
	item := s.current()
	if s.picked != nil {
		item = &s.picked.item
	}
	if item == nil {
		return "", ""
	}
	if s.kind.Copied != nil {
		return s.kind.Copied(item), s.kind.One
	}
	return s.kind.ID(item), s.kind.One
}

// trace is what a trace of the item under the cursor asks for.
func (s *list[T]) trace() (q adminapi.TraceQuery, ok bool) {
	item := s.current()
	if s.picked != nil {
		item = &s.picked.item
	}
	if item == nil || s.kind.Trace == nil {
		return q, false
	}
	return s.kind.Trace(item), true
}

// command is the one that tells what is under the cursor.
func (s *list[T]) command() string {
	if item := s.current(); item != nil && s.picked == nil {
		return s.kind.Command(item)
	}
	return s.headless()
}

// want has an item shown in full, at once or when it is known.
func (s *list[T]) want(id string) {
	s.picked, s.err, s.wanted = nil, nil, id
}

// found opens the item that is wanted. It tells whether the question is another one now.
func (s *list[T]) found() (opened bool, missing string) {
	if s.wanted == "" || !s.known {
		return false, ""
	}
	id := s.wanted
	s.wanted = ""
	n := slices.IndexFunc(s.shown, func(i int) bool { return s.name(&s.items[i]) == id })
	if n < 0 {
		return false, id
	}
	s.cursor = n
	s.hold()
	s.pick()
	return true, ""
}

// name is what people call an item.
func (s *list[T]) name(item *T) string {
	if s.kind.Title != nil {
		return s.kind.Title(item)
	}
	return s.kind.ID(item)
}

// names are those of all items that are known.
func (s *list[T]) names() []string {
	out := make([]string, len(s.items))
	for i := range s.items {
		out[i] = s.name(&s.items[i])
	}
	return out
}

// one and many are what the kind is called.
func (s *list[T]) called() (one, many string) { return s.kind.One, s.kind.Many }

// exported is what is shown, an item a line: all that is known of each.
func (s *list[T]) exported() (lines []any) {
	for _, i := range s.shown {
		lines = append(lines, &s.items[i])
	}
	return lines
}

// table is what is shown, as the columns have it.
func (s *list[T]) table(l kind.Look) (rows [][]string) {
	l = s.look(l)
	var head []string
	for i := range s.kind.Columns {
		if s.kind.Columns[i].Sortable() {
			head = append(head, s.kind.Columns[i].Field())
		}
	}
	rows = append(rows, head)
	for _, n := range s.shown {
		var row []string
		for i := range s.kind.Columns {
			if c := &s.kind.Columns[i]; c.Sortable() {
				row = append(row, c.Plain(&s.items[n], l))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// click is what a press of the mouse in the body asks for: a row under the cursor opens, another one
// gets the cursor, and a heading sorts.
func (s *list[T]) click(x, y int, l kind.Look) verb {
	switch {
	case s.picked != nil || len(s.shown) == 0:
	case s.tree != nil:
		return s.tree.click(y)
	case y == 0:
		at := margin
		for _, c := range s.columns() {
			if at += c.width + gap; x < at {
				if c.Sortable() {
					s.falling = c.index == s.sortBy && !s.falling || c.index != s.sortBy && c.Numeric()
					s.sortBy = c.index
					s.arrange(l)
				}
				break
			}
		}
	case s.top+y-1 == s.cursor:
		return open
	case s.top+y-1 < len(s.shown):
		s.cursor = s.top + y - 1
		s.hold()
	}
	return none
}

func (s *list[T]) headless() string {
	if s.picked != nil {
		return s.kind.Command(&s.picked.item)
	}
	return s.place.headless
}

// ---- filter

func (s *list[T]) filter() string   { return s.where.Source }
func (s *list[T]) fields() []string { return s.kind.Fields() }

func (s *list[T]) setFilter(src string, l kind.Look) error {
	f, err := kind.ParseFilter(src, s.kind.Fields())
	if err != nil {
		return err
	}
	s.where = f
	s.arrange(l)
	return nil
}

// ---- what is seen

func (s *list[T]) status(l kind.Look) (left, right kind.Line) {
	if p := s.picked; p != nil {
		title := p.id
		if s.kind.Title != nil {
			title = s.kind.Title(&p.item)
		}
		left = kind.Line{{Text: " " + s.kind.One + " ", Tone: kind.Faint}, {Text: kind.Clean(title), Tone: kind.Strong}}
		if p.gone != nil {
			left = append(left, kind.Cell{Text: "  gone: " + kind.Clean(p.gone.Error()), Tone: kind.Bad})
		}
		n := len(s.detail(noTheme, l))
		if n > s.height {
			right = kind.Line{{Text: rangeOf(min(p.page.top, n-s.height), s.height, n) + " lines ", Tone: kind.Faint}}
		}
		return s.withError(left), right
	}
	total, what := kind.Count(int64(len(s.items))), s.kind.Many
	if len(s.items) >= adminapi.ListMax {
		total = "the first " + total
	}
	if len(s.items) == 1 {
		what = s.kind.One
	}
	switch {
	case !s.known:
		left = kind.Line{{Text: " " + s.kind.Many, Tone: kind.Faint}}
	case s.where.Source != "":
		left = kind.Line{{Text: fmt.Sprintf(" %s of %s %s", kind.Count(int64(len(s.shown))), total, what)}, {Text: "  filter ", Tone: kind.Faint}, {Text: kind.Clean(s.where.Source), Tone: kind.Strong}}
	default:
		left = kind.Line{{Text: " " + total + " " + what}}
	}
	if s.tree != nil {
		return s.withError(append(left, kind.Cell{Text: "  as a tree", Tone: kind.Faint})), s.tree.status(s.height)
	}
	cols := s.columns()
	if !slices.ContainsFunc(cols, func(c column[T]) bool { return c.index == s.sortBy }) {
		right = append(right, kind.Cell{Text: "by " + s.kind.Columns[s.sortBy].Field() + arrow(s.falling) + "  "})
	}
	if n := len(s.kind.Columns) - len(cols); n > 0 && len(s.shown) > 0 {
		right = append(right, kind.Cell{Text: hidden(n) + "  ", Tone: kind.Faint})
	}
	if len(s.shown) > s.rowsSeen() {
		right = append(right, kind.Cell{Text: rangeOf(s.top, s.rowsSeen(), len(s.shown)) + " ", Tone: kind.Faint})
	}
	return s.withError(left), right
}

func (s *list[T]) withError(left kind.Line) kind.Line {
	if s.err != nil {
		left = append(left, kind.Cell{Text: "  " + kind.Clean(s.err.Error()), Tone: kind.Bad})
	}
	return left
}

// hidden says how many columns there is no room for.
func hidden(n int) string {
	if n == 1 {
		return "1 column hidden"
	}
	return fmt.Sprintf("%d columns hidden", n)
}

// rangeOf writes "1–20 of 34".
func rangeOf(from, n, of int) string {
	return fmt.Sprintf("%d–%d of %d", from+1, min(from+n, of), of)
}

func (s *list[T]) detail(t *theme, l kind.Look) []string {
	return t.sections(s.kind.Detail(&s.picked.item, s.look(l)), s.width)
}

func (s *list[T]) body(t *theme, l kind.Look) []string {
	l = s.look(l)
	if s.picked != nil {
		seen, _ := s.picked.page.view(s.detail(t, l), s.height)
		return seen
	}
	switch {
	case !s.known && s.err == nil:
		return []string{"", t.line(s.width, kind.Cell{Text: " asking the broker…", Tone: kind.Faint})}
	case s.known && len(s.items) == 0:
		return []string{"", t.line(s.width, kind.Cell{Text: " " + s.kind.Empty, Tone: kind.Faint})}
	case s.known && len(s.shown) == 0:
		return []string{"", t.line(s.width, kind.Cell{Text: fmt.Sprintf(" none of %d %s passes the filter; esc takes it away", len(s.items), s.kind.Many), Tone: kind.Faint})}
	case len(s.shown) == 0:
		return nil
	}
	if s.tree != nil {
		return s.tree.body(t, s.width, s.height)
	}
	cols := s.columns()
	out := []string{heading(t, cols, s.sortBy, s.falling, s.width)}
	for n := s.top; n < min(s.top+s.rowsSeen(), len(s.shown)); n++ {
		item := &s.items[s.shown[n]]
		out = append(out, row(t, cols, item, l, n == s.cursor, s.width))
	}
	return out
}

func (s *list[T]) columns() []column[T] { return columns(s.kind.Columns, s.natural, s.width) }

// moved is where the cursor and the first row that is seen are after a verb of movement, of n rows of which
// so many are seen; who draws keeps them in bounds.
func moved(v verb, cursor, top, seen, n int) (int, int) {
	switch v {
	case up:
		cursor--
	case down:
		cursor++
	case pageUp:
		cursor, top = cursor-seen, top-seen
	case pageDown:
		cursor, top = cursor+seen, top+seen
	case first:
		cursor = 0
	case last:
		cursor = n - 1
	}
	return cursor, top
}
