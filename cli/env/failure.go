package env

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// Exit codes, as `rmq help exit-codes` documents them.
const (
	OK          = 0
	Failed      = 1
	Usage       = 2
	Partly      = 3
	Auth        = 4
	NotFound    = 5
	Conflict    = 6
	Unreachable = 7
	TimedOut    = 8
	Negative    = 9
	Interrupted = 130
)

// ExitCodes says what each exit code means.
var ExitCodes = []struct {
	Code int    `json:"code"`
	Name string `json:"name"`
	Text string `json:"text"`
}{
	{OK, "ok", "done"},
	{Failed, "failed", "not done, for a reason that no other code names"},
	{Usage, "usage", "the command, a flag, a setting or a request is wrong as it stands"},
	{Partly, "partly", "some of what was asked is done, and some is not"},
	{Auth, "auth", "not let in, or not allowed"},
	{NotFound, "not-found", "what was named does not exist"},
	{Conflict, "conflict", "it exists already, is in use, or its state forbids the request"},
	{Unreachable, "unreachable", "no broker answers, or it is not ready"},
	{TimedOut, "timed-out", "time ran out, or fewer messages came than were asked for"},
	{Negative, "negative", "the question was answered, with no: a bound was exceeded, a check failed"},
	{Interrupted, "interrupted", "stopped by Ctrl-C (SIGINT) or SIGTERM, once it has told what was done until then"},
}

// EndsStopped is an annotation of commands that end with their own code though they are stopped: to be
// stopped is how they end.
const EndsStopped = "ends-stopped"

// Failure is an error as a person is told it.
type Failure struct {
	Exit int
	What string // one lower-case line: what failed, and why
	Show string // what was typed, and a caret where it goes wrong: two lines
	Hint string // the next command, exactly, or what to change
	See  string // where to read on
	Err  error  // cause, when there is one
}

func (f *Failure) Error() string { return f.What }
func (f *Failure) Unwrap() error { return f.Err }

// Failf makes a failure.
func Failf(exit int, format string, args ...any) *Failure {
	return &Failure{Exit: exit, What: fmt.Sprintf(format, args...)}
}

// WithHint gives err a hint, unless it has one.
func WithHint(err error, format string, args ...any) error {
	f := Explain(err)
	if f == nil || f.Hint != "" {
		return err
	}
	with := *f
	with.Hint = fmt.Sprintf(format, args...)
	return &with
}

// ExitCode is what a command that was run for the user has ended with: it has said what there is to say.
type ExitCode int

func (c ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// ErrInterrupted is the cause of a context that Ctrl-C ended.
var ErrInterrupted = errors.New("interrupted")

// Explain turns any error into a failure; nil stays nil.
func Explain(err error) *Failure {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if a, ok := errors.AsType[*adminapi.Error](err); ok {
		exit := categoryExits[a.Category]
		if exit == 0 {
			exit = Failed
		}
		return &Failure{Exit: exit, What: a.Message, Hint: a.Hint, Err: err}
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return &Failure{Exit: categoryExits[adminapi.ErrorOf(err).Category], What: oneLine(err), Err: err}
	}
	switch {
	case errors.Is(err, ErrInterrupted), errors.Is(err, context.Canceled):
		return &Failure{Exit: Interrupted, What: "interrupted", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Failure{Exit: TimedOut, What: "timed out", Err: err}
	}
	return &Failure{Exit: Failed, What: oneLine(err), Err: err}
}

var categoryExits = map[adminapi.Category]int{
	adminapi.CategoryUsage:       Usage,
	adminapi.CategoryAuth:        Auth,
	adminapi.CategoryNotFound:    NotFound,
	adminapi.CategoryConflict:    Conflict,
	adminapi.CategoryUnavailable: Unreachable,
	adminapi.CategoryTimeout:     TimedOut,
	adminapi.CategoryInternal:    Failed,
}

// oneLine keeps an error's text to one line.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

// readerLeft tells whether an error is that nobody reads standard output any more. A broker that
// has closed its connection is another matter, by the same error of the system.
func readerLeft(err error) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && p.Path == os.Stdout.Name() && errors.Is(p.Err, syscall.EPIPE)
}

// Fail tells a failure and returns the exit code. A reader that left is no failure: `rmq consume |
// head` ends quietly.
func (e *Env) Fail(err error) int {
	if err == nil || readerLeft(err) {
		return OK
	}
	if code, ok := errors.AsType[ExitCode](err); ok {
		return int(code)
	}
	f := Explain(err)
	if f.Exit == Interrupted {
		return Interrupted // who pressed Ctrl-C knows
	}
	color := e.Colored(e.ErrTTY)
	fmt.Fprintf(e.Err, "%s %s\n", paint(color, red, "rmq:"), Clean(f.What))
	for line := range strings.Lines(f.Show) {
		fmt.Fprintf(e.Err, "  %s\n", Clean(strings.TrimSuffix(line, "\n")))
	}
	if f.Hint != "" {
		fmt.Fprintf(e.Err, "%s %s\n", paint(color, bold, "hint:"), Clean(f.Hint))
	}
	if f.See != "" {
		fmt.Fprintf(e.Err, "%s %s\n", paint(color, bold, "see:"), Clean(f.See))
	}
	if format := e.Output; (format == FormatJSON || format == FormatYAML) && !e.printed {
		b, jsonErr := encodeJSON(envelope{Schema: "rmq.error/1", Error: f.Wire()}, "  ")
		if jsonErr == nil && format == FormatYAML {
			b, jsonErr = jsonToYAML(b)
		}
		if jsonErr == nil {
			_ = e.write(b) // a reader that left has its exit code
		}
	}
	return f.Exit
}

// Wire is the failure as -o json tells it.
func (f *Failure) Wire() *adminapi.Error {
	out := adminapi.Error{Code: "failed", Category: adminapi.CategoryInternal}
	if a, ok := errors.AsType[*adminapi.Error](f.Err); ok {
		out = *a
	} else if _, ok := errors.AsType[*fault.Error](f.Err); ok {
		out = *adminapi.ErrorOf(f.Err)
	} else {
		for _, c := range ExitCodes {
			if c.Code == f.Exit {
				out.Code = strings.ReplaceAll(c.Name, "-", "_")
			}
		}
		for category, exit := range categoryExits {
			if exit == f.Exit && exit != Failed {
				out.Category = category
			}
		}
		out.Retryable = f.Exit == Unreachable
	}
	out.Message, out.Hint = f.What, f.Hint
	return &out
}
