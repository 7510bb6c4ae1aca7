package admin

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
)

// Trace shows what this node sees of clients and does for them.
func (s *Source) Trace(ctx context.Context, q adminapi.TraceQuery, emit func(adminapi.TraceLine) error) error {
	what, err := traceOf(q)
	if err != nil {
		return err
	}
	count, bytes, last := bound(q.Count, adminapi.TraceCount, adminapi.TraceCountMax), bound(q.Bytes, adminapi.TraceBytes, adminapi.TraceBytesMax),
		bound(q.For, adminapi.TraceFor, adminapi.TraceForMax)
	w, err := s.c.Trace.Look(what)
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := emit(adminapi.TraceLine{}); err != nil { // what comes from now on is seen
		return err
	}
	over := time.NewTimer(last)
	defer over.Stop()
	told := uint64(0)
	for {
		var line adminapi.TraceLine
		select {
		case <-ctx.Done():
			return nil
		case <-over.C:
			line.End = "time"
		case e := <-w.Events:
			line.Event = &e
			bytes -= e.Len()
			switch count--; {
			case count == 0:
				line.End = "count"
			case bytes <= 0:
				line.End = "bytes"
			}
		}
		if n := w.Dropped(); n != told {
			told, line.Dropped = n, n
		}
		if err := emit(line); err != nil || line.End != "" {
			return err
		}
	}
}

// bound is what was asked for, the default where nothing was, and never more than the most.
func bound[T int | time.Duration](asked, otherwise, most T) T {
	if asked <= 0 {
		return otherwise
	}
	return min(asked, most)
}

func traceOf(q adminapi.TraceQuery) (what trace.Query, err error) {
	invalid := func(format string, args ...any) error { return fault.New(fault.Invalid, "trace", "", format, args...) }
	asked := 0
	for _, s := range []string{q.Client, q.Topic, q.IP, q.Mark} {
		if s != "" {
			asked++
		}
	}
	switch {
	case asked != 1:
		return what, invalid("one of client, topic, ip and mark says what to trace")
	case q.Client != "":
		what.Client = q.Client
	case q.Mark != "":
		what.Mark = q.Mark
	case q.Topic != "":
		if !mqttwire.ValidFilter([]byte(q.Topic)) {
			return what, invalid("%q is no topic filter", q.Topic)
		}
		what.Topic = func(topic string) bool { return route.MatchFilter(q.Topic, topic) }
	case strings.Contains(q.IP, "/"):
		if what.IP, err = netip.ParsePrefix(q.IP); err != nil {
			return what, invalid("%q is neither an address nor a network", q.IP)
		}
	default:
		addr, err := netip.ParseAddr(q.IP)
		if err != nil {
			return what, invalid("%q is neither an address nor a network", q.IP)
		}
		what.IP = netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen())
	}
	return what, nil
}
