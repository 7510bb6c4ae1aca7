package admin

import (
	"bytes"
	"context"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
)

// liveWaiting is how many messages wait for a slow reader before more are dropped.
const liveWaiting = 1024

// liveRate is how many messages a second are shown when the reader does not say.
const liveRate = 1000

// Live shows what is published. Publishers pay for a filter match and, for what is shown,
// a copy; they never wait.
func (s *Source) Live(ctx context.Context, q adminapi.LiveQuery, emit func(adminapi.LiveEvent) error) error {
	l := &live{q: q, ns: namespace(q.Namespace), ch: make(chan adminapi.Message, liveWaiting), now: s.c.Clock.Now}
	if l.q.BodyMax <= 0 {
		l.q.BodyMax = adminapi.LiveBodyMax
	}
	if l.q.RateMax <= 0 {
		l.q.RateMax = liveRate
	}
	if q.Where != "" {
		var err error
		if l.where, err = filter.Compile(q.Where, filter.Options{Now: s.c.Clock.Now}); err != nil {
			return fault.New(fault.Invalid, "live", "", "where: %w", err)
		}
	}
	stop := s.c.Kernel.Tap(l.tap)
	defer stop()
	told := adminapi.LiveStats{}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-l.ch:
			if err := emit(adminapi.LiveEvent{Message: &m}); err != nil {
				return err
			}
		case <-ticker.C:
			if now := l.stats(); now != told {
				told = now
				if err := emit(adminapi.LiveEvent{Stats: &now}); err != nil {
					return err
				}
			}
		}
	}
}

// live is one reader's view. mu guards what publishers change.
type live struct {
	q     adminapi.LiveQuery
	ns    string
	where *filter.Filter // nil: all are meant
	ch    chan adminapi.Message
	now   func() time.Time

	mu     sync.Mutex
	st     adminapi.LiveStats
	second int64 // that inSecond counts
	shown  int   // in this second
}

func (l *live) stats() adminapi.LiveStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st
}

func (l *live) tap(ns string, m *message.Message) {
	if ns != l.ns || l.q.Protocol != "" && l.q.Protocol != m.Source.String() ||
		l.q.Filter != "" && !route.MatchFilter(l.q.Filter, m.Address) || l.q.Contains != "" && !contains(m, []byte(l.q.Contains)) ||
		l.where != nil && !l.where.Match(filter.Of(m)) {
		return
	}
	now := l.now()
	l.mu.Lock()
	l.st.Matched++
	if sec := now.Unix(); sec != l.second {
		l.second, l.shown = sec, 0
	}
	if l.shown >= l.q.RateMax {
		l.st.Sampled++
		l.mu.Unlock()
		return
	}
	l.shown++
	l.mu.Unlock()

	v := messageOf(ns, m, l.q.BodyMax)
	if v.Time.IsZero() {
		v.Time = now
	}
	ok := true
	select {
	case l.ch <- v:
	default:
		ok = false
	}
	l.mu.Lock()
	if ok {
		l.st.Shown++
	} else {
		l.st.Dropped++
	}
	l.mu.Unlock()
}

func contains(m *message.Message, text []byte) bool {
	if bytes.Contains(m.Value, text) || bytes.Contains(m.Key, text) {
		return true
	}
	for i := range m.Headers {
		if bytes.Contains(m.Headers[i].Value, text) || bytes.Contains([]byte(m.Headers[i].Name), text) {
			return true
		}
	}
	return false
}

// standard are the headers that adminapi shows as properties.
var standard = map[string]bool{
	message.ContentType: true, message.ContentEncoding: true, message.CorrelationID: true, message.ReplyTo: true, message.MessageID: true,
	message.Type: true, message.AppID: true, message.UserID: true, message.Timestamp: true, message.PayloadFormat: true,
}

// messageOf copies a message into the form of the API, with at most bodyMax bytes of its
// value.
func messageOf(ns string, m *message.Message, bodyMax int) adminapi.Message {
	qos := m.QoS
	out := adminapi.Message{
		Protocol: m.Source.String(), Namespace: ns, Address: m.Address, Key: bytes.Clone(m.Key), Size: len(m.Value), QoS: &qos, Retain: m.Retain,
		Priority: m.Priority,
	}
	switch m.Source {
	case message.MQTT:
		out.Topic = m.Address
	case message.Kafka:
		out.Topic = message.KafkaName(m.Address)
	case message.AMQP:
		if x, k, _, ok := message.SplitAMQPNative(m.Native); ok {
			out.Exchange, out.RoutingKey = string(x), string(k)
		}
	}
	if m.Time != 0 {
		out.Time = time.UnixMilli(m.Time).UTC()
	}
	if m.ExpiresAt != 0 {
		out.ExpiresAt = time.UnixMilli(m.ExpiresAt).UTC()
	}
	v := m.Value
	if len(v) > bodyMax {
		cut := bodyMax
		for cut > 0 && cut > bodyMax-utf8.UTFMax && !utf8.RuneStart(v[cut]) {
			cut--
		}
		v, out.Truncated = v[:cut], true
	}
	out.Value = bytes.Clone(v)
	for i := range m.Headers {
		h := &m.Headers[i]
		if standard[h.Name] && utf8.Valid(h.Value) {
			if out.Properties == nil {
				out.Properties = make(map[string]string)
			}
			if _, had := out.Properties[h.Name]; !had {
				out.Properties[h.Name] = string(h.Value)
				continue
			}
		}
		out.Headers = append(out.Headers, adminapi.Header{Name: string(append([]byte(nil), h.Name...)), Value: bytes.Clone(h.Value)})
	}
	return out
}
