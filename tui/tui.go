// Package tui is rmq's terminal screens: what goes through a broker and what it holds,
// as it changes.
//
// A program of package tea in its plain form: Model is the state, Update changes it by
// messages, View draws it as text. Neither speaks to the broker, waits or reads a clock
// but the one it is given; package feed does, in commands. What is told of each kind of
// thing is in package kind. Everything comes through adminapi.Source, so the screens
// are the same on a broker of this machine, of another one, and of a test.
//
// # Files
//
//	tui.go       Run
//	model.go     Model: messages, questions, keys
//	frame.go     View: what is around the screens
//	keys.go      the keymap, of which footer, help and docs/cli/tui.md are made
//	command.go   what is typed behind :
//	export.go    what is shown, to a file
//	mouse.go     what the mouse does
//	screen.go    what a screen is, and which ones there are
//	overview.go  traffic and totals
//	list.go      every list and what is behind its rows (table.go draws the rows)
//	nodes.go     what keys do to nodes
//	clock.go     the broker's time, and moving it
//	chaos.go     what goes wrong by plan
//	messages.go  live messages
//	timeline.go  what led to the failure of a test
//	decoded.go   what their values are
//	pager.go     text that scrolls
//	prompt.go    filters as they are typed
//	theme.go     tones to attributes; text of an exact width
//
// # Bounds
//
// A list asks for adminapi.ListMax items, live messages keep keptMax, series samplesMax
// samples, filters historyMax. What a bound leaves out is counted on the screen.
package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/cli/decode"
	"github.com/robustmq/rmq/tui/feed"
)

// Options say what to show and where.
type Options struct {
	Find      feed.Find // the way to the broker, taken again when the broker is gone
	Namespace string    // "" is the default one
	Screen    string    // to begin with, one of Screens; "" is the first
	Filter    string    // of that screen
	Interval  time.Duration
	Color     bool
	Theme     string  // one of Themes(); "" is the first
	Accent    string  // colour of the program's name; "" is the theme's: contexts have theirs
	NoMouse   bool    // leave it to the terminal, at first
	Bundle    *Bundle // of a failed test, to be looked at; nil: none
	// Saved are filters by name, of which "@hot" stands for the one called hot; Save keeps one. nil: there is no place
	// for them.
	Saved  func() (map[string]string, error)
	Save   func(name, src string) error
	Decode decode.Options // of values; the zero Kind finds out what they are
	// Tell has a node of a cluster on this machine killed, paused, resumed or restarted, as verb says,
	// and returns what has become of it; nil: there is none.
	Tell func(ctx context.Context, node, verb string) (string, error)
	Zone *time.Location // of times of day

	Clock   clock.Clock // nil: the machine's
	In      io.Reader   // nil: the terminal
	Out     io.Writer   // nil: the terminal
	Environ []string    // nil: the process's
}

// Interval is how often the broker is asked unless Options say so.
const Interval = time.Second

func (o *Options) defaults() {
	if o.Interval <= 0 {
		o.Interval = Interval
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	if o.Clock == nil {
		o.Clock = clock.Wall{}
	}
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
}

// Check tells whether Run could begin with a screen and a filter of it, and with what is said of values.
func Check(screen, filter string, values decode.Options) error {
	opt := Options{Screen: screen, Filter: filter, Decode: values}
	opt.defaults()
	_, err := newModel(feed.New(context.Background(), nil, opt.Clock), opt)
	return err
}

// Run shows the screens until their user quits (nil), ctx ends (its cause) or the broker
// refuses to let us in (its error).
func Run(ctx context.Context, opt Options) error { return run(ctx, opt) }

func run(ctx context.Context, opt Options, more ...tea.ProgramOption) error {
	opt.defaults()
	// Commands end when the program has: a broker that hangs holds nobody up.
	commands, cancel := context.WithCancel(ctx)
	defer cancel()
	m, err := newModel(feed.New(commands, opt.Find, opt.Clock), opt)
	if err != nil {
		return err
	}
	options := append(more, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithEnvironment(opt.Environ))
	if opt.In != nil {
		options = append(options, tea.WithInput(opt.In))
	}
	if opt.Out != nil {
		options = append(options, tea.WithOutput(opt.Out))
	}
	_, err = tea.NewProgram(m, options...).Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, tea.ErrInterrupted):
		return nil
	case err != nil:
		return err
	}
	return m.failed
}
