package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

// logs is one run of `rmq logs`.
type logs struct {
	e      *env.Env
	last   int64
	follow bool
	level  string
	path   string
	shown  bool // whether the last line that has a level is shown: what follows it belongs to it
}

// logLevels are the levels, the least first.
var logLevels = []string{"debug", "info", "warn", "error"}

// NewLogs returns `rmq logs`.
func NewLogs(e *env.Env) *cobra.Command {
	l := &logs{e: e}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show the log of a broker that was started detached",
		Long: "Show the log of a broker of this machine that was started with rmq up --detach: also of one that has ended, until the\n" +
			"next one of that name is started. With -f what comes is shown as it comes, until the broker ends or Ctrl-C.\n\n" +
			"-o json is one line of the log a line, with its time, level, text and fields.",
		Example: "  rmq logs\n  rmq logs -n 20 --level warn\n  rmq logs -f --name other",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.Int64VarP(&l.last, "count", "n", 0, "only the last so many lines; 0: all")
	f.BoolVarP(&l.follow, "follow", "f", false, "go on with what comes")
	f.Var(&env.Choice{Value: &l.level, Of: logLevels}, "level", "only what is as grave as that")
	f.StringVar(&e.Name, "name", env.DefaultName, "the broker on this machine, by the name it was started with")
	return cmd
}

func (l *logs) run(ctx context.Context) error {
	if err := env.CheckName(l.e.Name); err != nil {
		return err
	}
	if l.last < 0 {
		return env.Failf(env.Usage, "-n %d is less than nothing", l.last)
	}
	run, known, err := l.e.ReadRun(l.e.Name)
	if err != nil {
		return err
	}
	alive := known && env.Alive(run.PID)
	if l.path = run.Log; l.path == "" {
		l.path = filepath.Join(l.e.StateDir(), l.e.Name+".log")
	}
	if alive && run.Log == "" {
		return &env.Failure{
			Exit: env.NotFound, What: fmt.Sprintf("broker %s keeps no log: it writes to where rmq up runs, process %d", l.e.Name, run.PID),
			Hint: "rmq up --detach keeps one",
		}
	}
	file, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &env.Failure{Exit: env.NotFound, What: "there is no log of a broker named " + l.e.Name, Hint: "rmq up --detach" + nameFlag(l.e.Name) + " keeps one"}
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	if err := l.begin(file); err != nil {
		return err
	}
	if !l.follow {
		return nil
	}
	if !alive {
		l.e.Say("the broker has ended")
		return nil
	}
	return l.more(ctx, file, run.PID)
}

// begin shows what is there.
func (l *logs) begin(file *os.File) error {
	r := bufio.NewReader(file)
	var kept []string
	for {
		line, err := r.ReadString('\n')
		if line != "" && l.wanted(line) {
			switch kept = append(kept, line); {
			case l.last == 0:
				if err := l.show(line); err != nil {
					return err
				}
				kept = kept[:0]
			case int64(len(kept)) > 2*l.last:
				kept = append(kept[:0], kept[int64(len(kept))-l.last:]...)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if n := int64(len(kept)); n > l.last {
		kept = kept[n-l.last:]
	}
	for _, line := range kept {
		if err := l.show(line); err != nil {
			return err
		}
	}
	return nil
}

// logLook is how often a log that is followed is looked at: a file tells nobody that it grows.
const logLook = 100 * time.Millisecond

// more shows what is added, until the process has ended.
func (l *logs) more(ctx context.Context, file *os.File, pid int) error {
	tick := time.NewTicker(logLook)
	defer tick.Stop()
	r, part := bufio.NewReader(file), ""
	for {
		alive := env.Alive(pid) // asked first: what it wrote last is there then
		for {
			line, err := r.ReadString('\n')
			part += line
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if err != nil {
				break
			}
			if l.wanted(part) {
				if err := l.show(part); err != nil {
					return err
				}
			}
			part = ""
		}
		if !alive {
			l.e.Say("the broker has ended")
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// logLine is one line of a log.
type logLine struct {
	Time   string            `json:"time,omitempty"`
	Level  string            `json:"level,omitempty"`
	Text   string            `json:"msg"`
	Fields map[string]string `json:"fields,omitempty"`
}

// parseLog takes a line of slog's text form apart; another has its text alone.
func parseLog(line string) logLine {
	rest := strings.TrimRight(line, "\r\n")
	whole := logLine{Text: rest}
	if i := strings.Index(rest, "time="); i > 0 && strings.HasSuffix(rest[:i], ": ") { // of a node among several
		whole.Fields, rest = map[string]string{"from": rest[:i-2]}, rest[i:]
	}
	var l logLine
	l.Fields = whole.Fields
	for rest != "" {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"") {
			return whole
		}
		value := ""
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return whole
			}
			value, _ = strconv.Unquote(quoted)
			rest = strings.TrimPrefix(after[len(quoted):], " ")
		} else {
			value, rest, _ = strings.Cut(after, " ")
		}
		switch name {
		case "time":
			l.Time = value
		case "level":
			l.Level = strings.ToLower(value)
		case "msg":
			l.Text = value
		default:
			if l.Fields == nil {
				l.Fields = map[string]string{}
			}
			l.Fields[name] = value
		}
	}
	if l.Level == "" {
		return whole
	}
	return l
}

// wanted tells whether a line is as grave as it is to be; one without a level goes with the one before.
func (l *logs) wanted(line string) bool {
	if l.level == "" {
		return true
	}
	if level := parseLog(line).Level; level != "" {
		l.shown = rank(level) >= rank(l.level)
	}
	return l.shown
}

func rank(level string) int {
	for i, x := range logLevels {
		if strings.HasPrefix(level, x) { // "warn+2" lies above
			return i
		}
	}
	return 0
}

func (l *logs) show(line string) error {
	switch l.e.Format() {
	case env.FormatJSON:
		return l.e.PrintLine(parseLog(line))
	case env.FormatYAML:
		return l.e.PrintDocument(parseLog(line))
	}
	_, err := io.WriteString(l.e.Out, env.Clean(strings.TrimRight(line, "\r\n"))+"\n")
	return err
}
