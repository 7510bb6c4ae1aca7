package shard

import "encoding/binary"

// Due is what time will bring.
type Due string

// What may be due.
const (
	SessionEnds     Due = "session"  // a session whose client is away
	WillComes       Due = "will"     // whose delay is over
	MessageExpires  Due = "message"  // of a queue, or of a session's backlog
	QueueEnds       Due = "queue"    // that nobody uses
	RetainedExpires Due = "retained" // message
	OffsetsExpire   Due = "offsets"  // of a group without members
	DelayedComes    Due = "delayed"  // message, which is published
)

// Deadline is one of those: of each session, queue and group the next one, and the next of the retained messages.
type Deadline struct {
	At  int64 // ms
	Due Due
	N   int // how many are due one day: 1, but of retained messages all of the shard
	// What it is about: a session or a group by its key, a queue, an address and its namespace, or where a delayed
	// message is to be published, as Builder.Delay was given it.
	Session, Group string
	Queue          uint64
	Namespace      string
	Address        string
	Envelope       []byte
}

// DeadlinesAfter calls f for at most n deadlines behind the one that last stands for ("": from the next one), in
// their order. It returns the last it has come to, and whether there may be more.
func (m *Machine) DeadlinesAfter(after string, n int, f func(Deadline)) (last string, more bool) {
	last = after
	m.due.Ascend(after, func(d string) bool {
		if d == after {
			return true
		}
		if n == 0 {
			more = true
			return false
		}
		n--
		last = d
		if got, ok := m.deadline(d); ok {
			f(got)
		}
		return true
	})
	return last, more
}

// deadline reads one of Machine.due; false: it is about work that is left, and nothing that one waits for.
func (m *Machine) deadline(d string) (Deadline, bool) {
	out := Deadline{At: int64(binary.BigEndian.Uint64([]byte(d))), N: 1}
	key := d[9:]
	meets := func(at int64) bool { return at != 0 && at <= out.At }
	switch d[8] {
	case dueSession:
		s, ok := m.sessions.Get(key)
		if !ok {
			return out, false
		}
		out.Session = key
		switch i := s.Info(); {
		case meets(i.WillAt):
			out.Due = WillComes
		case meets(i.Ends):
			out.Due = SessionEnds
		case s.backlog != nil && meets(s.backlog.NextExpiry()):
			out.Due = MessageExpires
		default:
			return out, false
		}
	case dueQueue:
		out.Queue = binary.BigEndian.Uint64([]byte(key))
		q, ok := m.queues.Get(out.Queue)
		if !ok {
			return out, false
		}
		switch {
		case meets(q.NextExpiry()):
			out.Due = MessageExpires
		case q.Expires > 0 && meets(q.Stats().Used+q.Expires):
			out.Due = QueueEnds
		default:
			return out, false
		}
	case dueRetained:
		out.Due = RetainedExpires
		out.Namespace, out.Address = m.retained.Next()
		out.N = m.retained.Expiring()
	case dueGroup:
		out.Due, out.Group = OffsetsExpire, key
	case dueDelay:
		out.Due = DelayedComes
		delayed, ok := m.delays.Get(binary.BigEndian.Uint64([]byte(key)))
		if !ok {
			return out, false
		}
		if out.Envelope = delayed.envelope; delayed.will != "" {
			out.Due, out.Session = WillComes, delayed.will
		}
	default:
		return out, false
	}
	return out, true
}
