package tui

import (
	"time"

	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// screen is one of those behind the number keys. Model alone calls it, from the
// program's loop, so it needs no lock; none of its methods waits for anything.
type screen interface {
	resize(width, height int) // of the body
	// question is what to ask the broker for what is shown now; nil: nothing.
	question() feed.Question
	answer(data any, at time.Time)
	// failed notes an answer that was an error of the broker's. What is shown stays.
	failed(err error)

	can(v verb) bool
	// do does a verb that can be done. asks tells that the question is another one now.
	do(v verb, l kind.Look) (asks bool)
	// copied is what the copy key takes, and what that is called.
	copied() (text, what string)

	filter() string
	fields() []string // that a filter may name; nil: there is nothing to filter
	setFilter(src string, l kind.Look) error

	status(l kind.Look) (left, right kind.Line)
	body(t *theme, l kind.Look) []string
	// headless is the command that tells the same without a screen.
	headless() string
}

// place says which screen is behind which key.
type place struct {
	name, short, headless string
}

// places are the screens, in the order of their keys.
var places = []place{
	{"overview", "over", "rmq status"},
	{"topics", "topic", "rmq topic list"},
	{"queues", "queue", "rmq queue list"},
	{"exchanges", "exch", "rmq exchange list"},
	{"sessions", "sess", "rmq session list"},
	{"subscriptions", "subs", "rmq session list -o json"},
	{"groups", "grp", "rmq group list"},
	{"retained", "ret", "rmq retained list"},
	{"messages", "live", "rmq consume 'mqtt:#'"},
	{"nodes", "node", "rmq node list"},
}

// Indexes of places that are treated apart.
const (
	overviewAt = 0
	liveAt     = 8
	nodesAt    = 9
)

// Screens returns the names of the screens, in order.
func Screens() []string {
	var out []string
	for _, p := range places {
		out = append(out, p.name)
	}
	return out
}

// Headless returns the command that tells what a screen shows, for where there is no
// terminal to show it on.
func Headless(name string) string {
	for _, p := range places {
		if p.name == name {
			return p.headless
		}
	}
	return places[overviewAt].headless
}
