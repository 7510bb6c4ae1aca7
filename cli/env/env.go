// Package env is what every command shares: everything outside the process, the
// form of output and of failures, the grammar of flags, the layers of
// configuration, and the way to a running broker.
//
// A command gets one *Env and touches nothing else: results go to Out by Print, talk
// goes to Err by Say, and an error that is returned becomes one line, a hint and an
// exit code by Fail.
//
// # Files
//
//	env.go       Env, terminals, talk
//	view.go      Print: table, text, json, yaml
//	pick.go      --jq and --template
//	saved.go     requests by name; filters.go filters
//	failure.go   errors, hints and exit codes
//	value.go     durations, sizes and choices as flags read them
//	config.go    flag > RMQ_* > project rmq.yaml > context > user file > machine's file
//	context.go   named settings for one broker
//	protect.go   contexts on which nothing is changed
//	run.go       the files by which commands find a broker on this machine
//	admin.go     the way to a broker's API
//	suggest.go   did you mean
package env

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Env is everything outside the process, and the flags that every command has.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Dir      string // working directory
	Home     string // of the user; may be ""
	Etc      string // the machine's settings are below it; "": it has none
	Now      func() time.Time
	Args     []string // as the process got them, the program first
	Version  string   // of this program
	Commit   string

	InTTY, OutTTY, ErrTTY bool
	Width                 int // columns of Out's terminal; 0 when it is none

	// Flags of every command.
	Output string // -o; "" is by terminal
	Quiet  bool   // -q
	Color  string // auto, always, never
	pick   pick   // --jq, --template

	Context   string // the one in use; "": none
	MarkColor string // what its name is painted with; "": red where it is protected
	Protected bool   // nothing may be changed on the broker

	// Flags of the commands that speak to a broker.
	Name string // of a broker on this machine
	URL  string // of a broker's HTTP address; over Name
	User string // with Password

	passwordFile, apiCA string

	origins []Origin               // of settings that configuration filled in
	filled  map[*pflag.Flag]Origin // those that it has set: flags that commands share are found so by the next one
	printed bool                   // an envelope went to Out: Fail adds none
}

// System returns the process's own.
func System() *Env {
	e := &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now, Args: os.Args}
	e.Dir, _ = os.Getwd() // "" looks for no project file
	e.Home, _ = os.UserHomeDir()
	if e.Etc = e.Getenv("RMQ_ETC"); e.Etc == "" && runtime.GOOS != "windows" {
		e.Etc = "/etc"
	}
	e.InTTY, e.OutTTY, e.ErrTTY = isTerminal(os.Stdin), isTerminal(os.Stdout), isTerminal(os.Stderr)
	if e.OutTTY {
		e.Width = terminalWidth(os.Stdout)
	}
	e.forceTTY()
	return e
}

// forceTTY lets RMQ_FORCE_TTY=columns stand for a terminal, for recordings and tests.
func (e *Env) forceTTY() {
	if s := e.Getenv("RMQ_FORCE_TTY"); s != "" {
		e.OutTTY, e.ErrTTY, e.Width = true, true, 80
		if n, err := strconv.Atoi(s); err == nil && n > 0 {
			e.Width = n
		}
	}
}

// Say tells something that is not data. --quiet silences it.
func (e *Env) Say(format string, args ...any) {
	if !e.Quiet {
		fmt.Fprintf(e.Err, format+"\n", args...)
	}
}

// Colored tells whether a stream that is or is not a terminal gets colour.
func (e *Env) Colored(tty bool) bool {
	switch {
	case e.Color == "always":
		return true
	case e.Color == "never", e.Getenv("NO_COLOR") != "":
		return false
	case e.Getenv("CLICOLOR_FORCE") != "" && e.Getenv("CLICOLOR_FORCE") != "0":
		return true
	}
	return tty && e.Getenv("TERM") != "dumb"
}

// paint wraps s in an ANSI attribute.
func paint(on bool, attribute, s string) string {
	if !on || s == "" {
		return s
	}
	return "\x1b[" + attribute + "m" + s + "\x1b[0m"
}

const (
	bold  = "1"
	faint = "2"
	red   = "31"
)
