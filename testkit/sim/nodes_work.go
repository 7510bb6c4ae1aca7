package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// What clients of nodes use.
const (
	nodesTopic   = "s"     // a stream for idempotent producers
	nodesPlant   = "plant" // a stream whose messages also reach the queue audit and sessions
	nodesQueue   = "q"     // a queue with consumers
	nodesAudit   = "audit" // a queue without
	nodesParts   = 2       // partitions of the topic
	nodesWait    = 1500 * time.Millisecond
	nodesThink   = 150 * time.Millisecond
	nodesBatches = 20 // of each producer
	nodesSends   = 30 // of each publisher
	nodesExact   = 15 // of each publisher at QoS 2
)

// workload is what clients do, and what they were promised.
//
// Ownership: mu guards what is below it.
type workload struct {
	f *fleet

	mu        sync.Mutex
	producers map[int64]bool
	acked     [nodesParts]map[int64]string // in the topic: ids of what was acknowledged, by offset
	ends      [nodesParts]int64            // of the partitions, as acknowledged
	seen      [nodesParts]map[int64]string // by offset
	queued    map[string]*nodeMessage      // published to the queue
	exact     map[string]bool              // published at QoS 2; true: acknowledged
	open      int                          // publishers that are not done
	retained  map[string][]*registered     // writes, by address
	offsets   map[string]int64             // acknowledged, by group
	sentTo    map[string]int64             // sent, by group
	streams   map[string]bool              // declared: is to be there; those that nobody knows of are left out
	got       map[string]map[string]bool   // what sessions were given, by client id
}

// nodeMessage is one message to a queue.
type nodeMessage struct {
	acked, late bool
	settled     bool // perhaps
	sure        bool
}

// registered is one write of a value.
type registered struct {
	value        string
	called, done time.Time // done: zero while nobody knows
}

func newWorkload(f *fleet) *workload {
	w := &workload{
		f: f, producers: make(map[int64]bool), queued: make(map[string]*nodeMessage), exact: make(map[string]bool),
		retained: make(map[string][]*registered), offsets: make(map[string]int64), sentTo: make(map[string]int64), streams: make(map[string]bool),
		got: make(map[string]map[string]bool),
	}
	for p := range nodesParts {
		w.acked[p], w.seen[p] = make(map[int64]string), make(map[int64]string)
	}
	return w
}

// patience bounds what a client waits for.
func (f *fleet) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), nodesWait)
}

// guest is one client.
type guest struct {
	*workload
	name string
	rand *rand.Rand
}

// at says what the client is at, for who asks why it does not end.
func (g *guest) at(format string, args ...any) {
	g.f.mu.Lock()
	g.f.busy[g.name] = fmt.Sprintf(format, args...)
	g.f.mu.Unlock()
}

// think lets some time pass; less once all is well.
func (g *guest) think() {
	d := time.Duration(g.rand.Int64N(int64(nodesThink)))
	if g.f.isCalm() {
		d /= 10
	}
	time.Sleep(d) // virtual
}

// connect picks a node; nil: the run ends.
func (g *guest) connect() (*life, *kernel.Kernel) {
	for {
		l := g.f.serving(g.rand)
		if l == nil {
			return nil, nil
		}
		if k := l.k.Load(); k != nil {
			return l, k
		}
	}
}

// do asks one node after another until f has no error; false: the run ends.
func (g *guest) do(what string, f func(ctx context.Context, k *kernel.Kernel) error) bool {
	for {
		g.at("%s", what)
		_, k := g.connect()
		if k == nil {
			return false
		}
		ctx, cancel := g.f.patience()
		err := f(ctx, k)
		cancel()
		if err == nil {
			g.at("")
			return true
		}
		g.f.note("%s, %s: %v", g.name, what, err)
		g.at("%s: %v", what, err)
		time.Sleep(calmStep) // virtual
	}
}

func (w *workload) guest(name string, number uint64) *guest {
	return &guest{workload: w, name: name, rand: w.f.random(1000 + number)}
}

// setup declares what clients use, while all is well.
func (w *workload) setup() bool {
	g := w.guest("setup", 0)
	return g.do("declare", func(ctx context.Context, k *kernel.Kernel) error {
		for name, parts := range map[string]int{nodesTopic: nodesParts, nodesPlant: 1} {
			if _, ok := k.Stream("/", name); ok {
				continue
			}
			spec := kernel.StreamSpec{Namespace: "/", Address: name, Partitions: parts, Config: map[string]string{"retention.ms": "-1"}}
			if _, err := k.CreateStream(ctx, spec); err != nil {
				return err
			}
		}
		for _, name := range []string{nodesQueue, nodesAudit} {
			spec := kernel.QueueSpec{Namespace: "/", Name: name, Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
			if _, _, err := k.DeclareQueue(ctx, spec); err != nil {
				return err
			}
		}
		if err := k.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: nodesAudit, Key: nodesPlant + ".#"}); err != nil {
			return err
		}
		for qos, name := range receivers {
			s, _, err := k.OpenSession(ctx, sessionSpec(name, kerneltest.NewInbox()))
			if err != nil {
				return err
			}
			if _, errs := s.Subscribe(ctx, []kernel.Subscription{{Filter: nodesPlant + "/#", QoS: uint8(qos + 1)}}); errs[0] != nil {
				return errs[0]
			}
			w.got[name] = make(map[string]bool)
			s.Close(false, nil)
		}
		return nil
	})
}

// receivers have sessions, at QoS 1 and 2.
var receivers = []string{"once-or-more", "once"}

// start has the clients begin.
func (w *workload) start() {
	number := uint64(0)
	begin := func(name string, f func(g *guest)) {
		number++
		g := w.guest(name, number)
		w.f.clients.Go(func() {
			f(g)
			g.at("")
		})
	}
	for i := range 2 {
		begin(fmt.Sprintf("p%d", i), func(g *guest) { g.produce(int32(i % nodesParts)) })
		begin(fmt.Sprintf("w%d", i), func(g *guest) { g.publish() })
		begin(fmt.Sprintf("c%d", i), func(g *guest) { g.consume() })
		w.open++
		begin(fmt.Sprintf("x%d", i), func(g *guest) {
			g.publishExactly()
			w.mu.Lock()
			w.open--
			w.mu.Unlock()
		})
		begin(receivers[i], func(g *guest) { g.receive(i + 1) })
		begin(fmt.Sprintf("g%d", i), func(g *guest) { g.commit() })
	}
	begin("reader", func(g *guest) { g.read() })
	begin("retainer", func(g *guest) { g.retain() })
	begin("subscriber", func(g *guest) { g.readRetained() })
	begin("operator", func(g *guest) { g.declare() })
}

// ---- Kafka -------------------------------------------------------------------

// nodeBatch is a batch of an idempotent producer.
type nodeBatch struct {
	bytes record.Batch
	ids   []string
}

// produce is an idempotent producer: what it is unsure of it sends again, in order, to whoever leads.
func (g *guest) produce(part int32) {
	var id int64
	ok := g.do("allocate a producer", func(ctx context.Context, k *kernel.Kernel) (err error) {
		id, _, err = k.AllocateProducer(ctx)
		return err
	})
	if !ok {
		return
	}
	g.mu.Lock()
	if g.producers[id] {
		g.f.breach("producer %d is given out twice", id)
	}
	g.producers[id] = true
	g.mu.Unlock()
	var unsure []*nodeBatch
	window, made, seq := 1+g.rand.IntN(unsureMax), 0, int32(0)
	for made < nodesBatches || len(unsure) > 0 {
		for made < nodesBatches && len(unsure) < window {
			b := &nodeBatch{}
			var rb record.Builder
			rb.Reset(nil, 1_700_000_000_000)
			for range 1 + g.rand.IntN(3) {
				b.ids = append(b.ids, fmt.Sprintf("%s-%04d.%d", g.name, made, len(b.ids)))
				rb.Add(1_700_000_000_000, nil, fill(b.ids[len(b.ids)-1], g.rand.IntN(100)))
			}
			b.bytes = rb.Finish()
			b.bytes.SetProducer(id, 0, seq)
			seq += int32(len(b.ids))
			made++
			unsure = append(unsure, b)
			g.f.count(&g.f.report.Appended)
		}
		g.at("%d of %d batches made, %d unsure from %s", made, nodesBatches, len(unsure), unsure[0].ids[0])
		_, k := g.connect()
		if k == nil {
			return
		}
		if p := partitionOf(k, nodesTopic, part); p != nil && p.Leads() {
			unsure = g.append(p, part, unsure)
		}
		g.think()
	}
}

func partitionOf(k *kernel.Kernel, stream string, part int32) *kernel.Partition {
	st, ok := k.Stream("/", stream)
	if !ok {
		return nil
	}
	p, err := k.Partition(st.ID, part)
	if err != nil {
		return nil
	}
	return p
}

// appendEnd tells of one append.
type appendEnd struct {
	tag uint64
	kernel.AppendResult
}

type appends chan appendEnd

func (a appends) Appended(tag uint64, r kernel.AppendResult) { a <- appendEnd{tag, r} }

// append appends batches, and returns those that are still unsure.
func (g *guest) append(p *kernel.Partition, part int32, unsure []*nodeBatch) []*nodeBatch {
	answers := make(appends, len(unsure))
	sent := 0
	for i, b := range unsure {
		if p.Append(slices.Clone(b.bytes), -1, answers, uint64(i)) != nil {
			break
		}
		sent++
	}
	sure := make([]bool, len(unsure))
	timer := time.NewTimer(nodesWait)
	defer timer.Stop()
	for range sent {
		select {
		case a := <-answers:
			b := unsure[a.tag]
			switch {
			case a.Err == nil:
				sure[a.tag] = true
				g.stored(part, a.BaseOffset, b.ids)
			case a.tag == 0 && (fault.Is(a.Err, fault.OutOfOrder) || fault.Is(a.Err, fault.Fenced)):
				g.f.breach("%s, first of what it is unsure of: %v", b.ids[0], a.Err)
			default:
				g.f.note("%s, %s: %v", g.name, b.ids[0], a.Err)
			}
		case <-timer.C:
			sent = 0
		}
		if sent == 0 {
			break
		}
	}
	var left []*nodeBatch
	for i, b := range unsure {
		if !sure[i] {
			left = append(left, b)
		}
	}
	g.f.mu.Lock()
	g.f.report.Resent += len(left)
	g.f.mu.Unlock()
	return left
}

// stored notes what was acknowledged.
func (g *guest) stored(part int32, base int64, ids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, id := range ids {
		g.acked[part][base+int64(i)] = id
	}
	g.ends[part] = max(g.ends[part], base+int64(len(ids)))
}

// read reads partitions, as consumers do from who leads.
func (g *guest) read() {
	for !g.f.isCalm() {
		g.think()
		part := int32(g.rand.IntN(nodesParts))
		l, k := g.connect()
		if k == nil {
			return
		}
		p := partitionOf(k, nodesTopic, part)
		if p == nil {
			continue
		}
		g.mu.Lock()
		end := g.ends[part]
		g.mu.Unlock()
		// In this order: who led after the look led when it looked.
		if !g.caughtUp(k, p.Shard()) {
			continue
		}
		now := p.Info()
		if p.Leads() && now.End < end {
			g.f.breach("node %d leads partition %d and tells that it ends at %d, %d was acknowledged", l.n.id, part, now.End, end)
			return
		}
		if now.End > 0 {
			g.look(l, p, part, g.rand.Int64N(now.End))
		}
		g.f.count(&g.f.report.Reads)
	}
}

// caughtUp waits until a node has applied what it knows to be committed, as who is asked for the newest does.
func (g *guest) caughtUp(k *kernel.Kernel, shard uint32) bool {
	ctx, cancel := g.f.patience()
	defer cancel()
	return k.CatchUp(ctx, shard) == nil
}

// look notes what is at some offsets.
func (g *guest) look(l *life, p *kernel.Partition, part int32, from int64) {
	r, err := p.Read(from, 4<<10, "", true)
	if err != nil {
		return
	}
	records, err := recordsOf(r.Batches)
	if err != nil {
		g.f.breach("node %d, partition %d at %d: %v", l.n.id, part, from, err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for off, id := range records {
		if had, known := g.seen[part][off]; known && had != id {
			g.f.breach("node %d has %s at offset %d of partition %d, which was %s", l.n.id, id, off, part, had)
		}
		g.seen[part][off] = id
	}
}

// recordsOf are the ids of records, by offset.
func recordsOf(batches [][]byte) (map[int64]string, error) {
	out := make(map[int64]string)
	for _, raw := range batches {
		for len(raw) > 0 {
			b, rest, err := record.Check(raw, 1<<20)
			if err != nil {
				return nil, err
			}
			raw = rest
			if err := b.Each(func(rec *record.Record) error { out[rec.Offset] = idOf(rec.Value); return nil }); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// commit commits the offsets of a group, one after another, and reads them.
func (g *guest) commit() {
	for at := int64(1); at <= nodesSends && !(g.f.isCalm() && at > nodesSends/2); {
		g.think()
		g.at("offset %d", at)
		l, k := g.connect()
		if k == nil {
			return
		}
		if g.rand.IntN(3) == 0 {
			g.readOffset(l, k)
			continue
		}
		if !k.Leads(k.GroupShard("/", g.name)) {
			continue
		}
		g.mu.Lock()
		g.sentTo[g.name] = at
		g.mu.Unlock()
		answer := make(chan error, 1)
		c := &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{{Topic: nodesTopic, Offset: group.Offset{Offset: at, LeaderEpoch: -1}}}}
		k.GroupCommit("/", g.name, c, func(errs []group.Error, err error) {
			if err == nil && (len(errs) != 1 || errs[0] != group.OK) {
				err = fmt.Errorf("%v", errs)
			}
			answer <- err
		})
		timer := time.NewTimer(nodesWait)
		select {
		case err := <-answer:
			if err == nil {
				g.mu.Lock()
				g.offsets[g.name] = at
				g.mu.Unlock()
				at++
				g.f.count(&g.f.report.Offsets)
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// readOffset reads the group's offset, from who coordinates it.
func (g *guest) readOffset(l *life, k *kernel.Kernel) {
	g.mu.Lock()
	acked, sent := g.offsets[g.name], g.sentTo[g.name]
	g.mu.Unlock()
	if !g.caughtUp(k, k.GroupShard("/", g.name)) {
		return
	}
	var got group.Offset
	k.GroupRead("/", g.name, func(gr *group.Group) { got, _, _ = gr.Fetch(nodesTopic, 0, true) })
	if k.Leads(k.GroupShard("/", g.name)) && (got.Offset < acked || got.Offset > sent) {
		g.f.breach("node %d coordinates group %s and tells offset %d; %d was acknowledged, %d sent", l.n.id, g.name, got.Offset, acked, sent)
	}
}

// ---- queues ------------------------------------------------------------------

// publish publishes to the queue, some messages at a time to one node.
func (g *guest) publish() {
	for i := 0; i < nodesSends; {
		g.at("message %d", i)
		_, k := g.connect()
		if k == nil {
			return
		}
		n := min(1+g.rand.IntN(4), nodesSends-i)
		answers := make(published, n)
		var out []*nodeMessage
		for range n {
			id := fmt.Sprintf("%s-%04d", g.name, i)
			i++
			m := &nodeMessage{}
			g.mu.Lock()
			g.queued[id] = m
			g.mu.Unlock()
			err := k.Publish(&kernel.Publish{
				Namespace: "/", ViaExchange: true, Key: nodesQueue, Reply: answers, Tag: uint64(len(out)),
				Msg: message.Message{Source: message.AMQP, Address: nodesQueue, Value: fill(id, g.rand.IntN(100)), QoS: 1},
			})
			if err != nil {
				break
			}
			out = append(out, m)
			g.f.count(&g.f.report.Published)
		}
		if !g.confirmed(answers, out) { // whoever is told later knows, too
			g.f.clients.Go(func() { g.confirmedLate(answers, out) })
		}
		g.think()
	}
}

type published chan appendEnd

func (p published) Published(tag uint64, r kernel.PublishResult) {
	p <- appendEnd{tag, kernel.AppendResult{Err: r.Err}}
}

// confirmed waits for answers; false: not for all.
func (g *guest) confirmed(answers published, out []*nodeMessage) bool {
	timer := time.NewTimer(nodesWait)
	defer timer.Stop()
	for range out {
		select {
		case a := <-answers:
			g.mu.Lock()
			out[a.tag].acked = a.Err == nil
			g.mu.Unlock()
		case <-timer.C:
			g.f.count(&g.f.report.Unknown)
			return false
		}
	}
	return true
}

// confirmedLate takes answers that the client has given up waiting for: they count, but for the order.
func (g *guest) confirmedLate(answers published, out []*nodeMessage) {
	for {
		select {
		case a := <-answers:
			g.mu.Lock()
			if a.Err == nil {
				out[a.tag].acked, out[a.tag].late = true, true
			}
			g.mu.Unlock()
		case <-g.f.over:
			return
		case <-time.After(nodesWait):
			if g.f.isCalm() {
				return
			}
		}
	}
}

// holder is the sink of a consumer.
type holder struct {
	*kerneltest.Inbox
	gone chan struct{} // closed when the kernel has ended it
	once sync.Once
}

func newHolder() *holder { return &holder{Inbox: kerneltest.NewInbox(), gone: make(chan struct{})} }

// Gone implements kernel.Sink.
func (h *holder) Gone(kernel.GoneReason) { h.once.Do(func() { close(h.gone) }) }

func (h *holder) isGone() bool {
	select {
	case <-h.gone:
		return true
	default:
		return false
	}
}

// consume takes messages off the queue, settles most of them and returns some; now and then on
// another node.
func (g *guest) consume() {
	for !g.f.isCalm() {
		g.think()
		l, k := g.connect()
		if k == nil {
			return
		}
		in := newHolder()
		ctx, cancel := g.f.patience()
		g.at("attaches")
		a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: nodesQueue, Credit: 5, Refill: true, Sink: in})
		cancel()
		if err != nil {
			continue
		}
		g.at("consumes")
		settled := make(map[string]bool)
		for range 2 + g.rand.IntN(8) {
			time.Sleep(time.Duration(g.rand.Int64N(int64(nodesThink)))) // virtual
			l.gate.pass()
			for d, ok := in.Poll(); ok; d, ok = in.Poll() {
				g.taken(a, d, settled)
			}
		}
		if l.ended.Load() {
			continue
		}
		ctx, cancel = g.f.patience()
		if k.Barrier(ctx) == nil && !in.isGone() && !l.ended.Load() { // all that was settled is, and held
			g.sure(settled)
		}
		_ = a.Detach(ctx, g.rand.IntN(2) == 0)
		cancel()
	}
}

// taken does with a delivery what a consumer may.
func (g *guest) taken(a *kernel.Attachment, d kerneltest.Arrived, settled map[string]bool) {
	g.mu.Lock()
	m := g.queued[d.ID]
	do := g.rand.IntN(10)
	switch {
	case m == nil:
		g.f.breach("queue %s delivers %q, which nobody sent", nodesQueue, d.ID)
	case do < 7:
		m.settled = true
		settled[d.ID] = true
	}
	g.mu.Unlock()
	g.f.count(&g.f.report.Delivered)
	switch {
	case m == nil:
	case do < 7:
		a.Settle(d.No, false, kernel.Accept)
	case do < 9:
		a.Settle(d.No, false, kernel.Requeue)
	}
}

// sure notes that messages are settled. None is twice.
func (g *guest) sure(settled map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range settled {
		if g.queued[id].sure {
			g.f.breach("queue %s has delivered %s again, which was settled", nodesQueue, id)
		}
		g.queued[id].sure = true
		g.f.count(&g.f.report.Settled)
	}
}

// ---- retained and log 0 --------------------------------------------------------

const nodesRetained = "state/a"

// retain writes retained values, one after another.
func (g *guest) retain() {
	for i := range nodesSends / 2 {
		g.think()
		g.at("value %d", i)
		_, k := g.connect()
		if k == nil {
			return
		}
		w := &registered{value: fmt.Sprintf("v%04d", i), called: time.Now()}
		g.mu.Lock()
		g.retained[nodesRetained] = append(g.retained[nodesRetained], w)
		g.mu.Unlock()
		told := make(chan struct{})
		reply := received(func(err error) {
			if err == nil {
				g.mu.Lock()
				w.done = time.Now()
				g.mu.Unlock()
			}
			close(told)
		})
		err := k.Publish(&kernel.Publish{
			Namespace: "/", Reply: reply,
			Msg: message.Message{Source: message.MQTT, Address: nodesRetained, Value: []byte(w.value), QoS: 1, Retain: true},
		})
		if err != nil {
			continue
		}
		timer := time.NewTimer(nodesWait)
		select {
		case <-told:
			g.f.count(&g.f.report.Retained)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// readRetained subscribes to what is retained, as a new client each time.
func (g *guest) readRetained() {
	for i := 0; !g.f.isCalm(); i++ {
		g.think()
		g.at("subscribes")
		l, k := g.connect()
		if k == nil {
			return
		}
		began := time.Now()
		in := kerneltest.NewInbox()
		ctx, cancel := g.f.patience()
		s, _, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: fmt.Sprintf("%s%d", g.name, i), ReceiveMaximum: 10, Sink: in})
		if err != nil {
			cancel()
			continue
		}
		sub := kernel.Subscription{Filter: nodesRetained, QoS: 0}
		_, errs := s.Subscribe(ctx, []kernel.Subscription{sub})
		cancel()
		s.Start()
		if errs[0] == nil && s.Retained(sub) == nil && !l.ended.Load() {
			d, _ := in.Poll()
			g.retainedIs(l, d.ID, began)
		}
		s.Close(false, nil)
	}
}

// retainedIs holds what a reader was given against what was written.
func (g *guest) retainedIs(l *life, value string, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var is, after *registered
	for _, w := range g.retained[nodesRetained] {
		if w.value == value {
			is = w
		}
		if !w.done.IsZero() && w.done.Before(since) && (after == nil || w.called.After(after.called)) {
			after = w
		}
	}
	switch {
	case is == nil && value != "":
		g.f.breach("node %d retains %q, which nobody sent", l.n.id, value)
	case after == nil:
	case is == nil || !is.done.IsZero() && is.done.Before(after.called):
		g.f.breach("node %d retains %q, though %s was acknowledged", l.n.id, value, after.value)
	}
	g.f.count(&g.f.report.Reads)
}

// declare makes and deletes streams, and asks other nodes for them.
func (g *guest) declare() {
	for i := range nodesSends / 3 {
		g.think()
		name := fmt.Sprintf("t%d", i%3)
		g.mu.Lock()
		there, known := g.streams[name]
		delete(g.streams, name)
		g.mu.Unlock()
		_, k := g.connect()
		if k == nil {
			return
		}
		ctx, cancel := g.f.patience()
		var err error
		if there || !known && g.rand.IntN(2) == 0 {
			g.at("deletes %s", name)
			if err = k.DeleteStream(ctx, "/", name); fault.Is(err, fault.NotFound) && !known {
				err = nil
			}
			there = false
			g.f.count(&g.f.report.Deleted)
		} else {
			g.at("declares %s", name)
			spec := kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1 + i%2}
			if _, err = k.CreateStream(ctx, spec); fault.Is(err, fault.Exists) && !known {
				err = nil
			}
			there = true
			g.f.count(&g.f.report.Declared)
		}
		cancel()
		switch {
		case err == nil:
			g.mu.Lock()
			g.streams[name] = there
			g.mu.Unlock()
		case known && (fault.Is(err, fault.Exists) || fault.Is(err, fault.NotFound)):
			g.f.breach("stream %s, which is there: %v: %v", name, !there, err)
		}
		g.declared()
	}
}

// declared asks some node which streams there are.
func (g *guest) declared() {
	l, k := g.connect()
	if k == nil {
		return
	}
	g.at("asks what there is")
	ctx, cancel := g.f.patience()
	defer cancel()
	if k.Barrier(ctx) != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, there := range g.streams {
		if _, ok := k.Stream("/", name); ok != there && !l.ended.Load() {
			g.f.breach("node %d has stream %s: %v; it is to be %v", l.n.id, name, ok, there)
		}
	}
}

// ---- at the end ----------------------------------------------------------------

// check looks for all that was promised, on every node.
func (w *workload) check() {
	f := w.f
	f.note("check")
	if !f.wait(servedWithin, func() bool { f.lookForRemoved(); return f.isUp() }) {
		f.breach("not all nodes serve %v after everything was well again: %s", servedWithin, f.standing())
		return
	}
	var first [nodesParts + 1]map[int64]string
	for _, n := range f.all() {
		l := n.life()
		if l == nil || n.out.Load() {
			continue
		}
		k := l.k.Load()
		if k == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), recoverWithin)
		err := k.Barrier(ctx)
		cancel()
		if err != nil {
			if f.lookForRemoved(); !n.out.Load() {
				f.breach("node %d: barrier: %v: %s", n.id, err, f.standing())
			}
			continue
		}
		for part := range nodesParts + 1 {
			var p *kernel.Partition
			if part < nodesParts {
				p = partitionOf(k, nodesTopic, int32(part))
			} else {
				p = partitionOf(k, nodesPlant, 0)
			}
			if p == nil {
				f.breach("node %d has no partition %d", n.id, part)
				return
			}
			all, err := readAll(p)
			if err != nil {
				f.breach("node %d, partition %d: %v", n.id, part, err)
				return
			}
			if first[part] == nil {
				first[part] = all
			} else if !maps.Equal(first[part], all) {
				f.breach("node %d has other records in partition %d than others: %s", n.id, part, differ(first[part], all))
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := range nodesParts {
		w.inPartition(part, first[part])
	}
	w.onceIn("stream "+nodesPlant, slices.Collect(maps.Values(first[nodesParts])))
	for _, name := range []string{nodesQueue, nodesAudit} {
		got, err := w.drain(name)
		if err != nil {
			f.breach("queue %s: %v", name, err)
			return
		}
		if name == nodesAudit {
			w.onceIn("queue "+nodesAudit, got)
		} else {
			w.inQueue(got)
		}
	}
}

// readAll reads a partition from its beginning.
func readAll(p *kernel.Partition) (map[int64]string, error) {
	all := make(map[int64]string)
	for off := int64(0); off < p.Info().End; {
		r, err := p.Read(off, 1<<20, "", true)
		if err != nil {
			return nil, err
		}
		some, err := recordsOf(r.Batches)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, some)
		if r.Next <= off {
			return nil, fmt.Errorf("a reader stands still at offset %d of %d", off, p.Info().End)
		}
		off = r.Next
	}
	return all, nil
}

func differ(a, b map[int64]string) string {
	for off := int64(0); ; off++ {
		if a[off] != b[off] {
			return fmt.Sprintf("%q and %q at offset %d of %d and %d", a[off], b[off], off, len(a), len(b))
		}
	}
}

// inPartition holds the topic against what its producers were told.
func (w *workload) inPartition(part int, all map[int64]string) {
	at, last := make(map[string]int64), make(map[string]string)
	for off := range int64(len(all)) {
		id := all[off]
		producer, _, _ := strings.Cut(id, "-")
		before, twice := at[id]
		switch {
		case id == "":
			w.f.breach("partition %d has no record at %d of %d", part, off, len(all))
		case twice:
			w.f.breach("partition %d has %s at %d and at %d", part, id, before, off)
		case id < last[producer]:
			w.f.breach("partition %d has %s after %s", part, id, last[producer])
		}
		at[id], last[producer] = off, id
		if seen := w.seen[part][off]; seen != "" && seen != id {
			w.f.breach("partition %d has %s at %d, where %s was seen", part, id, off, seen)
		}
	}
	for off, id := range w.acked[part] {
		if all[off] != id {
			w.f.breach("partition %d has %q at %d; %s was acknowledged there", part, all[off], off, id)
		}
	}
}

// onceIn: what was published at QoS 2 is there once.
func (w *workload) onceIn(where string, got []string) {
	times := make(map[string]int)
	for _, id := range got {
		if times[id]++; times[id] == 2 {
			w.f.breach("%s has %s, published at QoS 2, twice", where, id)
		}
		if _, sent := w.exact[id]; !sent {
			w.f.breach("%s has %q, which nobody sent", where, id)
		}
	}
	for id, acked := range w.exact {
		if acked && times[id] == 0 {
			w.f.breach("%s lacks %s, which was acknowledged at QoS 2", where, id)
		}
	}
}

// inQueue: what was acknowledged is there or was settled, in order.
func (w *workload) inQueue(got []string) {
	have, last := make(map[string]bool), make(map[string]string)
	for _, id := range got {
		m := w.queued[id]
		producer, _, _ := strings.Cut(id, "-")
		switch {
		case m == nil:
			w.f.breach("queue %s has %q, which nobody sent", nodesQueue, id)
			return
		case have[id]:
			w.f.breach("queue %s has %s twice", nodesQueue, id)
		case m.sure:
			w.f.breach("queue %s has %s, which was settled", nodesQueue, id)
		case m.acked && !m.late && id < last[producer]:
			w.f.breach("queue %s has %s after %s", nodesQueue, id, last[producer])
		}
		have[id] = true
		if m.acked && !m.late {
			last[producer] = id
		}
	}
	for id, m := range w.queued {
		if m.acked && !m.settled && !have[id] {
			w.f.breach("queue %s lacks %s, which was acknowledged and not settled", nodesQueue, id)
		}
	}
}

// drain takes all that a queue has. Caller holds mu.
func (w *workload) drain(name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), servedWithin)
	defer cancel()
	var k *kernel.Kernel
	for _, n := range w.f.all() {
		if l := n.life(); l != nil && !n.out.Load() && l.k.Load() != nil {
			k = l.k.Load()
		}
	}
	in := kerneltest.NewInbox()
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: name, Credit: kernel.Unlimited, Sink: in})
	if err != nil {
		return nil, err
	}
	info, err := k.Queue("/", name, 0)
	if err != nil {
		return nil, err
	}
	var got []string
	for range info.Ready + info.Unacked {
		d, err := in.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d and %d delivered: %w", len(got), info.Ready, info.Unacked, err)
		}
		got = append(got, d.ID)
		a.Settle(d.No, false, kernel.Accept)
	}
	return got, nil
}
