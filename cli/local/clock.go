package local

import (
	"context"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/cli/env"
)

// clockFlag is the value of --clock.
type clockFlag struct {
	kind string    // "" is clockReal
	at   time.Time // where it begins; zero: now
	text string
}

// Kinds of clock.
const (
	clockReal    = "real"
	clockVirtual = "virtual" // stands still until it is moved
	clockRunning = "running" // virtual, and runs until it is frozen
)

func (c *clockFlag) Set(s string) error {
	var v clockFlag
	kind, at, given := strings.Cut(s, "@")
	if err := (&env.Choice{Value: &v.kind, Of: []string{clockReal, clockVirtual, clockRunning}}).Set(kind); err != nil {
		return err
	}
	if given {
		if v.kind == clockReal {
			return env.Failf(env.Usage, "the machine's clock shows what it shows: virtual@%s has a time of its own", at)
		}
		var err error
		if v.at, err = grammar.ParseTime(at); err != nil {
			return err
		}
	}
	v.text = s
	*c = v
	return nil
}
func (c *clockFlag) String() string { return c.text }
func (c *clockFlag) Type() string   { return "real|virtual[@TIME]|running[@TIME]" }

// open makes the clock; nil: it is the machine's.
func (c *clockFlag) open() *clock.Hands {
	if c.kind == "" || c.kind == clockReal {
		return nil
	}
	at := c.at
	if at.IsZero() {
		at = time.Now().Truncate(time.Second)
	}
	h := clock.NewHands(at)
	if c.kind == clockRunning {
		_ = h.Run(context.Background()) // nobody moves it yet
	}
	return h
}

// hands are those of the clock that --clock asks for. dirGiven: --data was.
func (u *up) hands(dirGiven bool) (*clock.Hands, error) {
	switch h := u.clock.open(); {
	case h == nil:
		return nil, nil
	case u.nodes > 1 && !u.inProcess:
		return nil, &env.Failure{Exit: env.Usage, What: "nodes in processes of their own have no clock in common", Hint: "have them in one: rmq up -n 3 --in-process --memory --clock " + u.clock.text}
	case u.node != 0 || u.join != "":
		return nil, &env.Failure{Exit: env.Usage, What: "a node that is started by hand goes by its machine's clock", Hint: "leave --clock out; for tests on many nodes: rmq up -n 3 --in-process --memory --clock " + u.clock.text}
	case !u.memory && !dirGiven:
		return nil, &env.Failure{
			Exit: env.Usage, What: "what is written on a virtual clock is of another time than what a broker writes otherwise: they do not share a directory",
			Hint: "keep nothing: rmq up --memory --clock " + u.clock.text + "   or name a directory for it: --data DIR",
		}
	default:
		return h, nil
	}
}
