package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
)

// Schemas of time.
const (
	SchemaClock = "rmq.clock/1"
	SchemaDue   = "rmq.due/1"
)

// Clock is the time that a broker goes by: by it messages and sessions expire, wills and delayed
// messages are published, and records are too old.
type Clock struct {
	Kind   string    `json:"kind"` // ClockReal or ClockVirtual
	Now    time.Time `json:"now"`
	Frozen bool      `json:"frozen"` // it moves only when it is moved
}

// Kinds of clock.
const (
	ClockReal    = "real"    // the machine's
	ClockVirtual = "virtual" // the broker's own
)

// Due is what time will bring of one kind: when that happens next, and to what.
type Due struct {
	Kind      string    `json:"kind"` // one of DueKinds
	Next      time.Time `json:"next"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name,omitempty"` // of the session, queue, group or address that is next
	// Count is how many are due one day: messages by the queues and sessions that hold some.
	Count int `json:"count"`
}

// DueKinds says what happens of each kind.
var DueKinds = map[string]string{
	"session":  "a session ends",
	"will":     "a will is published",
	"message":  "a message expires",
	"queue":    "an unused queue ends",
	"retained": "a retained message expires",
	"offsets":  "a group forgets offsets",
	"delayed":  "a delayed message is published",
}

// Dues is what time will bring, the next first.
type Dues struct {
	Now time.Time `json:"now"` // by the broker's clock
	Due []Due     `json:"due"`
	// More tells that there was too much to look at all of it: what is last may be missing, and counts are too low.
	More bool `json:"more,omitempty"`
}

// ClockMove moves a virtual clock: on by a time, or to one.
type ClockMove struct {
	By time.Duration
	To time.Time // zero: By counts
	// Liveness moves link time as far first: connections count as silent for so long, and end if that
	// is longer than they may be.
	Liveness bool
}

// Clocks is what may be asked of the clock; part of Source.
type Clocks interface {
	Clock(context.Context) (Clock, error)
	// Due tells what falls due next on the node that answers, of what waits for a time of its own: not what streams
	// are to forget, which is looked at again and again.
	Due(context.Context) (Dues, error)
	// FreezeClock has a virtual clock stand still, or run with the machine's again.
	FreezeClock(ctx context.Context, frozen bool) (Clock, error)
	// MoveClock returns once everything that fell due on the way has happened, in the order of its
	// times.
	MoveClock(context.Context, ClockMove) (Clock, error)
}

// clockMove is a ClockMove in JSON.
type clockMove struct {
	By       string    `json:"by,omitempty"` // as Go writes durations, or with days: "24h", "7d"
	To       time.Time `json:"to,omitzero"`
	Liveness bool      `json:"liveness,omitempty"`
}

func (m clockMove) read() (ClockMove, error) {
	out := ClockMove{To: m.To, Liveness: m.Liveness}
	if (m.By == "") == m.To.IsZero() {
		return out, fault.New(fault.Invalid, "move clock", "", `one of "by", a duration, and "to", a time, says how far`)
	}
	if m.By == "" {
		return out, nil
	}
	by, err := grammar.ParseDuration(m.By)
	if err != nil || by < 0 {
		return out, fault.New(fault.Invalid, "move clock", "", `"by": %q is not a duration such as 250ms, 30s, 1h30m, 7d`, m.By)
	}
	out.By = by
	return out, nil
}

func (h *handler) clocks(mux *http.ServeMux) {
	get(h, mux, "GET /v1/clock", SchemaClock, func(ctx context.Context, _ *http.Request) (Clock, error) { return h.src.Clock(ctx) })
	get(h, mux, "GET /v1/clock/due", SchemaDue, func(ctx context.Context, _ *http.Request) (Dues, error) { return h.src.Due(ctx) })
	for verb, frozen := range map[string]bool{"freeze": true, "resume": false} {
		get(h, mux, "POST /v1/clock/"+verb, SchemaClock, func(ctx context.Context, _ *http.Request) (Clock, error) {
			return h.src.FreezeClock(ctx, frozen)
		})
	}
	put(h, mux, "POST /v1/clock/advance", SchemaClock, func(ctx context.Context, _ *http.Request, m clockMove) (Clock, error) {
		move, err := m.read()
		if err != nil {
			return Clock{}, err
		}
		return h.src.MoveClock(ctx, move)
	})
}

func (c *Client) Clock(ctx context.Context) (out Clock, err error) {
	return out, c.call(ctx, "GET", "/v1/clock", nil, nil, &out)
}

func (c *Client) Due(ctx context.Context) (out Dues, err error) {
	return out, c.call(ctx, "GET", "/v1/clock/due", nil, nil, &out)
}

func (c *Client) FreezeClock(ctx context.Context, frozen bool) (out Clock, err error) {
	verb := "resume"
	if frozen {
		verb = "freeze"
	}
	return out, c.call(ctx, "POST", "/v1/clock/"+verb, nil, nil, &out)
}

func (c *Client) MoveClock(ctx context.Context, m ClockMove) (out Clock, err error) {
	wire := clockMove{To: m.To, Liveness: m.Liveness}
	if m.To.IsZero() {
		wire.By = m.By.String()
	}
	return out, c.call(ctx, "POST", "/v1/clock/advance", nil, wire, &out)
}
