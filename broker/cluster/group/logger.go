package group

import (
	"context"
	"fmt"
	"log/slog"
)

// raftLogger sends what raft has to say to the broker's log. raft says a lot, in
// whole sentences, so that all of it is for debugging but warnings and errors.
type raftLogger struct{ to *slog.Logger }

// raftPanic is what raft panics with through its logger: an invariant does not
// hold, because this node's log or a peer's message is not what it should be. It
// ends the group, not the process.
type raftPanic string

func (l raftLogger) Debug(v ...any)                   { l.to.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Debugf(format string, v ...any)   { l.debugf(format, v) }
func (l raftLogger) Info(v ...any)                    { l.to.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Infof(format string, v ...any)    { l.debugf(format, v) }
func (l raftLogger) Warning(v ...any)                 { l.to.Warn(fmt.Sprint(v...)) }
func (l raftLogger) Warningf(format string, v ...any) { l.to.Warn(fmt.Sprintf(format, v...)) }
func (l raftLogger) Error(v ...any)                   { l.to.Error(fmt.Sprint(v...)) }
func (l raftLogger) Errorf(format string, v ...any)   { l.to.Error(fmt.Sprintf(format, v...)) }
func (l raftLogger) Fatal(v ...any)                   { panic(raftPanic(fmt.Sprint(v...))) }
func (l raftLogger) Fatalf(format string, v ...any)   { panic(raftPanic(fmt.Sprintf(format, v...))) }
func (l raftLogger) Panic(v ...any)                   { panic(raftPanic(fmt.Sprint(v...))) }
func (l raftLogger) Panicf(format string, v ...any)   { panic(raftPanic(fmt.Sprintf(format, v...))) }

func (l raftLogger) debugf(format string, v []any) {
	if l.to.Enabled(context.Background(), slog.LevelDebug) {
		l.to.Debug(fmt.Sprintf(format, v...))
	}
}
