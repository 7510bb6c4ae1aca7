// Package telemetry turns what the parts of the broker count into numbers that
// people and machines read.
//
// Each part keeps its own counters, as plain atomics in a struct of its own, and
// knows nothing of this package. A Registry names them: a family is registered once
// with a function that reads the current values, and nothing is computed until somebody
// asks. Rates are differences between two such readings (Window); durations go into a
// Histogram.
package telemetry

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Kind is what a family of numbers is.
type Kind uint8

const (
	Counter Kind = iota // only grows, until the broker restarts
	Gauge
	histogram // see Registry.Histogram
)

func (k Kind) String() string {
	return [...]string{"counter", "gauge", "histogram"}[k]
}

// Emit takes one number of a family. Labels are names and values in turn; the same names
// for each number of a family.
type Emit func(value float64, labels ...string)

// familiesMax bounds a registry; parts register a fixed set of families when they start.
const familiesMax = 1000

// Registry holds families of numbers. Safe for concurrent use. The zero value is empty.
type Registry struct {
	mu       sync.Mutex
	families []family // guarded by mu; sorted by name when written
}

type family struct {
	name, help string
	kind       Kind
	read       func(Emit)
	hist       *Histogram
}

// Register adds a family. Its name is as Prometheus wants it: lower case, "_", counters
// ending in _total, with a unit in the name. read is called at each scrape, by any
// goroutine, and must not call back. A name that is taken is a defect.
func (r *Registry) Register(name, help string, kind Kind, read func(Emit)) {
	r.add(family{name: name, help: help, kind: kind, read: read})
}

// Histogram registers durations, in seconds when they are read.
func (r *Registry) Histogram(name, help string) *Histogram {
	h := new(Histogram)
	r.add(family{name: name, help: help, kind: histogram, hist: h})
	return h
}

func (r *Registry) add(f family) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !validName(f.name) || len(r.families) == familiesMax ||
		slices.ContainsFunc(r.families, func(g family) bool { return g.name == f.name }) {
		panic(fmt.Sprintf("telemetry: cannot register %q: the name is taken or none, or there are too many", f.name))
	}
	r.families = append(r.families, f)
}

func validName(name string) bool {
	for i, c := range name {
		if (c < 'a' || c > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// ContentType is that of WriteText.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// WriteText writes every family in Prometheus' text format, sorted by name.
func (r *Registry) WriteText(w io.Writer) error {
	r.mu.Lock()
	families := slices.Clone(r.families)
	r.mu.Unlock()
	slices.SortFunc(families, func(a, b family) int { return cmp.Compare(a.name, b.name) })
	var b []byte
	for i := range families {
		f := &families[i]
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", f.name, helpEscapes.Replace(f.help), f.name, f.kind)
		if f.hist != nil {
			b = f.hist.append(b, f.name)
			continue
		}
		f.read(func(value float64, labels ...string) { b = appendNumber(b, f.name, value, labels...) })
	}
	_, err := w.Write(b)
	return err
}

var (
	helpEscapes  = strings.NewReplacer("\\", `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`)
)

func appendNumber(b []byte, name string, value float64, labels ...string) []byte {
	b = append(b, name...)
	for i := 0; i+1 < len(labels); i += 2 {
		b = append(b, "{,"[min(i, 1)])
		b = append(b, labels[i]...)
		b = append(b, `="`...)
		b = append(b, valueEscapes.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD"))...)
		b = append(b, '"')
	}
	if len(labels) > 1 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	b = append(b, formatNumber(value)...)
	return append(b, '\n')
}

func formatNumber(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
