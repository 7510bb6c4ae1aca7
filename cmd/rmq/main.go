// Command rmq is the broker and the tools around it. What it does is in package cli;
// here are the process's signals and its exit code.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/local"
)

// version and commit are set by the linker in a release.
var (
	version = ""
	commit  = ""
)

func main() {
	e := env.System()
	e.Version, e.Commit = build()
	os.Exit(cli.Main(untilSignal(), e, local.OpenBroker, os.Args[1:]))
}

// untilSignal returns a context that the first SIGINT or SIGTERM ends; a second one
// ends the process.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// A reader that leaves a pipe is an error of the write, which ends us in order.
	ignorePipe()
	go func() { // lives as long as the process
		if <-signals == os.Interrupt {
			cancel(env.ErrInterrupted)
		} else {
			cancel(context.Canceled)
		}
		<-signals
		os.Exit(env.Interrupted)
	}()
	return ctx
}

// build says what was built: by the linker, or from what the Go toolchain noted.
func build() (string, string) {
	v, c := version, commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v, c
	}
	if v == "" {
		v = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && c == "" {
			c = s.Value
		}
	}
	return v, c
}
