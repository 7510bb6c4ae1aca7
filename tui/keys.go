package tui

import (
	"strings"

	"github.com/robustmq/rmq/tui/kind"
)

// verb is what a key asks for.
type verb int

const (
	none verb = iota
	goScreen
	nextScreen
	prevScreen
	up
	down
	pageUp
	pageDown
	first
	last
	open
	back
	later
	earlier
	find
	sortNext
	reverse
	treeForm
	fold
	form
	wipe
	mark
	diff
	plotIt
	traceIt
	askWho
	copyIt
	copyCommand
	export
	mouse
	command
	pause
	killNode
	pauseNode
	resumeNode
	restartNode
	add
	remove
	stopAll
	freeze
	refresh
	help
	suspend
	quit

	accept // the prompt's
	cancel
	complete
	older
	newer
)

// binding is one line of the keymap: keys, what they ask for and how that is called.
type binding struct {
	verb  verb
	keys  []string // as package tea calls them
	shown string   // as people call them
	short string   // in the footer; "" keeps it out of there
	long  string   // in the help
	typed bool     // while a filter is typed; all others then are letters
	local bool     // only on a screen of its own, or where nodes run on this machine: the help of others is silent on it
}

// keymap is every key there is. What a key does, what the footer offers and what the
// help explains are made from it, so they cannot disagree. The footer takes what works
// at the moment, from the top.
var keymap = []binding{
	{verb: accept, keys: []string{"enter"}, shown: "enter", short: "use it", long: "use the filter, or do the command", typed: true},
	{verb: cancel, keys: []string{"esc"}, shown: "esc", short: "leave it", long: "leave everything as it was", typed: true},
	{verb: complete, keys: []string{"tab"}, shown: "tab", short: "complete", long: "complete a command", typed: true},
	{verb: older, keys: []string{"up"}, shown: "↑", short: "earlier ones", long: "filters or commands used before", typed: true},
	{verb: newer, keys: []string{"down"}, shown: "↓", long: "and back", typed: true},

	{verb: open, keys: []string{"enter", "l", "right"}, shown: "enter", short: "open", long: "look at one in full"},
	{verb: back, keys: []string{"esc", "h", "left", "backspace"}, shown: "esc", short: "back", long: "back; in a list: no filter"},
	{verb: add, keys: []string{"a"}, shown: "a", short: "add", long: "add: a rule; time, to the clock", local: true},
	{verb: remove, keys: []string{"D"}, shown: "D", short: "remove", long: "take the rule back, when pressed twice", local: true},
	{verb: stopAll, keys: []string{"X"}, shown: "X", short: "stop", long: "take every rule back, when pressed twice", local: true},
	{verb: freeze, keys: []string{"f"}, shown: "f", short: "freeze", long: "the broker's time: stand still, go on", local: true},
	{verb: find, keys: []string{"/"}, shown: "/", short: "filter", long: "filter what is shown"},
	{verb: form, keys: []string{"x"}, shown: "x", short: "form", long: "value as json, text or bytes"},
	{verb: later, keys: []string{"n", "]"}, shown: "n", short: "next", long: "the next one, in full"},
	{verb: earlier, keys: []string{"N", "["}, shown: "N", short: "previous", long: "the one before, in full"},
	{verb: sortNext, keys: []string{"s"}, shown: "s", short: "sort", long: "sort by the next column"},
	{verb: reverse, keys: []string{"S"}, shown: "S", short: "reverse", long: "sort the other way round"},
	{verb: treeForm, keys: []string{"t"}, shown: "t", short: "tree", long: "as a tree, or as a list"},
	{verb: fold, keys: []string{"z"}, shown: "z", short: "fold", long: "close a branch of a tree, or open it"},
	{verb: copyIt, keys: []string{"y"}, shown: "y", short: "copy", long: "copy the name, or the value"},
	{verb: copyCommand, keys: []string{"Y"}, shown: "Y", long: "copy it as an rmq command"},
	{verb: export, keys: []string{"e"}, shown: "e", long: "export what is shown to a file"},
	{verb: killNode, keys: []string{"K"}, shown: "K", short: "kill", long: "kill the node (rmq up -n), when pressed twice", local: true},
	{verb: pauseNode, keys: []string{"Z"}, shown: "Z", short: "freeze", long: "pause its process, when pressed twice", local: true},
	{verb: resumeNode, keys: []string{"U"}, shown: "U", short: "thaw", long: "let its process go on, when pressed twice", local: true},
	{verb: restartNode, keys: []string{"R"}, shown: "R", short: "restart", long: "restart it, or start it, when pressed twice", local: true},
	{verb: plotIt, keys: []string{"v"}, shown: "v", short: "plot", long: "plot a number of the value"},
	{verb: mark, keys: []string{"m"}, shown: "m", long: "mark it, to compare others"},
	{verb: diff, keys: []string{"d"}, shown: "d", short: "diff", long: "compare: marked, or before"},
	{verb: askWho, keys: []string{"w"}, shown: "w", short: "who", long: "who would get a message"},
	{verb: traceIt, keys: []string{"T"}, shown: "T", long: "trace this client, or this topic"},
	{verb: wipe, keys: []string{"c"}, shown: "c", short: "clear", long: "forget these messages"},
	{verb: pause, keys: []string{"p", "space"}, shown: "p", short: "pause", long: "hold everything still; go on"},
	{verb: last, keys: []string{"G", "end"}, shown: "G", short: "end", long: "to the end; messages: follow"},
	{verb: first, keys: []string{"g", "home"}, shown: "g", long: "to the beginning"},
	{verb: up, keys: []string{"k", "up"}, shown: "k ↑", long: "up"},
	{verb: down, keys: []string{"j", "down"}, shown: "j ↓", long: "down"},
	{verb: pageUp, keys: []string{"pgup", "ctrl+b", "ctrl+u"}, shown: "pgup", long: "a page up"},
	{verb: pageDown, keys: []string{"pgdown", "ctrl+f", "ctrl+d"}, shown: "pgdn", long: "a page down"},
	{verb: goScreen, keys: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "0"}, shown: "1…0", long: "that screen"},
	{verb: command, keys: []string{":"}, shown: ":", short: "command", long: "screens, commands by name"},
	{verb: nextScreen, keys: []string{"tab"}, shown: "tab", short: "screen", long: "the next screen"},
	{verb: prevScreen, keys: []string{"shift+tab"}, shown: "S-tab", long: "the screen before"},
	{verb: mouse, keys: []string{"M"}, shown: "M", long: "mouse: here, or select text"},
	{verb: refresh, keys: []string{"r"}, shown: "r", long: "ask now"},
	{verb: suspend, keys: []string{"ctrl+z"}, shown: "^Z", long: "to the shell; fg comes back"},
	{verb: help, keys: []string{"?"}, shown: "?", short: "help", long: "this help"},
	{verb: quit, keys: []string{"q", "ctrl+c"}, shown: "q", short: "quit", long: "quit"},
}

// bound finds what a key asks for now.
func bound(key string, typing bool, can func(verb) bool) verb {
	for i := range keymap {
		b := &keymap[i]
		if b.typed != typing && !(typing && b.verb == quit && key == "ctrl+c") {
			continue
		}
		for _, k := range b.keys {
			if k == key && can(b.verb) {
				return b.verb
			}
		}
	}
	return none
}

// footer offers the keys that work now, as many as there is room for; help and quit
// always.
func (t *theme) footer(w int, typing bool, can func(verb) bool) string {
	var l kind.Line
	for _, o := range offers(w, typing, can) {
		l = append(l, o.line...)
	}
	return t.line(w, l...)
}

// offers are those that there is room for.
func offers(w int, typing bool, can func(verb) bool) []offer {
	var always, more []offer
	room := w
	for i := range keymap {
		b := &keymap[i]
		if b.typed != typing || b.short == "" || !can(b.verb) {
			continue
		}
		o := offer{b.verb, kind.Line{{Text: " "}, {Text: b.shown, Tone: kind.Strong}, {Text: " " + b.short, Tone: kind.Faint}, {Text: " "}}}
		if b.verb == command || b.verb == help || b.verb == quit {
			always = append(always, o)
			room -= lineWidth(o.line)
		} else {
			more = append(more, o)
		}
	}
	for i := range more {
		if room -= lineWidth(more[i].line); room < 0 {
			more = more[:i]
			break
		}
	}
	return append(more, always...)
}

// Commands writes what may be typed behind ":" as text, for the command's own help.
func Commands() string {
	var b strings.Builder
	for _, p := range places {
		b.WriteString("  " + fit(p.name, 16, false) + " " + fit(p.key, 2, false) + " " + p.headless + "\n")
	}
	b.WriteString("\n")
	for _, c := range commandLines() {
		b.WriteString("  " + fit(c.name+" "+c.arg, 19, false) + " " + c.does + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// Keys writes the keymap as text, for the command's own help.
func Keys() string {
	var b strings.Builder
	for i := range keymap {
		if k := &keymap[i]; !k.typed {
			b.WriteString("  " + fit(k.shown, 6, false) + " " + k.long + "\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
