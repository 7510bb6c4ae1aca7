package kernel

import (
	"context"
	"crypto/rand"
	"hash/fnv"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// CreateStream creates a stream; fault.Exists when there is one of that address.
func (k *Kernel) CreateStream(ctx context.Context, spec StreamSpec) (StreamInfo, error) {
	if spec.Address == "" {
		return StreamInfo{}, fault.New(fault.Invalid, "create stream", "", "empty address")
	}
	if err := k.decideDurability(&spec); err != nil {
		return StreamInfo{}, err
	}
	if _, err := rand.Read(spec.ID[:]); err != nil {
		return StreamInfo{}, fault.New(fault.Internal, "create stream", spec.Address, "%w", err)
	}
	r, err := k.meta.do(ctx, &meta.Command{
		Op: meta.CreateStream, Namespace: spec.Namespace, Stream: &spec, Shards: k.placement(&spec),
	})
	if err != nil {
		return StreamInfo{}, err
	}
	if err := k.createLogs(ctx, r.Stream, 0); err != nil {
		return StreamInfo{}, err
	}
	return k.streamInfo(r.Stream), nil
}

// placement lists the shards that a stream's partitions go to, in turn: those of its
// durability. It starts at the address's slot, so that many one-partition streams spread.
func (k *Kernel) placement(spec *StreamSpec) []uint32 {
	shards := k.of(spec.Durability)
	first := slices.Index(shards, slotOf(shards, spec.Namespace, spec.Address))
	out := make([]uint32, len(shards))
	for i := range shards {
		out[i] = uint32(shards[(first+i)%len(shards)].id)
	}
	return out
}

// createLogs makes the logs of a stream's partitions from index first on.
func (k *Kernel) createLogs(ctx context.Context, st *meta.Stream, first int) error {
	for _, place := range st.Logs[first:] {
		s := k.shards[place.Shard]
		if _, err := s.call(ctx, func(b *shard.Builder) int { return b.CreateLog(place.Log, st.Address) }); err != nil {
			return err
		}
	}
	return nil
}

// DeleteStream removes a stream and its records.
func (k *Kernel) DeleteStream(ctx context.Context, ns, address string) error {
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.DeleteStream, Namespace: ns, Name: address})
	if err != nil {
		return err
	}
	for _, place := range r.Stream.Logs {
		s := k.shards[place.Shard]
		if _, err := s.call(ctx, func(b *shard.Builder) int { return b.DeleteLog(place.Log) }); err != nil {
			return err
		}
	}
	return k.dropFromGroups(ctx, ns, message.KafkaName(address))
}

// AddPartitions raises the number of partitions to total.
func (k *Kernel) AddPartitions(ctx context.Context, ns, address string, total int) error {
	st, ok := k.meta.view.Load().Stream(ns, address)
	if !ok {
		return fault.Of(fault.NotFound, "add partitions", address)
	}
	r, err := k.meta.do(ctx, &meta.Command{
		Op: meta.AddPartitions, Namespace: ns, Name: address, N: int64(total), Shards: k.placement(st),
	})
	if err != nil {
		return err
	}
	return k.createLogs(ctx, r.Stream, st.Partitions)
}

// ConfigureStream sets and deletes configuration names. fault.Invalid: another durability,
// which a stream has for all its life.
func (k *Kernel) ConfigureStream(ctx context.Context, ns, address string, set map[string]string, del []string) error {
	if st, ok := k.meta.view.Load().Stream(ns, address); ok {
		var err error
		if set, err = keepDurability(st, set); err != nil {
			return err
		}
	}
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.ConfigureStream, Namespace: ns, Name: address, Set: set, Delete: del})
	k.lookAfter()
	return err
}

// Stream returns the stream of exactly that address.
func (k *Kernel) Stream(ns, address string) (StreamInfo, bool) {
	st, ok := k.meta.view.Load().Stream(ns, address)
	if !ok {
		return StreamInfo{}, false
	}
	return k.streamInfo(st), true
}

// StreamByID returns the stream with that id.
func (k *Kernel) StreamByID(id StreamID) (StreamInfo, bool) {
	st, ok := k.topo.streamByID(id)
	if !ok {
		return StreamInfo{}, false
	}
	return k.streamInfo(st), true
}

// Streams lists the streams of a namespace in the order of their addresses.
func (k *Kernel) Streams(ns string) []StreamInfo {
	var out []StreamInfo
	for st := range k.meta.view.Load().AllStreams() {
		if st.Namespace == ns {
			out = append(out, k.streamInfo(st))
		}
	}
	return out
}

func (k *Kernel) streamInfo(st *meta.Stream) StreamInfo {
	info := StreamInfo{StreamSpec: *st, Parts: make([]PartitionInfo, len(st.Logs))}
	for i, place := range st.Logs {
		info.Parts[i] = PartitionInfo{Index: int32(i), Shard: place.Shard}
		if t := k.shards[place.Shard].tail(place.Log); t != nil {
			p := Partition{k: k, s: k.shards[place.Shard], log: place.Log, index: int32(i), t: t}
			info.Parts[i] = p.Info()
		}
	}
	return info
}

// Home returns the stream that is home to an address: the one of that address, or the longest-named
// one above it that captures.
func (k *Kernel) Home(ns, address string) (StreamInfo, bool) {
	st, ok := k.home(ns, address)
	if !ok {
		return StreamInfo{}, false
	}
	return k.streamInfo(st), true
}

// home finds the stream that is home to an address: the one of that address, or the
// longest-named one above it that captures.
func (k *Kernel) home(ns, address string) (*meta.Stream, bool) {
	view := k.meta.view.Load()
	if st, ok := view.Stream(ns, address); ok {
		return st, true
	}
	return above(view, ns, address)
}

// above finds the longest-named stream above an address that captures.
func above(view *meta.State, ns, address string) (*meta.Stream, bool) {
	for a := address; ; {
		i := strings.LastIndexByte(a, '/')
		if i < 0 {
			return nil, false
		}
		a = a[:i]
		if st, ok := view.Stream(ns, a); ok && !st.Exact && a != "" {
			return st, true
		}
	}
}

// partitionOf is the partition that an address hashes to. Leaf views use the number of
// partitions at creation for ever, and so does every message placed by its address.
func partitionOf(st *meta.Stream, address string) int32 {
	if st.Modulus <= 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(address))
	return int32(h.Sum32() % uint32(st.Modulus))
}

// Leaf finds the stream that is home to an address below its name: the leaf view of
// that address lives in the one partition that the address hashes to, under an id of its own.
func (k *Kernel) Leaf(ns, address string) (home StreamInfo, partition int32, view StreamID, ok bool) {
	st, ok := k.home(ns, address)
	if !ok || st.Address == address {
		return StreamInfo{}, 0, StreamID{}, false
	}
	return k.streamInfo(st), partitionOf(st, address), viewOf(st, address), true
}

// Partition is the handle of one partition.
type Partition struct {
	k     *Kernel
	s     *shardRun
	st    *meta.Stream
	log   uint64
	index int32
	t     *tail
}

// At is the place of a record of the partition.
func (p *Partition) At(offset int64) Place {
	return Place{Shard: uint32(p.s.id), Log: p.log, Offset: offset, Stream: p.st.Address, Partition: p.index}
}

// Partition returns the handle of a partition led by this node; fault.NotFound when there
// is none.
func (k *Kernel) Partition(id StreamID, index int32) (*Partition, error) {
	st, ok := k.topo.streamByID(id)
	if !ok || index < 0 || int(index) >= len(st.Logs) {
		return nil, fault.Of(fault.NotFound, "open partition", "")
	}
	place := st.Logs[index]
	s := k.shards[place.Shard]
	t := s.tail(place.Log)
	if t == nil && s.fence != nil {
		return nil, s.fence
	}
	if away := s.away.Load(); away != nil {
		return nil, *away
	}
	if t == nil {
		return nil, fault.Of(fault.Unavailable, "open partition", st.Address)
	}
	return &Partition{k: k, s: s, st: st, log: place.Log, index: index, t: t}, nil
}

// Info is the partition as it stands.
func (p *Partition) Info() PartitionInfo {
	start, next := p.t.bounds()
	return PartitionInfo{
		Index: p.index, Shard: uint32(p.s.id), LeaderEpoch: p.s.epoch.Load(),
		Start: start, End: next, LastStable: next, Bytes: p.t.size(),
	}
}

// Append appends one record batch that the adapter has validated (length, CRC, magic 2),
// and routes its records to whoever else wants what is sent to the stream's address. Batch
// is copied. acks 0 and a nil reply: nobody is told.
//
// An error (fault.Exhausted) says that a shard that it is for is crowded, and nothing has
// happened: reply is not told. The caller tries again once Kernel.Room tells.
func (p *Partition) Append(batch []byte, acks int16, reply Appended, tag uint64) error {
	if p.k.pressure.crowds.Load() > 0 && p.crowds(acks) {
		return errCrowded()
	}
	err := p.k.refused()
	if err == nil {
		err = p.s.takes(p.log)
	}
	if err != nil && p.s.class.logged() {
		if reply == nil {
			p.k.stats.Shed.Add(uint64(record.Batch(batch).Count()))
			return nil
		}
		p.k.stats.Refused.Add(uint64(record.Batch(batch).Count()))
		reply.Appended(tag, AppendResult{Err: err, BaseOffset: -1, LogAppend: -1})
		return nil
	}
	p.k.stats.in(message.Kafka, int(record.Batch(batch).Count()), len(batch))
	p.k.taps.showBatch(p.st, batch)
	if err := p.t.whole(); err != nil {
		if reply != nil {
			reply.Appended(tag, AppendResult{Err: err, BaseOffset: -1, LogAppend: -1})
		}
		return nil
	}
	rec := p.k.recorders.ofBatch(p.st, p.index, batch, acks, p.k.nowMs())
	defer rec.placed()
	if p.k.appendRouted(p, batch, acks, reply, tag, rec) {
		return nil
	}
	w := appendWaits.Get().(*appendWait)
	*w = appendWait{reply: reply, tag: tag, recorded: rec}
	err = p.s.publish(func(g *pending) { g.await(g.b.Batch(p.log, batch), -1, w) })
	if err != nil {
		w.applied(nil, nil, err)
	}
	return nil
}

// Crowded tells whether the partition's shard lets no publishes in until those that wait are
// written.
func (p *Partition) Crowded() bool { return p.s.crowded.Load() }

// crowds tells whether a batch sent to the partition is for a shard that is crowded.
func (p *Partition) crowds(acks int16) bool {
	if p.s.crowded.Load() {
		return true
	}
	r := p.k.byAddress(p.k.topo.space(p.st.Namespace), p.st.Address, nil)
	for i := range r.logged {
		sr := &r.logged[i]
		if (len(sr.queues) > 0 || sr.sessions && acks != 0) && sr.shard.crowded.Load() {
			return true
		}
	}
	return r.looked // each record may be for others
}

// AppendWait is Append for a caller that may be held up: it tries again until there is room, or ctx
// ends.
func (p *Partition) AppendWait(ctx context.Context, batch []byte, acks int16, reply Appended, tag uint64) error {
	return p.k.tryAgain(ctx, func() error { return p.Append(batch, acks, reply, tag) })
}

// appendWait answers one append.
type appendWait struct {
	reply    Appended
	tag      uint64
	recorded *recorded
}

var appendWaits = sync.Pool{New: func() any { return new(appendWait) }}

func (w *appendWait) applied(br *shard.BatchResult, _ *shard.OpResult, err error) {
	r := AppendResult{Err: err, BaseOffset: -1, LogAppend: -1}
	if br != nil {
		r = AppendResult{Err: br.Err, BaseOffset: br.Base, LogAppend: -1, LogStart: br.Start, Duplicate: br.Duplicate}
	}
	w.recorded.end(r.committed())
	if w.reply != nil {
		w.reply.Appended(w.tag, r)
	}
	*w = appendWait{}
	appendWaits.Put(w)
}

// Read reads from offset on. leaf, when not empty, keeps only that address: the batches are
// then rebuilt. minOne: return at least one batch even if larger than maxBytes.
// fault.OutOfRange outside what is held.
func (p *Partition) Read(offset int64, maxBytes int, leaf string, minOne bool) (ReadResult, error) {
	if leaf != "" {
		return p.readLeaf(offset, maxBytes, leaf)
	}
	batches, err := p.t.read(offset, maxBytes, minOne)
	r := p.result()
	if err != nil {
		return r, err
	}
	r.Batches, r.Next = batches, offset
	if n := len(batches); n > 0 {
		r.Next = lastOffset(batches[n-1]) + 1
	}
	return r, nil
}

func (p *Partition) result() ReadResult {
	start, next := p.t.bounds()
	return ReadResult{HighWater: next, LastStable: next, LogStart: start}
}

// lastOffset is the last offset of the last of some concatenated batches.
func lastOffset(b []byte) int64 {
	last := int64(-1)
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			break
		}
		last, b = batch.LastOffset(), rest
	}
	return last
}

// leafScanMax bounds, in bytes, what one read of a leaf view looks at.
const leafScanMax = 8 << 20

// readLeaf copies the records of one address into batches of the stream's own offsets. A
// scan that finds nothing ends in an empty batch that covers what it looked at, so that
// a consumer moves on and its lag reaches zero.
func (p *Partition) readLeaf(offset int64, maxBytes int, leaf string) (ReadResult, error) {
	r := p.result()
	next := offset
	found := 0
	for scanned := 0; scanned < leafScanMax && found < maxBytes && next < r.HighWater; {
		batches, err := p.t.read(next, 1<<20, true)
		if err != nil {
			return r, err
		}
		if len(batches) == 0 {
			next = r.HighWater // only gaps are left
			break
		}
		for _, raw := range batches {
			for len(raw) > 0 {
				b, rest, err := record.Next(raw)
				if err != nil {
					return r, fault.New(fault.Internal, "read", p.st.Address, "%w", err)
				}
				raw = rest
				scanned += len(b)
				if b.NextOffset() <= next {
					continue
				}
				if out := p.filter(b, next, leaf); out != nil {
					r.Batches = append(r.Batches, out)
					found += len(out)
				}
				next = b.NextOffset()
			}
		}
	}
	if len(r.Batches) == 0 && next > offset {
		var b record.Builder
		b.Reset(nil, 0)
		b.Cover(int32(min(next-1-offset, 1<<31-1)))
		empty := b.Finish()
		empty.SetBaseOffset(offset)
		empty.SetLeaderEpoch(p.s.epoch.Load())
		r.Batches = append(r.Batches, empty)
	}
	r.Next = next
	return r, nil
}

// filter returns a batch with the records of b at or after offset whose address is leaf; nil
// when there are none.
func (p *Partition) filter(b record.Batch, offset int64, leaf string) []byte {
	var out record.Builder
	out.Reset(nil, b.BaseTime())
	if b.Made() {
		out.MarkMade()
	} else if leaf != p.st.Address {
		return nil // a Kafka client's records are all of the stream's own address
	}
	_ = b.Each(func(rec *record.Record) error {
		m := message.FromRecord(rec.Key, rec.Value, slices.Clone(rec.Headers), rec.Time, p.st.Address, b.Made())
		if rec.Offset >= offset && m.Address == leaf {
			out.AddAt(int32(rec.Offset-b.BaseOffset()), rec.Time, rec.Key, rec.Value, rec.Headers...)
		}
		return nil
	})
	if out.Count() == 0 {
		return nil
	}
	out.Cover(b.LastOffsetDelta())
	nb := out.Finish()
	nb.SetBaseOffset(b.BaseOffset())
	nb.SetLeaderEpoch(b.LeaderEpoch())
	return nb
}

// OffsetForTime finds the first record at or after ms: offset -1 when there is none.
func (p *Partition) OffsetForTime(ms int64) (offset, at int64, err error) {
	return p.t.offsetForTime(ms)
}

// Watch wakes w once End exceeds offset, or when the partition goes. One call, one wake.
func (p *Partition) Watch(offset int64, w *Waiter) { p.t.watch(offset, w) }

// Trim moves the first offset that readers may see (Kafka DeleteRecords).
func (p *Partition) Trim(ctx context.Context, start int64) (int64, error) {
	_, err := p.s.call(ctx, func(b *shard.Builder) int { return b.Trim(p.log, start) })
	now, _ := p.t.bounds()
	return now, err
}

// AllocateProducer returns a new producer id for idempotent produce.
func (k *Kernel) AllocateProducer(ctx context.Context) (id int64, epoch int16, err error) {
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.AllocateProducers, N: 1})
	return r.Number, 0, err
}
