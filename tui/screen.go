package tui

import (
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// screen is one of those behind the number keys and the command line. Model alone calls it,
// from the program's loop, so it needs no lock; none of its methods waits for anything.
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
	// command is what the other copy key takes: a command that tells or does the same.
	command() string

	filter() string
	fields() []string // that a filter may name; nil: there is nothing to filter
	setFilter(src string, l kind.Look) error

	status(l kind.Look) (left, right kind.Line)
	body(t *theme, l kind.Look) []string
	// headless is the command that tells the same without a screen.
	headless() string
}

// What some screens can do besides.
type (
	// arranger puts new items in order.
	arranger interface{ arrange(l kind.Look) }
	// clicker takes a press of the mouse in its body, and may ask for a verb.
	clicker interface {
		click(x, y int, l kind.Look) verb
	}
	// collection holds things that have names.
	collection interface {
		called() (one, many string)
		names() []string
		want(name string)
		found() (opened bool, missing string)
	}
	// listener lives on a stream, in place of questions.
	listener interface {
		// begin notes that a stream begins, perhaps after another one.
		begin(now time.Time)
		// listen is the stream; nil: there is nothing to listen to yet.
		listen(f *feed.Feed) *feed.Stream
		// add takes a batch. paused: nothing that is shown may move.
		add(b feed.Batch, l kind.Look, paused bool)
	}
	// tracer has something under its cursor that can be traced.
	tracer interface {
		trace() (q adminapi.TraceQuery, ok bool)
	}
	// parser reads what is typed in place of a filter, of which its question is made.
	parser interface{ parse(src string) error }
	// exporter writes what is shown: everything of each item, or the columns.
	exporter interface {
		exported() []any
		table(l kind.Look) [][]string
	}
)

// place says where a screen is.
type place struct {
	key                   string // "": the command line leads there, and tab
	name, short, headless string
	make                  func(p place, opt *Options) screen
}

func listOf[T any](k func() *kind.Kind[T]) func(place, *Options) screen {
	return func(p place, opt *Options) screen { return newList(k(), opt.Namespace, p) }
}

// places are the screens, in the order of their keys; those without a key behind them.
var places = []place{
	{"1", "overview", "over", "rmq status", func(p place, opt *Options) screen { return newOverview(opt.Interval, p) }},
	{"2", "topics", "topic", "rmq topic list", listOf(kind.Topics)},
	{"3", "queues", "queue", "rmq queue list", listOf(kind.Queues)},
	{"4", "exchanges", "exch", "rmq exchange list", listOf(kind.Exchanges)},
	{"5", "sessions", "sess", "rmq session list", listOf(kind.Sessions)},
	{"6", "subscriptions", "subs", "rmq sub list", listOf(kind.Subscriptions)},
	{"7", "groups", "grp", "rmq group list", listOf(kind.Groups)},
	{"8", "retained", "ret", "rmq retained list", listOf(kind.Retained)},
	{"9", "messages", "live", "rmq consume 'mqtt:#'", func(p place, opt *Options) screen { return newMessages(opt.Namespace, p) }},
	{"0", "nodes", "node", "rmq node list", listOf(kind.Nodes)},
	{"", "trace", "trace", "rmq trace client ID", func(p place, _ *Options) screen { return newTraced(p) }},
	{"", "who", "who", "rmq explain mqtt:TOPIC", func(p place, opt *Options) screen { return newWho(p, opt.Namespace) }},
	{"", "partitions", "part", "rmq topic list -o json", listOf(kind.Partitions)},
	{"", "clock", "clk", "rmq clock due", func(p place, opt *Options) screen { return newClocked(p, opt) }},
	{"", "chaos", "chaos", "rmq chaos list", func(p place, opt *Options) screen { return newFaults(p, opt) }},
	{"", "timeline", "time", "rmq snapshot show FILE --note timeline", func(p place, opt *Options) screen { return newTimeline(p, opt) }},
	{"", "errors", "err", "rmq status -o json", listOf(kind.Errors)},
	{"", "bans", "ban", "rmq ban list", listOf(kind.Bans)},
	{"", "bridges", "brdg", "rmq bridge list", listOf(kind.Bridges)},
	{"", "quotas", "quota", "rmq quota list", listOf(kind.Quotas)},
	{"", "settings", "set", "rmq config list", listOf(kind.Settings)},
}

// Indexes of places that are treated apart.
const (
	overviewAt      = 0
	exchangesAt     = 3
	subscriptionsAt = 5
	liveAt          = 8
	nodesAt         = 9
	tracedAt        = 10
	whoAt           = 11
	clockAt         = 13
	chaosAt         = 14
)

// placeOf is the index of the screen of that name, or -1.
func placeOf(name string) int {
	return slices.IndexFunc(places, func(p place) bool { return p.name == name })
}

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
	if i := placeOf(name); i >= 0 {
		return places[i].headless
	}
	return places[overviewAt].headless
}
