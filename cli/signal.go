package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/robustmq/rmq/cli/env"
)

// UntilSignal returns a context that the first SIGINT or SIGTERM ends; a second one
// ends the process at once. It is for the process's main function.
func UntilSignal() context.Context {
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
