package acl

import "strings"

// level is one level of a pattern.
type level struct {
	kind levelKind
	text string // of a literal
}

type levelKind uint8

const (
	literal levelKind = iota
	one
	rest
	user   // %u
	client // %c
)

// pattern is a filter taken apart.
type pattern []level

// compile takes a rule's filter apart, placeholders included.
func compile(filter string) pattern {
	p := parse(filter)
	for i := range p {
		switch p[i].text {
		case "%u":
			p[i].kind = user
		case "%c":
			p[i].kind = client
		}
	}
	return p
}

// parse takes a filter apart that a client subscribes or binds by.
func parse(filter string) pattern {
	var p pattern
	for text := range strings.SplitSeq(filter, "/") {
		l := level{text: text}
		switch text {
		case "+":
			l.kind = one
		case "#":
			l.kind = rest
		}
		p = append(p, l)
	}
	return p
}

// dollar tells whether a first level is a $-root, which wildcards do not match.
func dollar(text string) bool { return len(text) > 0 && text[0] == '$' }

// is tells whether a level that stands for one, of a subject, matches a level of an address.
// A placeholder for a name that the subject does not have matches nothing.
func (l *level) is(s *Subject, text string) bool {
	switch l.kind {
	case one:
		return true
	case user:
		return s.User != "" && s.User == text
	case client:
		return s.Client != "" && s.Client == text
	}
	return l.text == text
}

// cursor is what is left of an address. more: there is a level left, though it may be empty.
type cursor struct {
	text string
	more bool
}

func (c cursor) next() (level string, after cursor) {
	level, c.text, c.more = strings.Cut(c.text, "/")
	return level, c
}

// match tells whether an address is one of the pattern's. It allocates nothing, and takes at
// most the product of the two lengths.
func (p pattern) match(s *Subject, address string) bool {
	if dollar(address) && (p[0].kind == one || p[0].kind == rest) {
		return false
	}
	i, at := 0, cursor{address, true}
	// Where to go on when what follows the last # does not match: a level further.
	retryAt, retry := -1, cursor{}
	for {
		switch {
		case i < len(p) && p[i].kind == rest:
			if i++; i == len(p) {
				return true
			}
			retryAt, retry = i, at
			continue
		case i < len(p) && at.more:
			if text, after := at.next(); p[i].is(s, text) {
				i, at = i+1, after
				continue
			}
		case i == len(p) && !at.more:
			return true
		}
		if retryAt < 0 || !retry.more {
			return false
		}
		_, retry = retry.next()
		i, at = retryAt, retry
	}
}

// covers tells whether every address that f matches is one of p's.
func (p pattern) covers(s *Subject, f pattern) bool {
	if (f[0].kind == literal && dollar(f[0].text)) && (p[0].kind == one || p[0].kind == rest) {
		return false
	}
	return newGrid(p, f).solve(func(g *grid, i, j int) bool {
		switch {
		case i == len(p):
			return j == len(f)
		case p[i].kind == rest:
			return g.at(i+1, j) || j < len(f) && g.at(i, j+1)
		case j == len(f) || f[j].kind == rest:
			return false
		case f[j].kind == one:
			return p[i].kind == one && g.at(i+1, j+1)
		}
		return p[i].is(s, f[j].text) && g.at(i+1, j+1)
	})
}

// meets tells whether some address that f matches may be one of p's.
func (p pattern) meets(s *Subject, f pattern) bool {
	wild := func(l level) bool { return l.kind == one || l.kind == rest }
	if f[0].kind == literal && dollar(f[0].text) && wild(p[0]) || p[0].kind == literal && dollar(p[0].text) && wild(f[0]) {
		return false
	}
	return newGrid(p, f).solve(func(g *grid, i, j int) bool {
		switch {
		case i == len(p) && j == len(f):
			return true
		case i < len(p) && p[i].kind == rest:
			return g.at(i+1, j) || j < len(f) && g.at(i, j+1)
		case j < len(f) && f[j].kind == rest:
			return g.at(i, j+1) || i < len(p) && g.at(i+1, j)
		case i == len(p) || j == len(f):
			return false
		case f[j].kind == one:
			return p[i].possible(s) && g.at(i+1, j+1)
		}
		return p[i].is(s, f[j].text) && g.at(i+1, j+1)
	})
}

// possible tells whether there is a text that the level matches.
func (l *level) possible(s *Subject) bool {
	return l.kind != user && l.kind != client || l.kind == user && s.User != "" || l.kind == client && s.Client != ""
}

// grid remembers which pairs of suffixes were compared, so that comparing two patterns takes
// no more than the product of their lengths, however many # they have.
type grid struct {
	width int
	known []int8 // 0: not yet; 1: yes; -1: no
	step  func(g *grid, i, j int) bool
}

func newGrid(p, f pattern) *grid {
	return &grid{width: len(f) + 1, known: make([]int8, (len(p)+1)*(len(f)+1))}
}

func (g *grid) solve(step func(g *grid, i, j int) bool) bool {
	g.step = step
	return g.at(0, 0)
}

func (g *grid) at(i, j int) bool {
	k := i*g.width + j
	if g.known[k] == 0 {
		g.known[k] = -1
		if g.step(g, i, j) {
			g.known[k] = 1
		}
	}
	return g.known[k] > 0
}

// head is the text that every address of a filter begins with. whole: there is no wildcard.
func head(filter string) (text string, whole bool) {
	end := 0
	for at := (cursor{filter, true}); at.more; {
		var text string
		text, at = at.next()
		switch text {
		case "#": // "a/#" matches "a"
			return filter[:max(end-1, 0)], false
		case "+":
			return filter[:end], false
		}
		end += len(text) + 1
	}
	return filter, true
}
