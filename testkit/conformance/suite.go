package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Suite is the statements of one specification, in its order.
type Suite struct {
	Name       string // mqtt5, as in specs
	Prefix     string // MQTT5, of identifiers
	Title      string
	Version    mqtt.Version
	Ranges     []Range // the numbers that its list of statements has; none: it has no list
	Sections   map[string]string
	Statements []Statement
}

// Range is the numbered statements of one section: 1 to Last, but for Missing.
type Range struct {
	Section string
	Last    int
	Missing []int // numbers that the specification's list leaves out
}

// Statement is one thing that a server must do.
type Statement struct {
	ID   string // MQTT5-3.1.2-1; for a rule without a number MQTT5-2.2.2.2/unknown
	Text string // what it wants, in our words
	Why  string // why no test can see it; "" when there is one

	test  func(*T)
	timed bool // it lets time pass on the server
}

// Numbered tells whether the specification has given the statement its number.
func (s Statement) Numbered() bool { return !strings.Contains(s.ID, "/") }

// Tested tells whether there is a test.
func (s Statement) Tested() bool { return s.test != nil }

// Section is the number of its section: 3.1.2.
func (s Statement) Section() string {
	_, rest, _ := strings.Cut(s.ID, "-")
	rest, _, _ = strings.Cut(rest, "/")
	section, _, _ := strings.Cut(rest, "-")
	return section
}

// Suites returns all there are.
func Suites() []Suite { return []Suite{mqtt5(), mqtt311(), mqtt31()} }

// Group is the part of a suite that a summary counts together: the first two numbers of a
// section.
func (s Suite) Group(of Statement) (number, title string) {
	parts := strings.SplitN(of.Section(), ".", 3)
	number = strings.Join(parts[:min(2, len(parts))], ".")
	return number, s.Sections[number]
}

// Selection is statements of one suite.
type Selection struct {
	Suite      Suite
	Statements []Statement
}

// Select returns what specs name, each a suite, a section of one, or a statement: mqtt5,
// mqtt5/3.1, mqtt5/3.1.2-1, MQTT5-3.1.2-1. None mean everything. The error is an *Unknown.
func Select(specs ...string) ([]Selection, error) {
	var out []Selection
	taken := make([]bool, len(specs))
	for _, suite := range Suites() {
		sel := Selection{Suite: suite}
		for _, s := range suite.Statements {
			wanted := len(specs) == 0
			for i, spec := range specs {
				if suite.matches(s, spec) {
					wanted, taken[i] = true, true
				}
			}
			if wanted {
				sel.Statements = append(sel.Statements, s)
			}
		}
		if len(sel.Statements) > 0 {
			out = append(out, sel)
		}
	}
	if i := slices.Index(taken, false); i >= 0 {
		return nil, &Unknown{Spec: specs[i]}
	}
	return out, nil
}

// Unknown is a spec that names nothing.
type Unknown struct{ Spec string }

func (u *Unknown) Error() string { return fmt.Sprintf("nothing is named %q", u.Spec) }

// Specs lists all that Select takes, suites first.
func Specs() []string {
	var suites, sections, statements []string
	for _, suite := range Suites() {
		suites = append(suites, suite.Name)
		for _, s := range suite.Statements {
			if section := suite.Name + "/" + s.Section(); !slices.Contains(sections, section) {
				sections = append(sections, section)
			}
			statements = append(statements, suite.Spec(s))
		}
	}
	return slices.Concat(suites, sections, statements)
}

// Spec is the statement as Select takes it.
func (s Suite) Spec(of Statement) string {
	return s.Name + "/" + strings.TrimPrefix(of.ID, s.Prefix+"-")
}

func (s Suite) matches(st Statement, spec string) bool {
	spec = strings.ToLower(strings.TrimSuffix(spec, "/"))
	full := strings.ToLower(s.Spec(st))
	if spec == full || spec == s.Name || spec == strings.ToLower(st.ID) {
		return true
	}
	rest, ok := strings.CutPrefix(full, spec)
	return ok && strings.HasPrefix(spec, s.Name+"/") && strings.ContainsRune(".-/", rune(rest[0])) && !strings.HasSuffix(spec, "-")
}

// Missing returns the numbers of Ranges that Statements lacks, and the numbered statements
// that no range has.
func (s Suite) Missing() (lacking, stray []string) {
	have := map[string]bool{}
	for _, st := range s.Statements {
		if st.Numbered() {
			have[st.ID] = true
		}
	}
	for _, r := range s.Ranges {
		for n := 1; n <= r.Last; n++ {
			id := s.Prefix + "-" + r.Section + "-" + strconv.Itoa(n)
			if slices.Contains(r.Missing, n) {
				continue
			}
			if !have[id] {
				lacking = append(lacking, id)
			}
			delete(have, id)
		}
	}
	for id := range have {
		stray = append(stray, id)
	}
	slices.Sort(stray)
	return lacking, stray
}

// ---- how suites are written

// list writes a suite's statements.
type list struct {
	prefix string
	all    []Statement
}

func (l *list) add(s Statement, num string) {
	s.ID = l.prefix + "-" + num
	l.all = append(l.all, s)
}

// seen is a statement with its test.
func (l *list) seen(num, text string, test func(*T)) { l.add(Statement{Text: text, test: test}, num) }

// timed is seen, by a test that lets time pass.
func (l *list) timed(num, text string, test func(*T)) {
	l.add(Statement{Text: text, test: test, timed: true}, num)
}

// unseen is a statement that nobody can see kept, or that is no server's to keep.
func (l *list) unseen(num, text, why string) { l.add(Statement{Text: text, Why: why}, num) }

// Reasons why a statement has no test.
const (
	onClient   = "binds the client"
	inside     = "is about what the server knows, not about what it sends"
	inherent   = "the encoding allows nothing else"
	everything = "is about the server as a whole"
)
