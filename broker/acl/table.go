package acl

import (
	"net/netip"
	"slices"
	"strings"
)

// Subject is who asks.
type Subject struct {
	User      string
	Client    string // MQTT client id; "" of other protocols
	Host      netip.Addr
	Namespace string
	Super     bool // who let it in says that it may do everything, whatever the rules say
}

// entry is a rule, compiled.
type entry struct {
	Rule
	pattern pattern      // of an address filter
	hosts   netip.Prefix // of Rule.Host, when it is given
}

// Table is a set of rules, compiled, and who stands above them. It does not change, but for
// what super answers: then there is a new Table.
type Table struct {
	n      int
	byUser map[string][]*entry
	others []*entry // that name no user
	super  func(user string) bool
}

// NewTable compiles rules, which were checked. super tells which users may do everything,
// whatever the rules say; nil: none.
func NewTable(rules []Rule, super func(user string) bool) *Table {
	t := &Table{n: len(rules), byUser: make(map[string][]*entry), super: super}
	for _, r := range rules {
		e := &entry{Rule: r}
		if r.Kind == Address && !r.Prefix {
			e.pattern = compile(r.Name)
		}
		if r.Host != "" {
			e.hosts, _ = parseHost(r.Host)
		}
		if r.User == "" {
			t.others = append(t.others, e)
		} else {
			t.byUser[r.User] = append(t.byUser[r.User], e)
		}
	}
	return t
}

// Again returns a table with the same rules, of which nothing is remembered yet: super answers
// otherwise now.
func (t *Table) Again() *Table {
	again := *t
	return &again
}

// Len is the number of rules.
func (t *Table) Len() int { return t.n }

// above tells whether a subject stands above the rules.
func (t *Table) above(s *Subject) bool { return s.Super || t.super != nil && t.super(s.User) }

// of returns the rules that are about a subject.
func (t *Table) of(s *Subject) []*entry {
	var mine []*entry
	for _, rules := range [][]*entry{t.byUser[s.User], t.others} {
		for _, e := range rules {
			if e.about(s) {
				mine = append(mine, e)
			}
		}
	}
	return slices.Clip(mine)
}

func (e *entry) about(s *Subject) bool {
	return (e.Client == "" || e.Client == s.Client) &&
		e.In(s.Namespace) &&
		(e.Host == "" || s.Host.IsValid() && e.hosts.Contains(s.Host))
}

// implied adds what an action gives without being named, as Kafka has it: who may read,
// write, delete or alter may see that the thing is there.
func implied(a Action) Action {
	if a&(Read|Write|Delete|Alter) != 0 {
		a |= Describe
	}
	if a&AlterConfigs != 0 {
		a |= DescribeConfigs
	}
	return a
}

// gives tells whether a rule says anything about one action. A rule that denies takes only
// what it names.
func (e *entry) gives(a Action) bool {
	if e.Deny {
		return e.Actions&a != 0
	}
	return implied(e.Actions)&a != 0
}

// matches tells whether a rule is about a resource.
func (e *entry) matches(s *Subject, k Kind, name string) bool {
	switch {
	case e.Kind != k:
		return false
	case k == Cluster:
		return true
	case e.Prefix:
		return strings.HasPrefix(name, e.Name)
	case k == Address:
		return e.pattern.match(s, name)
	}
	return e.Name == name
}

// covers tells whether a rule is about every address that a filter matches.
func (e *entry) covers(s *Subject, filter string, f pattern) bool {
	switch {
	case e.Kind != Address:
		return false
	case e.Prefix:
		begin, _ := head(filter)
		return strings.HasPrefix(begin, e.Name)
	}
	return e.pattern.covers(s, f)
}

// meets tells whether a rule is about any address that a filter matches.
func (e *entry) meets(s *Subject, filter string, f pattern) bool {
	switch {
	case e.Kind != Address:
		return false
	case e.Prefix:
		begin, whole := head(filter)
		return strings.HasPrefix(begin, e.Name) || !whole && strings.HasPrefix(e.Name, begin)
	}
	return e.pattern.meets(s, f)
}

// Verdict is what a table says, and why.
type Verdict struct {
	Allowed bool  `json:"allowed"`
	Rule    *Rule `json:"rule,omitempty"` // that decided; nil when none did
	// Why is in words for a person.
	Why string `json:"why"`
	// Partly: of a filter, that only a part of what it matches is allowed.
	Partly bool `json:"partly,omitempty"`
}

// Explain is Decide for an address, a group …, or for all that a filter of addresses matches: of
// those a subscription gets what is allowed.
func (t *Table) Explain(s *Subject, a Action, k Kind, name string) Verdict {
	if _, whole := head(name); k != Address || whole || t.n == 0 || t.above(s) {
		return t.Decide(s, a, k, name)
	}
	mine, f := t.of(s), parse(name)
	by := func(deny bool, about func(*entry) bool) *Rule {
		for _, e := range mine {
			if e.Deny == deny && e.gives(a) && about(e) {
				return &e.Rule
			}
		}
		return nil
	}
	covers := func(e *entry) bool { return e.covers(s, name, f) }
	meets := func(e *entry) bool { return e.meets(s, name, f) }
	switch extent(mine, s, a, name) {
	case Everything:
		return Verdict{Allowed: true, Rule: by(false, covers), Why: "a rule allows all of it, and none denies any"}
	case Some:
		if r := by(true, meets); r != nil {
			return Verdict{Allowed: true, Partly: true, Rule: r, Why: "a part is allowed: a rule denies another"}
		}
		return Verdict{Allowed: true, Partly: true, Rule: by(false, meets), Why: "a part is allowed: no rule allows all of it"}
	}
	if r := by(true, covers); r != nil {
		return Verdict{Rule: r, Why: "a rule denies all of it"}
	}
	return Verdict{Why: "no rule allows any of it"}
}

// Decide asks about one action and one resource. It is what Access answers, in detail.
func (t *Table) Decide(s *Subject, a Action, k Kind, name string) Verdict {
	switch {
	case t.above(s):
		return Verdict{Allowed: true, Why: "administrators may do everything"}
	case t.n == 0:
		return Verdict{Allowed: true, Why: "there are no rules: everything is allowed"}
	}
	var allow *entry
	for _, e := range t.of(s) {
		switch {
		case !e.gives(a) || !e.matches(s, k, name):
		case e.Deny:
			return Verdict{Rule: &e.Rule, Why: "a rule denies it"}
		case allow == nil:
			allow = e
		}
	}
	if allow == nil {
		return Verdict{Why: "no rule allows it"}
	}
	return Verdict{Allowed: true, Rule: &allow.Rule, Why: "a rule allows it, and none denies it"}
}

// allowed returns every action that the rules of a subject allow on a resource.
func allowed(mine []*entry, s *Subject, k Kind, name string) Action {
	var given, taken Action
	for _, e := range mine {
		switch {
		case !e.matches(s, k, name):
		case e.Deny:
			taken |= e.Actions
		default:
			given |= implied(e.Actions)
		}
	}
	return given &^ taken
}

// Extent is how much of a filter's addresses may be had.
type Extent uint8

const (
	Nothing Extent = iota
	Some
	Everything
)

// extent tells how much of what a filter matches a subject may do an action on. Some may turn
// out to be nothing, where several rules or a rule and a denial would have to be put together.
func extent(mine []*entry, s *Subject, a Action, filter string) Extent {
	f := parse(filter)
	most := Nothing
	for _, e := range mine {
		switch {
		case e.Deny || !e.gives(a):
		case e.covers(s, filter, f):
			most = Everything
		case most == Nothing && e.meets(s, filter, f):
			most = Some
		}
	}
	for _, e := range mine {
		switch {
		case !e.Deny || !e.gives(a):
		case e.covers(s, filter, f):
			return Nothing
		case most == Everything && e.meets(s, filter, f):
			most = Some
		}
	}
	return most
}
