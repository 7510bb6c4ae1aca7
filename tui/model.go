package tui

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// Model is the program: the screens, the way to the broker, and what is the same on
// every screen. Package tea owns it: only its loop calls Update and View.
//
// Three clocks go on beside each other, each a chain of a question or a wait and the
// message that ends it, numbered so that the end of one given up is known for one:
//
//   - the pulse asks for the overview each interval, whatever screen is shown, and so
//     finds out whether the broker is there;
//   - the screen that is shown asks its own question, less often when answers take long;
//   - the tick moves what counts seconds.
type Model struct {
	opt   Options
	feed  *feed.Feed
	theme *theme

	screens       []screen
	at            int // of screens: the one that is shown
	width, height int

	link   feed.Link
	where  string         // what the broker is called
	now    time.Time      // here, as of the last message
	skew   time.Duration  // the broker's clock minus ours
	clock  adminapi.Clock // the broker's, as of the last pulse that asked for it
	paused time.Time      // zero: it is not

	decodings *decodings

	seq, pulseSeq int
	pulses        int
	every         time.Duration // between this screen's questions, when that is more than the interval
	stream        *feed.Stream  // of live messages; nil: none

	mouse  bool
	typing bool
	prompt prompt
	help   bool
	page   pager  // of the help
	note   string // said once, until the next key
	asked  asked  // by the key before
	failed error  // why the program ended by itself
}

// What the chains of messages are for.
type (
	forPulse  struct{}
	forTick   struct{}
	forScreen int
	forNames  int // of places: what a command may be about
)

const (
	tickEvery = time.Second
	// statusEvery is how many pulses pass between questions about what hardly changes.
	statusEvery = 10
	// patience is how many times longer than an answer takes the next question waits.
	patience = 4
)

// pulse is an answer about the whole broker.
type pulse struct {
	overview adminapi.Overview
	status   *adminapi.Status // nil: not asked
	clock    *adminapi.Clock  // nil: not asked
}

func newModel(f *feed.Feed, opt Options) (*Model, error) {
	m := &Model{opt: opt, feed: f, theme: newTheme(opt.Color, opt.Theme, opt.Accent), mouse: !opt.NoMouse, prompt: newPrompt(), now: f.Now(), width: 80, height: 24}
	var err error
	if m.decodings, err = newDecodings(opt.Decode); err != nil {
		return nil, err
	}
	for _, p := range places {
		m.screens = append(m.screens, p.make(p, &m.opt))
	}
	m.at = max(0, placeOf(opt.Screen))
	if opt.Filter != "" {
		if opt.Filter, err = m.named(opt.Filter); err != nil {
			return nil, err
		}
		if err := m.parse(opt.Filter); err != nil {
			return nil, err
		}
		if err := m.screen().setFilter(opt.Filter, m.look()); err != nil {
			return nil, err
		}
		m.prompt.used(filtering, opt.Filter)
	}
	m.resize(m.width, m.height)
	return m, nil
}

func (m *Model) screen() screen { return m.screens[m.at] }

func (m *Model) overview() *overview { return m.screens[overviewAt].(*overview) }

func (m *Model) messages() *messages { return m.screens[liveAt].(*messages) }

// look is what things are looked at with now: on the broker's clock, and standing still
// while paused.
func (m *Model) look() kind.Look {
	now := m.now
	if !m.paused.IsZero() {
		now = m.paused
	}
	now = now.Add(m.skew)
	if m.clock.Frozen {
		now = m.clock.Now
	}
	return kind.Look{Now: now, Zone: m.opt.Zone, Decode: m.decodings.of}
}

// Init begins the three chains, and asks the terminal what its background is.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(m.theme.ask(), m.askPulse(), m.enter(), m.feed.After(tickEvery, forTick{}, 0))
}

// ---- messages

// Update is given everything that happens.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	cmd := m.update(msg)
	if asks := m.askDecoded(); asks != nil { // of what was drawn last
		return m, tea.Batch(cmd, asks)
	}
	return m, cmd
}

func (m *Model) update(msg tea.Msg) tea.Cmd {
	m.now = m.feed.Now()
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.resize(msg.Width, msg.Height)
	case tea.KeyPressMsg:
		return m.key(msg)
	case tea.MouseClickMsg:
		return m.click(msg)
	case tea.MouseWheelMsg:
		return m.wheel(msg)
	case tea.BackgroundColorMsg:
		m.theme.on(msg.IsDark())
	case tea.PasteMsg:
		if m.typing {
			return m.typed(msg)
		}
	case feed.Answer:
		return m.answer(msg)
	case feed.Wake:
		return m.wake(msg)
	case feed.Batch:
		return m.batch(msg)
	}
	return nil
}

func (m *Model) resize(w, h int) {
	m.width, m.height = w, h
	for _, s := range m.screens {
		s.resize(w, max(1, h-chrome))
	}
}

// ---- questions

func (m *Model) askPulse() tea.Cmd {
	m.pulseSeq++
	withStatus := m.pulses%statusEvery == 0 || !m.link.Up
	withClock := withStatus || m.clock.Kind == adminapi.ClockVirtual
	m.pulses++
	return m.feed.Ask(forPulse{}, m.pulseSeq, func(ctx context.Context, src adminapi.Source) (any, error) {
		var p pulse
		var err error
		if p.overview, err = src.Overview(ctx); err != nil || !withClock {
			return p, err
		}
		c, err := src.Clock(ctx)
		p.clock = &c
		if err != nil || !withStatus {
			return p, err
		}
		st, err := src.Status(ctx)
		p.status = &st
		return p, err
	})
}

// ask asks the question of the screen that is shown: while paused too, once, or a screen
// that was not looked at before would stay empty.
func (m *Model) ask() tea.Cmd {
	m.seq++
	q := m.screen().question()
	if q == nil || m.link.Tries > 0 {
		return nil // it is asked when the broker is back
	}
	return m.feed.Ask(forScreen(m.at), m.seq, q)
}

// enter begins what the screen that is shown lives on.
func (m *Model) enter() tea.Cmd {
	m.every = 0
	if _, ok := m.screen().(listener); ok {
		return m.listen()
	}
	return m.ask()
}

// leave ends it.
func (m *Model) leave() {
	m.seq++
	if m.stream != nil {
		m.stream.Stop()
		m.stream = nil
	}
}

// listen begins a stream of live messages, in place of one that there is.
func (m *Model) listen() tea.Cmd {
	m.leave()
	if m.link.Tries > 0 {
		return nil
	}
	s := m.screen().(listener)
	if m.stream = s.listen(m.feed); m.stream == nil {
		return nil
	}
	s.begin(m.now.Add(m.skew))
	return m.stream.Next()
}

func (m *Model) answer(a feed.Answer) tea.Cmd {
	if a.From != "" {
		m.where = a.From
	}
	switch who := a.For.(type) {
	case forPulse:
		if a.Seq == m.pulseSeq {
			return m.pulse(a)
		}
	case forTell:
		if m.note, _ = a.Data.(string); a.Err != nil {
			m.note = a.Err.Error()
		}
		if (m.at == nodesAt || m.at == clockAt || m.at == chaosAt) && m.paused.IsZero() {
			return tea.Batch(m.askPulse(), m.ask())
		}
	case forExport:
		if m.note, _ = a.Data.(string); a.Err != nil {
			m.note = a.Err.Error()
		}
	case forNames:
		if a.Err == nil && m.typing && int(who) != m.at {
			m.screens[who].answer(a.Data, a.At)
			if s, ok := m.screens[who].(arranger); ok {
				s.arrange(m.look())
			}
		}
	case forScreen:
		if a.Seq != m.seq || int(who) != m.at {
			break
		}
		if feed.Gone(a.Err) {
			return m.lost(a)
		}
		if a.Err != nil {
			m.screen().failed(a.Err)
		} else {
			m.screen().answer(a.Data, a.At)
			m.rearrange()
			if cmd := m.openWanted(); cmd != nil {
				return cmd
			}
		}
		m.every = max(m.opt.Interval, patience*a.Took)
		return m.feed.After(m.every, who, a.Seq)
	}
	return nil
}

// rearrange puts new items in order.
func (m *Model) rearrange() {
	if s, ok := m.screen().(arranger); ok {
		s.arrange(m.look())
	}
}

func (m *Model) pulse(a feed.Answer) tea.Cmd {
	switch {
	case feed.Gone(a.Err):
		return m.lost(a)
	case feed.Denied(a.Err) && !m.link.Ever:
		m.failed = a.Err
		return tea.Quit
	}
	back := m.link.Answered(a.At)
	if a.Err != nil {
		m.overview().failed(a.Err)
	} else if p, ok := a.Data.(pulse); ok {
		if m.overview().take(p.overview, p.status) {
			m.note = "the broker was started again"
		}
		now := p.overview.At
		if p.clock != nil {
			m.clock = *p.clock
		}
		if m.clock.Kind == adminapi.ClockVirtual { // by it sessions and messages expire
			now = m.clock.Now
		}
		m.skew = now.Sub(a.At.Add(-a.Took / 2))
	}
	again := m.feed.After(m.opt.Interval, forPulse{}, a.Seq)
	if back && a.Seq > 1 {
		return tea.Batch(again, m.enter())
	}
	return again
}

// lost waits for the broker: only the pulse goes on asking.
func (m *Model) lost(a feed.Answer) tea.Cmd {
	m.leave()
	m.pulseSeq++
	wait := m.link.Lost(a.At, a.Err)
	return m.feed.After(wait, forPulse{}, m.pulseSeq)
}

func (m *Model) wake(w feed.Wake) tea.Cmd {
	switch who := w.For.(type) {
	case forTick:
		return m.feed.After(tickEvery, forTick{}, 0)
	case forPulse:
		if w.Seq == m.pulseSeq && m.paused.IsZero() {
			return m.askPulse()
		}
	case forScreen:
		if w.Seq == m.seq && int(who) == m.at && m.paused.IsZero() {
			return m.ask()
		}
	}
	return nil
}

func (m *Model) batch(b feed.Batch) tea.Cmd {
	if b.Stream != m.stream {
		return nil // one that was left
	}
	m.screen().(listener).add(b, m.look(), !m.paused.IsZero())
	switch {
	case b.Ended && b.Bound != "":
		m.stream = nil
		return nil
	case !b.Ended:
		return m.stream.Next()
	case b.Err == nil || feed.Gone(b.Err):
		m.stream = nil
		m.pulseSeq++
		return m.feed.After(m.link.Lost(m.now, b.Err), forPulse{}, m.pulseSeq)
	}
	m.stream = nil
	m.screen().failed(b.Err)
	return nil
}

// ---- keys

// can tells whether a verb does anything now.
func (m *Model) can(v verb) bool {
	switch v {
	case accept, cancel:
		return m.typing
	case older, newer:
		return m.typing && m.prompt.can(v)
	case complete:
		return m.typing && m.prompt.purpose == commanding && len(m.candidates()) > 0
	}
	if !m.help {
		return m.canHere(v)
	}
	switch v {
	case up, down, pageUp, pageDown, first, last:
		return len(m.helpLines()) > m.height-chrome
	}
	return v == help || v == back || v == quit || v == suspend
}

// canHere is can for the screen, as if no help stood before it.
func (m *Model) canHere(v verb) bool {
	switch v {
	case goScreen, nextScreen, prevScreen, help, quit, suspend, command, mouse:
		return true
	case pause:
		return m.link.Ever
	case refresh:
		return m.paused.IsZero()
	case killNode, pauseNode, resumeNode, restartNode:
		return m.tells()
	case askWho:
		return m.at == subscriptionsAt || m.at == exchangesAt || m.at == liveAt
	case traceIt:
		s, ok := m.screen().(tracer)
		if ok {
			_, ok = s.trace()
		}
		return ok
	}
	return m.screen().can(v)
}

func (m *Model) key(msg tea.KeyPressMsg) tea.Cmd {
	m.note = ""
	before := m.asked
	m.asked = asked{}
	v := bound(msg.String(), m.typing, m.can)
	if m.typing {
		return m.keyTyped(v, msg)
	}
	if m.help && v != quit && v != suspend {
		m.keyHelp(v)
		return nil
	}
	if v == goScreen {
		return m.show((int(msg.String()[0]-'0') + 9) % 10) // 0 is the tenth
	}
	return m.press(v, before)
}

// press does a verb that a key or the mouse asks for; before is what was asked for by the press before it.
func (m *Model) press(v verb, before asked) tea.Cmd {
	switch v {
	case killNode, pauseNode, resumeNode, restartNode:
		return m.tellNode(v, before)
	case remove, stopAll:
		return m.faultKey(v, before)
	}
	return m.act(v)
}

// act does a verb, whether a key asked for it or the mouse.
func (m *Model) act(v verb) tea.Cmd {
	if m.help && v != quit && v != suspend {
		m.keyHelp(v)
		return nil
	}
	switch v {
	case none:
	case quit:
		m.leave()
		return tea.Quit
	case suspend:
		return tea.Suspend
	case help:
		m.help, m.page = true, pager{}
	case nextScreen:
		return m.show((m.at + 1) % len(m.screens))
	case prevScreen:
		return m.show((m.at + len(m.screens) - 1) % len(m.screens))
	case find:
		m.typing = true
		return m.prompt.open(filtering, m.screen().filter())
	case command:
		m.typing = true
		return m.prompt.open(commanding, "")
	case askWho:
		if m.at == liveAt && m.messages().current() != nil {
			return m.whoGets(kind.TargetOf(m.messages().current()))
		}
		return m.whoGets("")
	case traceIt:
		q, _ := m.screen().(tracer).trace()
		return m.traceOf(q)
	case add:
		m.typing = true
		if m.at == clockAt {
			return m.prompt.open(commanding, "clock advance ")
		}
		return m.prompt.open(commanding, "chaos add ")
	case freeze:
		verb := "freeze"
		if m.screen().(*clocked).clock.Frozen {
			verb = "resume"
		}
		cmd, _, _ := m.clockCommand(verb) // neither can be wrong
		return cmd
	case export:
		m.typing = true
		return m.prompt.open(commanding, "export "+places[m.at].name+".json")
	case mouse:
		m.useMouse(!m.mouse)
	case copyCommand:
		text := m.screen().command()
		m.note = "copied: " + text
		return tea.SetClipboard(text)
	case pause:
		return m.pauseOrGoOn()
	case refresh:
		m.seq++
		if _, ok := m.screen().(listener); ok && m.stream == nil {
			return tea.Batch(m.askPulse(), m.listen())
		}
		return tea.Batch(m.askPulse(), m.ask())
	case copyIt:
		text, what := m.screen().copied()
		m.note = fmt.Sprintf("copied %s, %s", what, kind.Bytes(int64(len(text))))
		return tea.SetClipboard(text)
	default:
		if m.screen().do(v, m.look()) {
			return m.enter()
		}
	}
	return nil
}

func (m *Model) show(at int) tea.Cmd {
	if at == m.at || at < 0 || at >= len(m.screens) {
		return nil
	}
	m.leave()
	m.at = at
	return m.enter()
}

func (m *Model) keyHelp(v verb) {
	switch v {
	case up, down, pageUp, pageDown, first, last:
		m.page.scroll(v, len(m.helpLines()), m.height-chrome)
	default: // any other key is done with it
		m.help = false
	}
}

func (m *Model) pauseOrGoOn() tea.Cmd {
	if m.paused.IsZero() {
		m.paused = m.now
		m.seq++
		return nil
	}
	m.paused = time.Time{}
	ask := tea.Batch(m.askPulse(), m.ask())
	if _, ok := m.screen().(listener); ok && m.stream == nil {
		return tea.Batch(ask, m.listen())
	}
	return ask
}

func (m *Model) keyTyped(v verb, msg tea.KeyPressMsg) tea.Cmd {
	switch v {
	case quit:
		m.leave()
		return tea.Quit
	case cancel:
		m.typing = false
		m.prompt.close()
		if m.prompt.purpose == commanding {
			return nil
		}
		return m.use(m.prompt.before)
	case complete:
		m.complete()
		return m.preview()
	case accept:
		if m.prompt.purpose == commanding {
			return m.acceptCommand()
		}
		if m.prompt.err != nil {
			return nil // it stays open, and says what is wrong
		}
		src := strings.TrimSpace(m.prompt.value())
		if err := m.parse(src); err != nil {
			m.prompt.err = err
			return nil
		}
		m.typing = false
		m.prompt.close()
		m.prompt.used(filtering, src)
		return m.use(src)
	case older, newer:
		m.prompt.move(v)
		return m.preview()
	}
	return m.typed(msg)
}

// typed takes a letter or a paste into the prompt.
func (m *Model) typed(msg tea.Msg) tea.Cmd {
	cmd := m.prompt.take(msg)
	return tea.Batch(cmd, m.preview())
}

// preview shows what a filter would let through while it is typed. A stream is not
// begun anew for each letter.
func (m *Model) preview() tea.Cmd {
	src := m.prompt.value()
	if m.prompt.purpose == commanding {
		m.prompt.err = nil
		return m.askNames()
	}
	if _, ok := m.screen().(listener); m.parses(src) && !ok {
		return m.use(src)
	}
	return nil
}

// parses notes what is wrong with a filter.
func (m *Model) parses(src string) bool {
	m.prompt.err = m.parse(src)
	return m.prompt.err == nil
}

func (m *Model) parse(src string) error {
	src, err := m.named(src)
	if err != nil {
		return err
	}
	if m.at == liveAt {
		_, _, err := kind.LiveQuery(src)
		return err
	}
	if p, ok := m.screen().(parser); ok {
		return p.parse(src)
	}
	fields := m.screen().fields()
	if fields == nil {
		return fmt.Errorf("the screen %s has nothing to filter", places[m.at].name)
	}
	_, err = kind.ParseFilter(src, fields)
	return err
}

// named is the filter that src is: @NAME is a saved one.
func (m *Model) named(src string) (string, error) {
	name, saved := strings.CutPrefix(src, "@")
	if !saved || m.opt.Saved == nil {
		return src, nil
	}
	all, err := m.opt.Saved()
	if err != nil {
		return "", err
	}
	if f, ok := all[name]; ok {
		return f, nil
	}
	names := slices.Sorted(maps.Keys(all))
	if len(names) == 0 {
		return "", fmt.Errorf("no filter is saved; :save filter NAME saves the one in use")
	}
	return "", fmt.Errorf("there is no filter @%s; there are @%s", kind.Clean(name), kind.Clean(strings.Join(names, ", @")))
}

// saveFilter keeps the filter that is in use.
func (m *Model) saveFilter(arg string) (tea.Cmd, error) {
	name, ok := strings.CutPrefix(arg, "filter ")
	name = strings.TrimPrefix(strings.TrimSpace(name), "@")
	src := m.screen().filter()
	switch {
	case !ok || name == "":
		return nil, fmt.Errorf("save filter NAME")
	case src == "":
		return nil, fmt.Errorf("there is no filter here; / makes one")
	case m.opt.Save == nil:
		return nil, fmt.Errorf("there is nowhere to save it to")
	}
	if err := m.opt.Save(name, src); err != nil {
		return nil, err
	}
	m.note = "saved: @" + name + " is " + src
	return nil, nil
}

// use filters the screen that is shown.
func (m *Model) use(src string) tea.Cmd {
	src, err := m.named(src)
	if err != nil {
		m.prompt.err = err
		return nil
	}
	if src == m.screen().filter() {
		return nil
	}
	if err := m.screen().setFilter(src, m.look()); err != nil {
		m.prompt.err = err
		return nil
	}
	if m.at == liveAt {
		return m.listen()
	}
	if _, ok := m.screen().(parser); ok {
		return m.ask()
	}
	return nil
}
