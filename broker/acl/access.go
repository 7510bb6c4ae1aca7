package acl

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Source is where the table in force is kept. Safe for concurrent use.
type Source interface {
	// Table returns the table in force. It is asked at every question, and must be cheap.
	Table() *Table
}

// Access answers the questions of one connection. What it has answered it remembers until the
// table changes, so that a change counts at once, for connections that are there too.
// Safe for concurrent use; it takes no memory while there are no rules.
type Access struct {
	source Source
	who    Subject

	last  atomic.Pointer[answer] // the newest, which is the one wanted again as a rule
	known atomic.Pointer[known]  // nil: there were no rules whenever something was asked
}

// known is what rules say of one subject.
type known struct {
	mu    sync.Mutex
	table *Table             // of which the following holds
	super bool               // who stands above the rules
	mine  []*entry           // its rules that are about who
	seen  map[string]*answer // by kind and name: at most seenMax
}

// answer is what is known of one resource. It does not change.
type answer struct {
	table   *Table
	kind    Kind
	name    string
	allowed Action
}

// seenMax bounds what a connection remembers; at it everything is forgotten.
const seenMax = 128

// NewAccess returns the access of a subject.
func NewAccess(source Source, who Subject) *Access { return &Access{source: source, who: who} }

// Who is the subject.
func (a *Access) Who() Subject { return a.who }

// May tells whether one action on a resource is allowed. name is borrowed. A nil Access
// allows everything.
func (a *Access) May(act Action, k Kind, name string) bool {
	if a == nil {
		return true
	}
	t := a.source.Table()
	if t.n == 0 {
		return true
	}
	if last := a.last.Load(); last != nil && last.table == t && last.kind == k && last.name == name {
		return last.allowed&act != 0
	}
	return a.look(t, k, name).allowed&act != 0
}

// look finds what is known of a resource, or finds it out.
func (a *Access) look(t *Table, k Kind, name string) *answer {
	at := a.lock(t)
	defer at.mu.Unlock()
	var found *answer
	if k == Address { // the others are not asked often
		found = at.seen[name]
	}
	if found == nil {
		found = &answer{table: t, kind: k, name: strings.Clone(name)}
		if found.allowed = All; !at.super {
			found.allowed = allowed(at.mine, &a.who, k, name)
		}
		if k == Address {
			if len(at.seen) >= seenMax || at.seen == nil {
				at.seen = make(map[string]*answer)
			}
			at.seen[found.name] = found
		}
	}
	a.last.Store(found)
	return found
}

// lock returns what is known by a table, locked; what another table said is forgotten.
func (a *Access) lock(t *Table) *known {
	at := a.known.Load()
	if at == nil {
		a.known.CompareAndSwap(nil, new(known))
		at = a.known.Load()
	}
	at.mu.Lock()
	if at.table != t {
		at.table, at.super, at.mine, at.seen = t, t.above(&a.who), t.of(&a.who), nil
	}
	return at
}

// ask calls f with the rules that are about the subject, when it takes rules to decide; else
// everything is allowed, and ask tells so.
func (a *Access) ask(f func(mine []*entry)) (free bool) {
	if a == nil {
		return true
	}
	t := a.source.Table()
	if t.n == 0 {
		return true
	}
	at := a.lock(t)
	defer at.mu.Unlock()
	if !at.super {
		f(at.mine)
	}
	return at.super
}

// Extent tells on how much of a filter's addresses an action is allowed.
func (a *Access) Extent(act Action, filter string) (x Extent) {
	if a.ask(func(mine []*entry) { x = extent(mine, &a.who, act, filter) }) {
		return Everything
	}
	return x
}

// Granted tells whether a rule allows an action on a resource: not because there are no rules.
func (a *Access) Granted(act Action, k Kind, name string) bool {
	return a.source.Table().n > 0 && a.May(act, k, name)
}

// Anywhere tells whether an action is allowed on any resource of a kind at all.
func (a *Access) Anywhere(act Action, k Kind) (ok bool) {
	return a.ask(func(mine []*entry) {
		ok = slices.ContainsFunc(mine, func(e *entry) bool {
			return !e.Deny && e.Kind == k && e.gives(act) && !slices.ContainsFunc(mine, func(d *entry) bool { return d.takes(e, act) })
		})
	}) || ok
}

// takes tells whether a rule denies everything that another allows, as far as one name shows it.
func (e *entry) takes(from *entry, act Action) bool {
	return e.Deny && e.Kind == from.Kind && e.gives(act) &&
		(e.Prefix && strings.HasPrefix(from.Name, e.Name) || !e.Prefix && e.Name == from.Name && !from.Prefix)
}

// Enters tells whether there is anything that the subject may do in its namespace.
func (a *Access) Enters() (ok bool) {
	return a.ask(func(mine []*entry) { ok = slices.ContainsFunc(mine, func(e *entry) bool { return !e.Deny }) }) || ok
}
