package matrix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	msg "github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// seen is everything that a kernel has.
type seen struct {
	streams  map[string][]seenPart
	queues   map[string][]string // in order of delivery
	retained map[string]string
	offsets  map[string]int64

	refused map[string]error // things that the kernel says are damaged
	damaged bool             // anything is
}

type seenPart struct {
	start, end int64
	records    []seenRecord
}

type seenRecord struct {
	offset  int64
	id, key string
}

// markPrefix begins the ids of messages that a look sends; they are no part of what is seen.
const markPrefix = "mark/"

// arrival is how long a message that is ready may take to be delivered.
const arrival = 30 * time.Second

// arrivalOf is less for a kernel that has said that something is damaged: not everything is to
// come.
func arrivalOf(n *node) time.Duration {
	if len(n.Damages()) > 0 {
		return arrival / 300
	}
	return arrival
}

// look reads all that a kernel has. Nothing is settled. The error says what could not be
// read.
func look(ctx context.Context, n *node, m *model, at moment, mark string) (*seen, error) {
	m.mu.Lock()
	var streams, queues []string
	for name, st := range m.streams {
		if st.made.maybe(at) {
			streams = append(streams, name)
		}
	}
	for name, q := range m.queues {
		if q.made.maybe(at) {
			queues = append(queues, name)
		}
	}
	m.mu.Unlock()
	slices.Sort(streams)
	slices.Sort(queues)
	s := &seen{
		streams: make(map[string][]seenPart), queues: make(map[string][]string),
		retained: make(map[string]string), offsets: make(map[string]int64), refused: make(map[string]error),
	}
	for _, name := range streams {
		if err := s.readStream(n, name); err != nil {
			return nil, fmt.Errorf("stream %s: %w", name, err)
		}
	}
	for _, r := range n.RetainedMessages("/", "state/#", 1000) {
		s.retained[r.Address] = string(r.Value)
	}
	n.GroupRead("/", billing, func(g *group.Group) {
		o, _, _ := g.Fetch(orders, 0, true)
		s.offsets[billing] = o.Offset
	})
	for _, name := range queues {
		var err error
		if c, ok := strings.CutPrefix(name, sessionPrefix); ok {
			err = s.readSession(ctx, n, c, mark)
		} else {
			err = s.readQueue(ctx, n, name)
		}
		if err != nil && !s.refuses(name, err) {
			return nil, fmt.Errorf("queue %s: %w", name, err)
		}
	}
	s.damaged = len(n.Damages()) > 0 // some is found by reading
	return s, nil
}

func (s *seen) readStream(n *node, name string) error {
	info, ok := n.Stream("/", name)
	if !ok {
		return nil
	}
	parts := make([]seenPart, len(info.Parts))
	for i := range parts {
		p, err := n.Partition(info.ID, int32(i))
		if err == nil {
			parts[i], err = readPartition(p)
		}
		if err != nil && !s.refuses(fmt.Sprintf("%s/%d", name, i), err) {
			return fmt.Errorf("partition %d: %w", i, err)
		}
	}
	s.streams[name] = parts
	return nil
}

// refuses notes that the kernel calls something damaged; false: the error is another.
func (s *seen) refuses(what string, err error) bool {
	if !fault.Is(err, fault.Damaged) {
		return false
	}
	s.refused[what] = err
	return true
}

func readPartition(p *kernel.Partition) (part seenPart, err error) {
	info := p.Info()
	part.start, part.end = info.Start, info.End
	for off := part.start; off < part.end; {
		r, err := p.Read(off, 1<<20, "", true)
		if err != nil {
			return part, fmt.Errorf("at %d: %w", off, err)
		}
		if r.Next <= off {
			break // only gaps are left
		}
		for _, raw := range r.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Check(raw, 1<<20)
				if err != nil {
					return part, fmt.Errorf("at %d: %w", off, err)
				}
				raw = rest
				if err := b.Each(func(rec *record.Record) error {
					if id := idOf(rec.Value); rec.Offset >= part.start && !strings.HasPrefix(id, markPrefix) {
						part.records = append(part.records, seenRecord{rec.Offset, id, string(rec.Key)})
					}
					return nil
				}); err != nil {
					return part, err
				}
			}
		}
		off = r.Next
	}
	return part, nil
}

func (s *seen) readQueue(ctx context.Context, n *node, name string) error {
	info, err := n.Queue("/", name, 0)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	in := kerneltest.NewInbox()
	a, err := n.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: name, Credit: kernel.Unlimited, Sink: in})
	if err != nil {
		return err
	}
	s.queues[name] = []string{}
	wait, cancel := context.WithTimeout(ctx, arrivalOf(n))
	defer cancel()
	for range info.Ready {
		d, err := in.Next(wait)
		if err != nil {
			break // what is ready and does not come is missed below
		}
		if !strings.HasPrefix(d.ID, markPrefix) {
			s.queues[name] = append(s.queues[name], d.ID)
		}
	}
	return a.Detach(ctx, false)
}

// readSession takes what a session has, up to a message that is sent now.
func (s *seen) readSession(ctx context.Context, n *node, client, mark string) error {
	if _, ok := n.SessionInfo("/", client); !ok {
		return nil
	}
	in := kerneltest.NewInbox()
	session, _, err := n.OpenSession(ctx, sessionSpec(in))
	if err != nil {
		return err
	}
	session.Start()
	// Again, for a session that was made and had not subscribed.
	if _, errs := session.Subscribe(ctx, []kernel.Subscription{{Filter: "plant/#", QoS: 1}}); errs[0] != nil {
		return errs[0]
	}
	mark = markPrefix + mark
	if err := n.publish(ctx, kernel.Publish{Msg: msg.Message{Source: msg.MQTT, Address: "plant/mark", Value: []byte(mark)}}); err != nil {
		return fmt.Errorf("it does not go on: %w", err)
	}
	name := sessionName(client)
	s.queues[name] = []string{}
	wait, cancel := context.WithTimeout(ctx, arrivalOf(n))
	defer cancel()
	for {
		d, err := in.Next(wait)
		if err != nil || d.ID == mark {
			break // what does not come is missed below
		}
		if !strings.HasPrefix(d.ID, markPrefix) {
			s.queues[name] = append(s.queues[name], d.ID)
		}
	}
	session.Close(false, nil)
	return nil
}

// publish publishes and waits for the answer.
func (n *node) publish(ctx context.Context, p kernel.Publish) error {
	done := make(chan error, 1)
	p.Namespace, p.Msg.QoS, p.Reply = "/", 1, published(func(err error) { done <- err })
	if err := n.Publish(&p); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verdict is what was found on one disk.
type verdict struct {
	power bool // streams made by capture may end earlier

	disks, promises      int
	lost, refused, wrong int
	breaches             []string

	told bool // what is missing now was told to be damaged
}

func (v *verdict) loses(n int, format string, args ...any) {
	if v.told {
		return
	}
	v.lost += n
	v.breaches = append(v.breaches, "lost: "+fmt.Sprintf(format, args...))
}

func (v *verdict) finds(format string, args ...any) {
	v.wrong++
	v.breaches = append(v.breaches, "wrong: "+fmt.Sprintf(format, args...))
}

// check opens a disk, looks, and holds what it sees against the model. Then the power goes:
// what was seen must be there again.
func (v *verdict) check(ctx context.Context, disk *vfs.Mem, m *model, at moment, seed uint64) {
	s, n := v.open(ctx, disk, m, at, "1")
	if n == nil {
		return
	}
	if s != nil {
		v.hold(s, m, at)
	}
	after := disk.CrashKeep(seed, 0)
	if err := n.close(ctx); err != nil {
		v.refused++
		v.breaches = append(v.breaches, fmt.Sprintf("refused: close: %v", err))
		return
	}
	if s == nil {
		return
	}
	again, n := v.open(ctx, after, m, at, "2")
	if n == nil {
		return
	}
	if again != nil {
		v.compare(s, again)
	}
	if err := n.close(ctx); err != nil {
		v.refused++
		v.breaches = append(v.breaches, fmt.Sprintf("refused: close again: %v", err))
	}
}

// open opens a disk and looks. No node: it does not open; nothing seen: it cannot be read.
func (v *verdict) open(ctx context.Context, disk *vfs.Mem, m *model, at moment, mark string) (*seen, *node) {
	v.disks++
	n, err := openNode(ctx, nodeOptions{fs: disk})
	if err != nil {
		v.refused++
		v.breaches = append(v.breaches, fmt.Sprintf("refused: %v", err))
		return nil, nil
	}
	s, err := look(ctx, n, m, at, mark)
	for _, d := range n.Damages() { // a crash is no rot
		err = errors.Join(err, errors.New(d.String()))
	}
	if err = errors.Join(err, n.Err()); err != nil {
		v.refused++
		v.breaches = append(v.breaches, fmt.Sprintf("refused: %v", err))
	}
	return s, n
}

// compare holds a second look against the first.
func (v *verdict) compare(first, second *seen) {
	for _, name := range slices.Sorted(maps.Keys(first.streams)) {
		if name == loose {
			continue
		}
		for i, p := range first.streams[name] {
			if parts := second.streams[name]; i >= len(parts) || !slices.Equal(parts[i].records, p.records) {
				v.loses(1, "stream %s/%d was recovered, read, and is another after the next power loss", name, i)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(first.queues)) {
		if !slices.Equal(first.queues[name], second.queues[name]) {
			v.loses(1, "queue %s was recovered with %v, and has %v after the next power loss", name, first.queues[name], second.queues[name])
		}
	}
	if !maps.Equal(first.retained, second.retained) || !maps.Equal(first.offsets, second.offsets) {
		v.loses(1, "retained values and offsets were recovered as %v %v, and are %v %v after the next power loss",
			first.retained, first.offsets, second.retained, second.offsets)
	}
}

// hold holds what is seen against what was promised by a moment.
func (v *verdict) hold(s *seen, m *model, at moment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.streams)) {
		st := m.streams[name]
		parts, there := s.streams[name]
		if v.lives(&st.life, there, at, "stream "+name) {
			for i, msgs := range st.parts {
				p, name := seenPart{}, fmt.Sprintf("%s/%d", name, i)
				if i < len(parts) {
					p = parts[i]
				}
				v.told = s.refused[name] != nil
				v.holdPart(name, st, i, msgs, p, at)
				v.told = false
			}
		}
	}
	v.told = s.damaged // a queue's bodies may lie in a stream that it shares them with
	defer func() { v.told = false }()
	for _, name := range slices.Sorted(maps.Keys(m.queues)) {
		q := m.queues[name]
		ids, there := s.queues[name]
		if v.lives(&q.life, there, at, "queue "+name) {
			v.holdQueue(name, q, ids, at)
		}
	}
	for _, address := range slices.Sorted(maps.Keys(m.retained)) {
		v.holdRetained(address, m.retained[address], s.retained[address], at)
	}
	for id, commits := range m.offsets {
		v.holdOffset(id, commits, s.offsets[id], at)
	}
}

// lives tells whether something is to be looked into: it was promised, and not deleted.
func (v *verdict) lives(l *life, there bool, at moment, what string) bool {
	switch {
	case l.deleted.sure(at):
		v.promises++
		if there {
			v.finds("%s was deleted and is there", what)
		}
		return false
	case l.deleted.maybe(at):
		return false
	case l.made.sure(at):
		v.promises++
		if !there {
			v.loses(1, "%s was made and is gone", what)
		}
		return there
	}
	return there
}

func (v *verdict) holdPart(name string, st *streamModel, part int, msgs []*message, p seenPart, at moment) {
	least, most := int64(0), int64(0) // bounds of where it begins
	for _, t := range st.trims {
		if t.part == part && t.sure(at) {
			least = max(least, t.to)
		}
		if t.part == part && t.maybe(at) {
			most = max(most, t.to)
		}
	}
	if v.told && len(p.records) == 0 {
		return
	}
	if p.start < least || p.start > most {
		v.finds("%s begins at %d, between %d and %d are due", name, p.start, least, most)
	}
	due := p.start
	newest := make(map[string]int64) // offset of the last record with a key
	for _, r := range p.records {
		switch {
		case r.offset >= int64(len(msgs)) || msgs[r.offset].id != r.id || st.keyed && msgs[r.offset].key != r.key || !msgs[r.offset].maybe(at):
			v.finds("%s has %q at %d, which was not sent there", name, r.id, r.offset)
		case st.keyed && r.offset < due, !st.keyed && r.offset != due:
			v.finds("%s has %q at %d, where %d is due", name, r.id, r.offset, due)
		}
		due = r.offset + 1
		newest[r.key] = r.offset
	}
	if st.weak && v.power {
		return
	}
	lost := 0
	for off := max(p.start, most); off < int64(len(msgs)); off++ {
		x := msgs[off]
		if !x.sure(at) {
			continue
		}
		v.promises++
		if st.keyed && newest[x.key] < off || !st.keyed && off >= due {
			lost++
		}
	}
	if lost > 0 {
		v.loses(lost, "%s: %d of its records, from %d on", name, lost, due)
	}
}

func (v *verdict) holdQueue(name string, q *queueModel, ids []string, at moment) {
	have := make(map[string]bool)
	last := -1
	for _, id := range ids {
		i := slices.IndexFunc(q.sent, func(s *queued) bool { return s.id == id })
		switch {
		case i < 0 || !q.sent[i].maybe(at):
			v.finds("%s delivers %q, which was not sent", name, id)
			continue
		case have[id]:
			v.finds("%s delivers %s twice", name, id)
		case q.sent[i].gone <= at:
			v.finds("%s delivers %s, which was settled", name, id)
		case i < last:
			v.finds("%s delivers %s after %s", name, id, q.sent[last].id)
		}
		have[id] = true
		last = max(last, i)
	}
	lost := 0
	for _, s := range q.sent {
		if s.sure(at) && s.handed > at {
			v.promises++
			if !have[s.id] {
				lost++
			}
		}
	}
	if lost > 0 {
		v.loses(lost, "%s: %d of its messages", name, lost)
	}
}

func (v *verdict) holdRetained(address string, sent []*message, got string, at moment) {
	acked := -1
	for i, x := range sent {
		if x.sure(at) {
			acked = i
		}
	}
	if acked >= 0 {
		v.promises++
	}
	if acked < 0 && got == "" {
		return
	}
	for i := max(acked, 0); i < len(sent) && sent[i].maybe(at); i++ {
		if sent[i].id == got {
			return
		}
	}
	v.loses(1, "retained %s is %q, the %d-th was acknowledged", address, got, acked)
}

func (v *verdict) holdOffset(id string, commits []*promise, got int64, at moment) {
	least, most := int64(0), int64(0)
	for i, p := range commits {
		if p.sure(at) {
			least = int64(i + 1)
		}
		if p.maybe(at) {
			most = int64(i + 1)
		}
	}
	if least > 0 {
		v.promises++
	}
	switch got = max(got, 0); {
	case got < least:
		v.loses(1, "group %s is at %d, %d was acknowledged", id, got, least)
	case got > most:
		v.finds("group %s is at %d, %d was sent", id, got, most)
	}
}
