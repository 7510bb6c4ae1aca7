package kind

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Sessions are what outlives an MQTT client's connection.
func Sessions() *Kind[adminapi.Session] {
	type T = adminapi.Session
	return &Kind[T]{
		One: "session", Many: "sessions", SortBy: "CLIENT",
		Empty: "no sessions: no MQTT client is or was here",
		Columns: []Column[T]{
			{Title: "CLIENT", Width: 14, Grow: 3, Keep: 9, Text: func(s *T, _ Look) string { return s.ClientID }},
			{Title: "STATE", Width: 7, Keep: 8, Text: func(s *T, _ Look) string { return state(s).Text }, Show: func(s *T, _ Look) Cell { return state(s) }},
			{Title: "FOR", Width: 6, Keep: 4, Number: func(s *T, l Look) float64 { return age(s.Since, l) }, Show: func(s *T, l Look) Cell { return Cell{Text: l.Since(s.Since)} }},
			{Title: "EXPIRES", Width: 9, Keep: 5, Number: func(s *T, l Look) float64 { return timeLeft(s, l) }, Show: expires},
			{Title: "SUBS", Width: 4, Keep: 5, Number: func(s *T, _ Look) float64 { return float64(len(s.Subscriptions)) }},
			{Title: "INFLIGHT", Width: 9, Keep: 6, Number: func(s *T, _ Look) float64 { return float64(s.Inflight) }, Show: func(s *T, _ Look) Cell { return inflight(s) }},
			{Title: "BACKLOG", Width: 7, Keep: 7, Number: func(s *T, _ Look) float64 { return float64(s.Backlog) }, Show: func(s *T, _ Look) Cell { return backlog(s) }},
			{Title: "DROPPED", Width: 7, Keep: 3, Number: func(s *T, _ Look) float64 { return float64(s.Dropped) }, Show: func(s *T, _ Look) Cell { return dropped(s.Dropped) }},
			{Title: "WILL", Width: 12, Keep: 1, Grow: 1, Text: func(s *T, _ Look) string { return willTopic(s) }},
			{Title: "VERSION", Width: 7, Keep: 1, Text: func(s *T, _ Look) string { return s.Version }},
			{Title: "REMOTE", Width: 15, Keep: 2, Grow: 1, Text: func(s *T, _ Look) string { return s.Remote }},
		},
		ID: func(s *T) string { return s.ClientID },
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			return src.Sessions(ctx, adminapi.Query{Namespace: namespace, Limit: limit})
		},
		Get: func(ctx context.Context, src adminapi.Source, s T) (T, error) {
			return src.Session(ctx, adminapi.Ref{Namespace: s.Namespace, Name: s.ClientID})
		},
		Detail:  sessionDetail,
		Trace:   func(s *T) adminapi.TraceQuery { return adminapi.TraceQuery{Client: s.ClientID} },
		Command: func(s *T) string { return "rmq session get " + quote(s.ClientID) },
	}
}

func state(s *adminapi.Session) Cell {
	if s.Connected {
		return Cell{"online", Good}
	}
	return Cell{"offline", Faint}
}

func age(t time.Time, l Look) float64 {
	if t.IsZero() {
		return math.NaN()
	}
	return l.Now.Sub(t).Seconds()
}

// timeLeft is how many seconds a session has left, were its client to go now.
func timeLeft(s *adminapi.Session, l Look) float64 {
	switch {
	case s.Expiry == adminapi.ExpiryNever:
		return math.Inf(1)
	case !s.Connected && !s.ExpiresAt.IsZero():
		return max(0, s.ExpiresAt.Sub(l.Now).Seconds())
	}
	return float64(s.Expiry)
}

// expires counts down while the client is away; while it is here, it says how long the
// session will be kept.
func expires(s *adminapi.Session, l Look) Cell {
	switch {
	case s.Expiry == adminapi.ExpiryNever:
		return Cell{"never", Faint}
	case !s.Connected && !s.ExpiresAt.IsZero():
		d := s.ExpiresAt.Sub(l.Now)
		if d <= 0 {
			return Cell{"now", Warn}
		}
		return Cell{countdown(d), Warn}
	case s.Expiry == 0:
		return Cell{"at end", Faint}
	}
	return Cell{"+" + Duration(time.Duration(s.Expiry)*time.Second), Faint}
}

func inflight(s *adminapi.Session) Cell {
	c := count(float64(s.Inflight))
	if s.InflightMax > 0 && s.Inflight > 0 {
		c.Text += "/" + Count(int64(s.InflightMax))
	}
	if s.InflightMax > 0 && s.Inflight >= s.InflightMax {
		c.Tone = Warn
	}
	return c
}

func backlog(s *adminapi.Session) Cell {
	c := count(float64(s.Backlog))
	if s.Backlog > 0 {
		c.Tone = Warn
	}
	return c
}

func dropped(n uint64) Cell {
	c := count(float64(n))
	if n > 0 {
		c.Tone = Bad
	}
	return c
}

func willTopic(s *adminapi.Session) string {
	if s.Will == nil {
		return ""
	}
	return s.Will.Topic
}

func sessionDetail(s *adminapi.Session, l Look) []Section {
	st := state(s)
	if !s.Since.IsZero() {
		st.Text += " for " + l.Since(s.Since)
	}
	about := Section{Fields: []Field{
		{"state", st}, field("remote", s.Remote), field("user", s.User), field("mqtt", s.Version),
		field("keep alive", keepAlive(s)), {"expires", expiresLong(s, l)},
		{"inflight", Cell{fmt.Sprintf("%d of at most %d unacknowledged", s.Inflight, s.InflightMax), inflight(s).Tone}},
		{"backlog", Cell{fmt.Sprintf("%d messages, %s", s.Backlog, Bytes(s.BacklogBytes)), backlog(s).Tone}},
		{"dropped", dropped(s.Dropped)},
	}}
	if s.AliasMax > 0 {
		about.Fields = append(about.Fields, field("aliases", fmt.Sprintf("%d of the %d topic aliases that it takes", s.Aliases, s.AliasMax)))
	}
	subs := Section{Title: "subscriptions", Head: left("FILTER", "QOS", "ID", "OPTIONS"), Empty: "none"}
	for _, u := range s.Subscriptions {
		id := "-"
		if u.ID != 0 {
			id = number(int64(u.ID))
		}
		subs.Rows = append(subs.Rows, plain(u.Filter, number(int64(u.QoS)), id, orDash(options(&u))))
	}
	will := Section{Title: "will", Empty: "none: nothing is published when the client is lost"}
	if w := s.Will; w != nil {
		will.Fields = []Field{
			field("topic", w.Topic), field("qos", number(int64(w.QoS))), field("retain", yesNo(w.Retain)),
			field("delay", Duration(time.Duration(w.Delay)*time.Second)), field("size", Bytes(int64(w.Bytes))),
		}
	}
	return []Section{about, subs, will}
}

func keepAlive(s *adminapi.Session) string {
	if s.KeepAlive == 0 {
		return "none"
	}
	return Duration(time.Duration(s.KeepAlive) * time.Second)
}

func expiresLong(s *adminapi.Session, l Look) Cell {
	c := expires(s, l)
	switch {
	case s.Expiry == adminapi.ExpiryNever:
	case !s.Connected && !s.ExpiresAt.IsZero():
		c.Text += " (" + l.Stamp(s.ExpiresAt) + ")"
	case s.Expiry == 0:
		c.Text = "with its connection"
	default:
		c.Text = Duration(time.Duration(s.Expiry)*time.Second) + " after its connection"
	}
	return c
}

// options says what of a subscription is not the default.
func options(u *adminapi.Subscription) string {
	return words(yes(u.NoLocal, "no-local"), yes(u.RetainAsPublished, "retain-as-published"),
		yes(u.RetainHandling == 1, "retained-if-new"), yes(u.RetainHandling == 2, "no-retained"))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
