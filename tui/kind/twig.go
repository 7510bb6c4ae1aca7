package kind

import (
	"slices"
	"strings"
)

// Twig is a line of a tree of items, with what hangs below it.
type Twig struct {
	ID    string // among all of the tree, for as long as it is there
	Label Line
	Item  int // index of the item that it is; -1: none
	Kids  []*Twig
}

// Twigs counts a tree's lines.
func Twigs(all []*Twig) int {
	n := len(all)
	for _, t := range all {
		n += Twigs(t.Kids)
	}
	return n
}

// levels is a tree of addresses, a level a twig, in the order of their names.
type levels struct {
	roots []*Twig
	by    map[string]*Twig
}

func newLevels() *levels { return &levels{by: map[string]*Twig{}} }

// at is the twig of an address; those above it are made with it.
func (ls *levels) at(address string) *Twig {
	if t := ls.by[address]; t != nil {
		return t
	}
	t := &Twig{ID: address, Item: -1}
	ls.by[address] = t
	name := address
	if i := strings.LastIndexByte(address, '/'); i >= 0 {
		name = address[i+1:]
		above := ls.at(address[:i])
		above.Kids = append(above.Kids, t)
	} else {
		ls.roots = append(ls.roots, t)
	}
	if name == "" {
		t.Label = Line{{"(empty level)", Faint}}
	} else {
		t.Label = Line{{Clean(name), Name}}
	}
	return t
}

// done sorts the levels, and writes beside those that are no item themselves how many are below.
func (ls *levels) done() []*Twig {
	finish(ls.roots)
	return ls.roots
}

func finish(all []*Twig) (items int) {
	slices.SortStableFunc(all, func(a, b *Twig) int { return strings.Compare(a.ID, b.ID) })
	for _, t := range all {
		below := finish(t.Kids)
		if t.Item >= 0 {
			below++
		} else if below > 0 {
			t.Label = append(t.Label, Cell{"  " + Count(int64(below)), Faint})
		}
		items += below
	}
	return items
}
