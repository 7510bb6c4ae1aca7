package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/tui/kind"
)

// What is typed behind ":" is a screen or one of the commands:
//
//	topics             that screen
//	topics lag>10      with a filter
//	topic orders       one of its things, in full
//	export FILE …      a command
//
// The beginning of a name will do where it is that of one alone.

// commandLine is one of the commands that are no screen.
type commandLine struct {
	name, arg, does string
	run             func(m *Model, arg string) (tea.Cmd, error)
	values          func(m *Model) []string // of the argument, for completion; nil: none are known
}

func commandLines() []commandLine {
	return []commandLine{
		{"export", "FILE", "write what is shown: .json has an item a line and all of each, .csv the columns", (*Model).export, nil},
		{"save", "filter NAME", "keep the filter in use: / and --where take it as @NAME", (*Model).saveFilter, func(*Model) []string { return []string{"filter "} }},
		{"plot", "PATH", "plot a number of the values that the message under the cursor is one of: .temp, .pos.lat, .tags[0]", (*Model).plotCommand, (*Model).plotPaths},
		{"every", "DURATION", "how often the broker is asked", (*Model).setInterval, func(*Model) []string { return []string{"250ms", "1s", "5s", "30s"} }},
		{"theme", "NAME", "colours", (*Model).setTheme, func(*Model) []string { return Themes() }},
		{"mouse", "on|off", "off leaves it to the terminal, which then selects text", (*Model).setMouse, func(*Model) []string { return []string{"on", "off"} }},
		{"pause", "", "hold everything still, or go on", func(m *Model, _ string) (tea.Cmd, error) { return m.pauseOrGoOn(), nil }, nil},
		{"help", "", "the keys of this screen", func(m *Model, _ string) (tea.Cmd, error) { return m.act(help), nil }, nil},
		{"quit", "", "leave", func(m *Model, _ string) (tea.Cmd, error) { return m.act(quit), nil }, nil},
	}
}

// target is what the first word of a command means: a screen, one thing of a screen, or a command.
type target struct {
	name  string
	place int // of places; -1: it is a command
	one   bool
	run   *commandLine
}

// targets are all that a command may begin with.
func (m *Model) targets() []target {
	var out []target
	for i, p := range places {
		out = append(out, target{name: p.name, place: i})
		if c, ok := m.screens[i].(collection); ok {
			if one, _ := c.called(); !strings.Contains(one, " ") {
				out = append(out, target{name: one, place: i, one: true})
			}
		}
	}
	for _, c := range commandLines() {
		out = append(out, target{name: c.name, place: -1, run: &c})
	}
	return out
}

// find is what a word means: the name that it is, or the only screen or command that it begins.
func (m *Model) find(word string) (target, error) {
	var begun []target
	all := m.targets()
	for _, is := range []func(t target) bool{
		func(t target) bool { return t.name == word },
		func(t target) bool {
			return t.place >= 0 && places[t.place].short == word || t.name == "quit" && word == "q"
		},
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i], nil
		}
	}
	for _, t := range all {
		if strings.HasPrefix(t.name, word) && word != "" {
			begun = append(begun, t)
		}
	}
	// "topic" and "topics" begin alike, and are about the same screen.
	if len(begun) > 0 && !slices.ContainsFunc(begun, func(t target) bool { return t.place != begun[0].place || t.run != nil && t.name != begun[0].name }) {
		return begun[0], nil
	}
	var names []string
	for _, t := range begun {
		names = append(names, t.name)
	}
	if len(names) > 0 {
		return target{}, fmt.Errorf("%s may be %s", kind.Clean(word), strings.Join(names, ", "))
	}
	return target{}, fmt.Errorf("no screen or command %s", kind.Clean(word))
}

// acceptCommand does what is typed; what is wrong with it is said, and the prompt stays open.
func (m *Model) acceptCommand() tea.Cmd {
	src := strings.TrimSpace(m.prompt.value())
	if src == "" {
		m.typing = false
		m.prompt.close()
		return nil
	}
	cmd, err := m.doCommand(src)
	if err != nil {
		m.prompt.err = err
		return nil
	}
	m.prompt.used(commanding, src)
	if m.prompt.purpose == commanding { // else it asks for something itself
		m.typing = false
		m.prompt.close()
	}
	return cmd
}

func (m *Model) doCommand(src string) (tea.Cmd, error) {
	word, arg, _ := strings.Cut(src, " ")
	arg = strings.TrimSpace(arg)
	t, err := m.find(word)
	switch {
	case err != nil:
		return nil, err
	case t.place == tracedAt && arg != "":
		q, err := traceQuery(arg)
		if err != nil {
			return nil, err
		}
		return m.traceOf(q), nil
	case t.place == whoAt:
		return m.whoGets(arg), nil
	case t.place == clockAt && !t.one || t.place == chaosAt && !t.one:
		do := m.clockCommand
		if t.place == chaosAt {
			do = m.chaosCommand
		}
		if cmd, ok, err := do(arg); ok {
			return cmd, err
		}
	case t.run != nil:
		if t.run.arg == "" && arg != "" {
			return nil, fmt.Errorf("%s takes nothing", t.name)
		}
		return t.run.run(m, arg)
	case t.one && arg != "":
		return m.goTo(t.place, func(s screen) error {
			if err := s.setFilter("", m.look()); err != nil {
				return err
			}
			s.(collection).want(arg)
			return nil
		})
	}
	if arg, err = m.named(arg); err != nil {
		return nil, err
	}
	return m.goTo(t.place, func(s screen) error {
		if arg == "" {
			return nil
		}
		if s.fields() == nil {
			return fmt.Errorf("the screen %s has nothing to filter", t.name)
		}
		return s.setFilter(arg, m.look())
	})
}

// goTo shows a screen once it is prepared, as long as that can be.
func (m *Model) goTo(at int, prepare func(screen) error) (tea.Cmd, error) {
	if err := prepare(m.screens[at]); err != nil {
		return nil, err
	}
	m.help = false
	m.leave()
	m.at = at
	return m.enter(), nil
}

// openWanted opens what a command has asked for, now that the screen knows its things.
func (m *Model) openWanted() tea.Cmd {
	c, ok := m.screen().(collection)
	if !ok {
		return nil
	}
	opened, missing := c.found()
	if missing != "" {
		one, _ := c.called()
		m.note = "there is no " + one + " " + missing
	}
	if !opened {
		return nil
	}
	return m.enter()
}

// plotCommand plots on the screen of messages, of those that are there.
func (m *Model) plotCommand(arg string) (tea.Cmd, error) {
	path, err := kind.ParsePath(arg)
	if err != nil {
		return nil, err
	}
	s := m.messages()
	msg := s.current()
	if m.at != liveAt || msg == nil {
		return nil, fmt.Errorf("there is no message here: the screen messages has some")
	}
	s.plotPath(&plot{protocol: msg.Protocol, address: msg.Address, paths: numbers(msg, m.look())}, path, m.look())
	return nil, nil
}

func (m *Model) plotPaths() []string {
	if msg := m.messages().current(); msg != nil && m.at == liveAt {
		return numbers(msg, m.look())
	}
	return nil
}

func (m *Model) setInterval(arg string) (tea.Cmd, error) {
	d, err := grammar.ParseDuration(arg)
	if err != nil || d < intervalMin {
		return nil, fmt.Errorf("a duration of at least %v, as 5s or 1m", intervalMin)
	}
	m.opt.Interval = d
	m.overview().interval = d
	m.note = "asking every " + kind.Duration(d)
	return nil, nil
}

// intervalMin is how often a broker is asked at most.
const intervalMin = 100 * time.Millisecond

func (m *Model) setTheme(arg string) (tea.Cmd, error) {
	if !slices.Contains(Themes(), arg) {
		return nil, fmt.Errorf("themes are %s", strings.Join(Themes(), ", "))
	}
	m.theme.choose(arg)
	return m.theme.ask(), nil
}

func (m *Model) setMouse(arg string) (tea.Cmd, error) {
	if arg != "on" && arg != "off" {
		return nil, fmt.Errorf("mouse on, or mouse off")
	}
	m.useMouse(arg == "on")
	return nil, nil
}

func (m *Model) useMouse(on bool) {
	m.mouse = on
	m.note = "the mouse works here; M has it select text"
	if !on {
		m.note = "the mouse selects text; M has it work here"
	}
}

// ---- completion

// candidates are what may stand where the cursor is, by what is typed of it.
func (m *Model) candidates() []string {
	src := m.prompt.value()
	word, arg, more := strings.Cut(src, " ")
	var all []string
	begun := word
	if !more {
		for _, t := range m.targets() {
			all = append(all, t.name)
		}
	} else {
		t, err := m.find(word)
		if err != nil {
			return nil
		}
		begun = strings.TrimLeft(arg, " ")
		switch {
		case t.run != nil && t.run.values != nil:
			all = t.run.values(m)
		case t.place == tracedAt:
			all = []string{"client ", "topic ", "ip "}
		case t.place == clockAt && !t.one:
			all = clockVerbs
		case t.place == chaosAt && !t.one:
			all = m.chaosWords(begun)
		case t.one:
			all = m.screens[t.place].(collection).names()
		}
	}
	var out []string
	for _, name := range all {
		if strings.HasPrefix(name, begun) && name != begun {
			if out = append(out, name); len(out) == candidatesMax {
				break
			}
		}
	}
	return out
}

// candidatesMax is how many are looked for: more than a line has room for.
const candidatesMax = 64

// complete types what all candidates begin with; the first one when that is nothing more.
func (m *Model) complete() {
	all := m.candidates()
	src := m.prompt.value()
	word, arg, more := strings.Cut(src, " ")
	begun, before := word, ""
	if more {
		begun, before = strings.TrimLeft(arg, " "), word+" "
	}
	common := all[0]
	for _, s := range all[1:] {
		for !strings.HasPrefix(s, common) {
			common = common[:len(common)-1]
		}
	}
	common = strings.ToValidUTF8(common, "")
	if len(common) <= len(begun) {
		common = all[0]
	}
	if !more && len(all) == 1 {
		if t, err := m.find(common); err == nil && (t.one || t.run != nil && t.run.arg != "") {
			common += " "
		}
	}
	m.prompt.replace(before + common)
}

// candidateLine shows them beside what is typed.
func (m *Model) candidateLine() kind.Line {
	src := m.prompt.value()
	if word, _, more := strings.Cut(src, " "); more {
		if t, err := m.find(word); err == nil && t.run != nil && len(m.candidates()) == 0 {
			return kind.Line{{Text: t.run.arg + ": " + t.run.does + " ", Tone: kind.Faint}}
		}
	}
	var l kind.Line
	for _, c := range m.candidates() {
		l = append(l, kind.Cell{Text: kind.Clean(c) + "  ", Tone: kind.Faint})
		if lineWidth(l) > m.width {
			break
		}
	}
	return l
}

// askNames asks for the things that a command may be about, when they are not known.
func (m *Model) askNames() tea.Cmd {
	word, _, more := strings.Cut(m.prompt.value(), " ")
	t, err := m.find(word)
	if !more || err != nil || !t.one || t.place == m.at || m.link.Tries > 0 {
		return nil
	}
	s := m.screens[t.place]
	if len(s.(collection).names()) > 0 {
		return nil
	}
	return m.feed.Ask(forNames(t.place), 0, s.question())
}
