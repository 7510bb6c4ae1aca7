// Package acl decides who may do what: one set of rules for every protocol.
//
// A Rule allows or denies a subject (a user, a client id, an address it connects from) some
// actions on a resource: addresses, consumer groups, transactional ids, or the cluster
// itself. Each protocol asks in its own words (publish, produce and basic.publish are all
// Write on an address), so that a rule holds whichever way a client comes.
//
// Rules have no order. A rule that denies beats all that allow, and what no rule allows is
// denied; but while there is no rule at all, everything is allowed. The order of writing, or
// of two administrators, decides nothing, and a set is what Kafka's requests can say.
//
// An address is matched by a filter in MQTT's spelling: + is one level, # any number, also
// none, and may stand anywhere. At the first level neither matches a $-root, as in a
// subscription. %u and %c, each as a whole level, stand for the subject's user name and
// client id. With Prefix the name is the beginning of an address instead, and "" is every
// address, $-roots too: what Kafka means by PREFIXED and by "*".
//
//	rule.go       Rule, Action, Kind: the words, and how they are written
//	match.go      filters against addresses, and against other filters
//	table.go      a set of rules, compiled; what it says of a subject
//	ban.go        who is kept out, whatever the rules say
//	access.go     one connection's questions, remembered until the rules change
//	mosquitto.go  Mosquitto's acl_file as rules
package acl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// Action is what a subject wants to do, or several such: a bit each.
type Action uint16

const (
	Read            Action = 1 << iota // subscribe, fetch, consume; take part in a group
	Write                              // publish, produce
	Create                             //
	Delete                             //
	Alter                              // change, purge; of the cluster: rules and placement
	Describe                           // see that it is there, and how it is
	DescribeConfigs                    //
	AlterConfigs                       //
	ClusterAction                      // Kafka's, between brokers
	IdempotentWrite                    // Kafka's, of the cluster: implied by Write on any address

	// All is every action.
	All Action = 1<<iota - 1
)

// actionNames are the words for actions: those printed, in the order of their bits.
var actionNames = [...]string{
	"read", "write", "create", "delete", "alter", "describe", "describe-configs", "alter-configs", "cluster-action", "idempotent-write",
}

// actionWords are further words, of the protocols.
var actionWords = map[string]Action{
	"all": All, "*": All, "readwrite": Read | Write,
	"publish": Write, "produce": Write,
	"subscribe": Read, "consume": Read, "fetch": Read,
	"configure": Create | Delete | Alter, // AMQP's
}

// ActionNames lists the words that ParseActions reads.
func ActionNames() []string {
	names := slices.Clone(actionNames[:])
	for w := range actionWords {
		if w != "*" {
			names = append(names, w)
		}
	}
	slices.Sort(names)
	return names
}

// ParseActions reads actions with commas between them.
func ParseActions(s string) (Action, error) {
	var a Action
	for word := range strings.SplitSeq(s, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		more, ok := actionWords[word]
		if i := slices.Index(actionNames[:], strings.ReplaceAll(word, "_", "-")); i >= 0 {
			more, ok = 1<<i, true
		}
		if !ok {
			return 0, fmt.Errorf("%q is no action; there are %s", word, strings.Join(ActionNames(), ", "))
		}
		a |= more
	}
	return a, nil
}

// String lists the actions with commas, "all" for all of them.
func (a Action) String() string {
	if a == All {
		return "all"
	}
	var words []string
	for i, name := range actionNames {
		if a&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, ",")
}

// MarshalText and UnmarshalText make JSON say what String does.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (a *Action) UnmarshalText(text []byte) (err error) {
	*a, err = ParseActions(string(text))
	return err
}

// Kind is what kind of resource a rule is about.
type Kind uint8

const (
	Address     Kind = iota // what is published to and read from: topics, queues, exchanges
	Group                   // a consumer group
	Transaction             // a transactional id
	Cluster                 // the broker itself; it has no name
	kinds
)

var kindNames = [kinds]string{"address", "group", "transaction", "cluster"}

func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText and UnmarshalText make JSON say what String does.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (k *Kind) UnmarshalText(text []byte) error {
	i := slices.Index(kindNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of %s", text, strings.Join(kindNames[:], ", "))
	}
	*k = Kind(i)
	return nil
}

// Rule is one line of the table. A table has one for each subject, resource and effect: its
// actions are all that were given.
type Rule struct {
	Deny      bool   `json:"deny,omitempty"`
	User      string `json:"user,omitempty"`      // "": whoever it is
	Client    string `json:"client,omitempty"`    // MQTT client id; "": any, and of other protocols
	Host      string `json:"host,omitempty"`      // an IP address, or a range of them (10.0.0.0/8); "": any
	Namespace string `json:"namespace,omitempty"` // "": "/"; AnyNamespace: all
	Actions   Action `json:"actions"`
	Kind      Kind   `json:"kind,omitempty"`
	Name      string `json:"name,omitempty"` // a filter of addresses; otherwise a name
	Prefix    bool   `json:"prefix,omitempty"`
}

// AnyNamespace stands for every namespace.
const AnyNamespace = "*"

// Bounds of a rule and of the table.
const (
	NameMax  = 4 << 10 // bytes of any text of a rule
	LevelMax = 128     // levels of a filter
	RestMax  = 4       // # in a filter
	RulesMax = 10_000
)

// Check tells what is wrong with a rule.
func (r *Rule) Check() error {
	for _, s := range []string{r.User, r.Client, r.Host, r.Namespace, r.Name} {
		if len(s) > NameMax {
			return fmt.Errorf("a name of %d bytes; at most %d fit", len(s), NameMax)
		}
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
			return fmt.Errorf("%q is not a line of UTF-8", s)
		}
	}
	switch {
	case r.Actions == 0 || r.Actions&^All != 0:
		return errors.New("it names no action")
	case r.Kind >= kinds:
		return fmt.Errorf("%v is none of %s", r.Kind, strings.Join(kindNames[:], ", "))
	case r.Kind == Cluster && (r.Name != "" || r.Prefix):
		return errors.New("the cluster has no name")
	case r.Kind != Cluster && r.Name == "" && !r.Prefix:
		return fmt.Errorf("which %s it is about is missing", r.Kind)
	}
	if r.Host != "" {
		if _, err := parseHost(r.Host); err != nil {
			return err
		}
	}
	if r.Kind != Address || r.Prefix {
		return nil
	}
	rests := 0
	levels := strings.Split(r.Name, "/")
	for _, l := range levels {
		switch {
		case l == "#":
			rests++
		case l == "+" || l == "%u" || l == "%c":
		case strings.ContainsAny(l, "+#"):
			return fmt.Errorf("level %q of %q: + and # stand for whole levels", l, r.Name)
		}
	}
	switch {
	case len(levels) > LevelMax:
		return fmt.Errorf("%d levels; at most %d are compared", len(levels), LevelMax)
	case rests > RestMax:
		return fmt.Errorf("%q has # more than %d times", r.Name, RestMax)
	}
	return nil
}

// parseHost reads an address or a range of them.
func parseHost(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a range of them, as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

// Resource is what the rule is about, as it is typed: "sensors/#", "group:billing",
// "cluster". A prefix ends in "…".
func (r *Rule) Resource() string {
	name := r.Name
	if r.Prefix {
		name += "…"
	}
	switch r.Kind {
	case Address:
		return name
	case Cluster:
		return "cluster"
	}
	return r.Kind.String() + ":" + name
}

// ParseResource reads a resource as it is typed: "group:NAME", "transaction:NAME", "cluster", and
// everything else, or "address:…", is an address.
func ParseResource(s string) (Kind, string) {
	if s == "cluster" {
		return Cluster, ""
	}
	kind, name, ok := strings.Cut(s, ":")
	switch {
	case ok && kind == "group":
		return Group, name
	case ok && kind == "transaction":
		return Transaction, name
	case ok && kind == "address":
		return Address, name
	}
	return Address, s
}

// Who is whom the rule is about, as it is printed: "user ann", "client dev1", "anybody".
func (r *Rule) Who() string {
	var who []string
	if r.User != "" {
		who = append(who, "user "+r.User)
	}
	if r.Client != "" {
		who = append(who, "client "+r.Client)
	}
	if r.Host != "" {
		who = append(who, "from "+r.Host)
	}
	if len(who) == 0 {
		return "anybody"
	}
	return strings.Join(who, " ")
}

// Effect is "allow" or "deny".
func (r *Rule) Effect() string {
	if r.Deny {
		return "deny"
	}
	return "allow"
}

// String is the rule in words.
func (r *Rule) String() string {
	s := r.Effect() + " " + r.Who() + " to " + r.Actions.String() + " " + r.Resource()
	if r.Namespace != "" {
		s += " in " + r.Namespace
	}
	return s
}

// Key says everything of a rule but its actions: rules with one key are one.
func (r Rule) Key() string {
	r = r.Canonical()
	r.Actions = 0
	b, _ := json.Marshal(&r) // text and numbers: it cannot fail
	return string(b)
}

// Canonical returns the rule as it is kept.
func (r Rule) Canonical() Rule {
	if r.Namespace == "/" {
		r.Namespace = ""
	}
	return r
}

// In tells whether the rule is about a namespace.
func (r *Rule) In(namespace string) bool {
	return r.Namespace == AnyNamespace || cmp.Or(r.Namespace, "/") == cmp.Or(namespace, "/")
}

// Compare orders rules for lists: by namespace, user, client, host, resource; denials first.
func Compare(a, b *Rule) int {
	return cmp.Or(
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.User, b.User), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Host, b.Host),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), -compareBool(a.Deny, b.Deny), compareBool(a.Prefix, b.Prefix),
		cmp.Compare(a.Actions, b.Actions),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
