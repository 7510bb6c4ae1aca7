package tui

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/kind"
)

// plot is a number of the values of one address, over the messages that are kept of it.
type plot struct {
	protocol, address string
	path              kind.Path
	paths             []string // of numbers that a value of the address has, in their order
	points            []kind.Point
	without           uint64 // messages of the address that have no number there
}

// take adds a message, if it is of the address.
func (p *plot) take(m *adminapi.Message, l kind.Look) {
	if m.Address != p.address || m.Protocol != p.protocol {
		return
	}
	value, _, _ := l.Value(m)
	f, ok := p.path.Number(value)
	if !ok {
		p.without++
		return
	}
	if len(p.points) == keptMax {
		p.points = slices.Delete(p.points, 0, 1)
	}
	p.points = append(p.points, kind.Point{At: m.Time, Value: f})
}

// plotAll plots a number of the messages with the address of m: the one that a branch is, or the first.
func (s *messages) plotAll(m *adminapi.Message, at *kind.Branch, l kind.Look) {
	p := &plot{protocol: m.Protocol, address: m.Address, paths: numbers(m, l)}
	src := "."
	switch {
	case at != nil:
		src = at.Path
	case len(p.paths) > 0:
		src = p.paths[0]
	}
	path, err := kind.ParsePath(src)
	if err != nil { // our own: it is one
		return
	}
	s.plotPath(p, path, l)
}

func (s *messages) plotPath(p *plot, path kind.Path, l kind.Look) {
	p.path, p.points, p.without = path, nil, 0
	for i := range s.kept {
		p.take(&s.kept[i], l)
	}
	s.plot = p
}

// numbers are the paths of the numbers in a value.
func numbers(m *adminapi.Message, l kind.Look) (out []string) {
	tree, ok := kind.MessageTree(m, l)
	if !ok {
		return nil
	}
	tree.Leaves(func(b *kind.Branch) {
		if _, ok := b.Number(); ok {
			out = append(out, b.Path)
		}
	})
	return out
}

func (s *messages) doPlot(v verb, l kind.Look) {
	p := s.plot
	switch v {
	case back:
		s.plot = nil
	case later, earlier:
		at := slices.Index(p.paths, p.path.Source)
		if v == later {
			at++
		} else {
			at += len(p.paths) - 1
		}
		if path, err := kind.ParsePath(p.paths[max(0, at)%len(p.paths)]); err == nil {
			s.plotPath(p, path, l)
		}
	}
}

func (p *plot) status() (left, right kind.Line) {
	left = kind.Line{{Text: " " + kind.Clean(p.path.Source), Tone: kind.Strong}, {Text: " of ", Tone: kind.Faint}, {Text: kind.Clean(p.address), Tone: kind.Strong},
		{Text: ", " + messageCount(len(p.points)), Tone: kind.Faint}}
	if p.without > 0 {
		left = append(left, kind.Cell{Text: fmt.Sprintf(", %d without it", p.without), Tone: kind.Warn})
	}
	if at := slices.Index(p.paths, p.path.Source); at >= 0 && len(p.paths) > 1 {
		right = kind.Line{{Text: fmt.Sprintf("number %d of %d ", at+1, len(p.paths)), Tone: kind.Faint}}
	}
	return left, right
}

// axis is how wide the numbers beside a plot are.
const axis = 12

func (p *plot) body(t *theme, l kind.Look, w, h int) []string {
	if len(p.points) == 0 {
		return []string{"", t.line(w, kind.Cell{Text: " no message that is kept has a number there; new ones are plotted as they come", Tone: kind.Faint})}
	}
	points := slices.Clone(p.points)
	slices.SortStableFunc(points, func(a, b kind.Point) int { return a.At.Compare(b.At) })
	least, most := kind.Range(points)
	sum := 0.0
	for _, x := range points {
		sum += x.Value / float64(len(points))
	}
	high := max(1, h-3)
	rows := kind.Plot(points, max(1, w-axis-2), high)
	var out []string
	for i, r := range rows {
		label := ""
		switch i {
		case 0:
			label = figure(most)
		case len(rows) - 1:
			label = figure(least)
		case len(rows) / 2:
			label = figure(least/2 + most/2)
		}
		out = append(out, t.line(w, kind.Cell{Text: fit(label, axis, true) + " ", Tone: kind.Faint}, kind.Cell{Text: r, Tone: kind.Protocol(p.protocol)}))
	}
	from, to := points[0].At, points[len(points)-1].At
	times := l.Clock(from) + fit(l.Clock(to), w-axis-3-len(l.Clock(from)), true)
	out = append(out, t.line(w, kind.Cell{Text: fit("", axis, false) + " " + times, Tone: kind.Faint}), "")
	now := points[len(points)-1].Value
	said := kind.Line{{Text: fit("", axis, false) + " now ", Tone: kind.Faint}, {Text: figure(now), Tone: kind.Strong}}
	for _, x := range []struct {
		what string
		f    float64
	}{{"least", least}, {"most", most}, {"mean", sum}} {
		said = append(said, kind.Cell{Text: "  " + x.what + " ", Tone: kind.Faint}, kind.Cell{Text: figure(x.f)})
	}
	return append(out, t.line(w, append(said, kind.Cell{Text: "  over " + kind.Duration(to.Sub(from).Round(time.Second)), Tone: kind.Faint})...))
}

// figure writes a number of any size in few columns.
func figure(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }
