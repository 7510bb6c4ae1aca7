package tui

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/tui/kind"
)

// faults is the screen of what goes wrong by plan. Rules are added as they are typed, and taken back by a key that is
// pressed twice; a command that is typed is done when it is accepted twice.
type faults struct{ *list[chaos.State] }

func newFaults(p place, opt *Options) *faults {
	return &faults{newList(kind.Rules(), opt.Namespace, p)}
}

func (s *faults) can(v verb) bool {
	switch v {
	case add:
		return s.known
	case remove:
		return s.rule() != nil
	case stopAll:
		return len(s.items) > 0
	}
	return s.list.can(v)
}

// rule is the one that is looked at.
func (s *faults) rule() *chaos.State {
	if s.picked != nil {
		return &s.picked.item
	}
	return s.current()
}

// command makes the rule again, copied as one.
func (s *faults) command() string {
	if r := s.rule(); r != nil {
		return kind.RuleCommand(&r.Rule)
	}
	return s.headless()
}

// chaosVerbs are what :chaos takes.
var chaosVerbs = []string{"add ", "remove ", "stop"}

// chaosCommand does what is typed behind :chaos; ok: that was one of its verbs.
func (m *Model) chaosCommand(arg string) (cmd tea.Cmd, ok bool, err error) {
	word, rest, _ := strings.Cut(arg, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "add":
		r, err := parseRule(rest)
		if err != nil {
			return nil, true, err
		}
		if !m.prompt.sure("adds this rule") {
			return nil, true, m.prompt.err
		}
		return m.addFault(r), true, nil
	case "remove":
		if rest == "" {
			return nil, true, fmt.Errorf("chaos remove RULE")
		}
		if !m.prompt.sure("takes " + kind.Clean(rest) + " back") {
			return nil, true, m.prompt.err
		}
		return m.removeFault(rest), true, nil
	case "stop":
		if !m.prompt.sure("takes every rule back") {
			return nil, true, m.prompt.err
		}
		return m.stopFaults(), true, nil
	}
	return nil, false, nil
}

// parseRule reads AT EFFECT and NAME=VALUE as a rule of a plan has them.
func parseRule(src string) (r chaos.Rule, err error) {
	words := strings.Fields(src)
	if len(words) < 2 {
		return r, fmt.Errorf("chaos add AT EFFECT NAME=VALUE…, as mqtt/PUBACK drop client=dev* times=3")
	}
	var plan strings.Builder
	fmt.Fprintf(&plan, "rules:\n- at: %s\n  do: %s\n", scalar(words[0]), scalar(words[1]))
	for _, w := range words[2:] {
		name, value, ok := strings.Cut(w, "=")
		if !ok || !plainWord(name) {
			return r, fmt.Errorf("%s: NAME=VALUE, as times=3", kind.Clean(w))
		}
		if name == "rule" {
			name = "name"
		}
		fmt.Fprintf(&plan, "  %s: %s\n", name, scalar(value))
	}
	p, err := chaos.Parse([]byte(plan.String()))
	if err != nil {
		text := err.Error()
		for _, before := range []string{"plan rule 1: ", "plan: "} {
			text = strings.TrimPrefix(text, before)
		}
		return r, fmt.Errorf("%s", text)
	}
	return p.Rules[0], nil
}

func plainWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' })
}

// scalar writes a value of a plan: a number as it is, all else as text.
func scalar(s string) string {
	if _, err := strconv.ParseFloat(s, 64); err == nil && strings.Trim(s, "0123456789.") == "" {
		return s
	}
	return strconv.Quote(s)
}

func (m *Model) addFault(r chaos.Rule) tea.Cmd {
	return m.change(func(ctx context.Context, src adminapi.Source) (string, error) {
		added, err := src.AddFault(ctx, r)
		return "added rule " + added.Name, err
	})
}

func (m *Model) removeFault(name string) tea.Cmd {
	return m.change(func(ctx context.Context, src adminapi.Source) (string, error) {
		return "took rule " + name + " back", src.RemoveFault(ctx, name)
	})
}

func (m *Model) stopFaults() tea.Cmd {
	return m.change(func(ctx context.Context, src adminapi.Source) (string, error) {
		_, err := src.RunPlan(ctx, chaos.Plan{})
		return "nothing goes wrong by plan any more", err
	})
}

// faultKey does what a key asks for, if it was asked before.
func (m *Model) faultKey(v verb, before asked) tea.Cmd {
	s := m.screen().(*faults)
	now, says := asked{v, ""}, "take every rule back"
	if v == remove {
		now.of = s.rule().Name
		says = "take rule " + now.of + " back"
	}
	if before != now {
		m.asked = now
		m.note = shownOf(v) + " once more: " + says
		return nil
	}
	if v == stopAll {
		return m.stopFaults()
	}
	return m.removeFault(now.of)
}

// chaosWords are what may stand behind :chaos, by what is typed of it.
func (m *Model) chaosWords(typed string) (out []string) {
	words := strings.Fields(typed)
	switch {
	case strings.HasPrefix(typed, "remove "):
		for _, name := range m.screens[chaosAt].(*faults).names() {
			out = append(out, "remove "+name)
		}
	case strings.HasPrefix(typed, "add ") && (len(words) < 2 || len(words) == 2 && !strings.HasSuffix(typed, " ")):
		for _, place := range chaos.Places() {
			out = append(out, "add "+place+" ")
		}
	case strings.HasPrefix(typed, "add ") && (len(words) == 2 || len(words) == 3 && !strings.HasSuffix(typed, " ")):
		for _, do := range chaos.Effects(words[1]) {
			out = append(out, "add "+words[1]+" "+string(do)+" ")
		}
	case strings.HasPrefix(typed, "add "):
		begun := typed[:strings.LastIndexByte(typed, ' ')+1]
		for _, field := range []string{"client=", "topic=", "times=", "after=", "chance=", "from=", "for=", "code=", "delay=", "jitter=", "bytes=", "rule="} {
			if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, field) }) {
				out = append(out, begun+field)
			}
		}
	default:
		out = chaosVerbs
	}
	return out
}
