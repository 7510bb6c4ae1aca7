package kernel

import (
	"cmp"
	"slices"

	"github.com/robustmq/rmq/broker/kernel/shard"
)

// Due is what time will bring of one kind: when that happens next, and to what.
type Due struct {
	Kind      string // as shard.Due has it
	At        int64  // ms
	Namespace string
	Name      string // of a session, queue, group or address
	Count     int    // of all of the kind; messages of queues and backlogs count by their queue or session
}

// Bounds of Due.
const (
	dueStep = 256     // deadlines looked at while entries wait
	dueMax  = 100_000 // of a shard
)

// Due tells what falls due by broker time, by kind, the next first. more: there were too many deadlines to look at
// all of them, so that there may be others of the last kinds, and Count is too low.
func (k *Kernel) Due() (out []Due, more bool) {
	count := map[shard.Due]int{}
	next := map[shard.Due]shard.Deadline{}
	for _, s := range k.everyShard() {
		after, left := "", true
		for n := 0; left && n < dueMax; n += dueStep {
			s.readMu.RLock()
			after, left = s.m.DeadlinesAfter(after, dueStep, func(d shard.Deadline) {
				if count[d.Due] == 0 || d.At < next[d.Due].At {
					next[d.Due] = d
				}
				count[d.Due] += d.N
			})
			s.readMu.RUnlock()
		}
		more = more || left
	}
	for kind, d := range next {
		got := Due{Kind: string(kind), At: d.At, Count: count[kind]}
		got.Namespace, got.Name = k.nameOf(&d)
		out = append(out, got)
	}
	slices.SortFunc(out, func(a, b Due) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind)) })
	return out, more
}

// nameOf is what a deadline is about.
func (k *Kernel) nameOf(d *shard.Deadline) (ns, name string) {
	switch {
	case d.Session != "":
		return shard.SplitSessionKey(d.Session)
	case d.Group != "":
		return shard.SplitSessionKey(d.Group) // groupKey is made alike
	case d.Queue != 0:
		if q := k.queueSpec(d.Queue); q != nil {
			return q.Namespace, q.Name
		}
	case d.Envelope != nil:
		if p, err := openEnvelope(d.Envelope); err == nil {
			return p.Namespace, cmp.Or(p.Exchange, p.Key)
		}
	}
	return d.Namespace, d.Address
}
