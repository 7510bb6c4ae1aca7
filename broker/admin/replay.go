package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/recording"
)

const (
	replayAhead    = 4    // items read before their time
	replayInflight = 1024 // items published and not answered
	replayTell     = time.Second
	replayProblems = 8 // that are told
)

// Replay publishes a recording again. By the machine's clock what is due goes on while what was before it is
// written. By a virtual one each item is published when all that came of those before it has happened, and a
// move of the clock waits for those that fall due on the way: the same recording gives the same state.
func (s *Source) Replay(ctx context.Context, q adminapi.ReplayQuery, from io.Reader, emit func(adminapi.Replayed) error) error {
	in, err := recording.NewReader(from)
	if err != nil {
		return badRecording(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &replay{s: s, q: q, emit: emit, ctx: ctx, fired: make(chan struct{}, 1), tell: make(chan struct{}, 1), slots: make(chan struct{}, replayInflight)}
	r.rested = sync.NewCond(&r.mu)
	items := make(chan replayItem, replayAhead)
	go r.read(in, items) // ends with ctx, or with what it reads, which ends with the request
	if h := s.c.Hands; h != nil {
		leave := h.Join(r)
		defer leave()
		defer r.rest(true)
	}
	return r.run(items)
}

func badRecording(err error) error {
	switch {
	case errors.Is(err, recording.ErrCorrupt), errors.Is(err, recording.ErrTorn):
		return fault.New(fault.Invalid, "replay", "recording", "%w", err)
	case errors.Is(err, recording.ErrVersion):
		return fault.New(fault.Unsupported, "replay", "recording", "%w", err)
	}
	return fault.New(fault.Unavailable, "replay", "recording", "%w", err)
}

// replay is one of them.
//
// Ownership: run's goroutine has all but what mu guards. Timers of a virtual clock count in works what they
// have set going; Settle waits until that is handled.
type replay struct {
	s    *Source
	q    adminapi.ReplayQuery
	emit func(adminapi.Replayed) error
	ctx  context.Context

	begun, waited bool
	first         int64     // time of the first item
	start         time.Time // when that was published
	fired         chan struct{}
	tell          chan struct{}
	telling       clock.Timer   // sends on tell when it is time to
	slots         chan struct{} // one for each item that is not answered

	mu             sync.Mutex
	rested         *sync.Cond
	works, handled uint64
	over           bool
	told           adminapi.Replayed
}

type replayItem struct {
	item *recording.Item
	mark recording.Mark
	err  error
}

func (r *replay) read(in *recording.Reader, to chan<- replayItem) {
	for {
		item, mark, err := in.Next()
		select {
		case to <- replayItem{item, mark, err}:
		case <-r.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (r *replay) run(items <-chan replayItem) error {
	r.tellLater()
	defer func() { r.telling.Stop() }()
	for {
		var next replayItem
		select {
		case next = <-items:
		case <-r.tell:
			if err := r.emit(r.now()); err != nil {
				return err
			}
			r.tellLater()
			continue
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
		switch {
		case next.err == nil && next.item == nil:
			r.mu.Lock()
			r.told.LeftOut = int64(next.mark.LeftOut)
			r.mu.Unlock()
		case next.err == nil:
			if err := r.await(next.item); err != nil {
				return err
			}
			if err := r.publish(next.item); err != nil {
				return err
			}
		case errors.Is(next.err, io.EOF) || errors.Is(next.err, recording.ErrTorn):
			for range cap(r.slots) { // until all is answered
				if err := r.slot(); err != nil {
					return err
				}
			}
			last := r.now()
			last.Done, last.Torn = true, !errors.Is(next.err, io.EOF)
			return r.emit(last)
		default:
			return badRecording(next.err)
		}
	}
}

// tellLater has it told again how far the replay is.
func (r *replay) tellLater() {
	r.telling = r.s.c.Link.AfterFunc(replayTell, func() {
		select {
		case r.tell <- struct{}{}:
		default:
		}
	})
}

func (r *replay) now() adminapi.Replayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	told.Problems, told.Created = slices.Clone(told.Problems), slices.Clone(told.Created)
	return told
}

// await waits until an item is due.
func (r *replay) await(it *recording.Item) error {
	c := r.s.c.Clock
	if !r.begun {
		r.begun, r.first, r.start = true, it.Time, c.Now()
	}
	if r.q.Speed == 0 {
		return nil
	}
	due := r.start.Add(time.Duration(float64(max(0, it.Time-r.first)) / r.q.Speed * float64(time.Millisecond)))
	left := due.Sub(c.Now())
	if left <= 0 {
		return nil
	}
	wake := c.AfterFunc(left, func() {
		r.mu.Lock()
		r.works++
		r.mu.Unlock()
		r.fired <- struct{}{}
	})
	defer wake.Stop()
	r.rest(false)
	if h := r.s.c.Hands; h != nil && h.Face().Frozen {
		r.waits(true)
		defer r.waits(false)
		if !r.waited { // whoever moves the clock knows that there is something to move it for
			r.waited = true
			if err := r.emit(r.now()); err != nil {
				return err
			}
		}
	}
	for {
		select {
		case <-r.fired:
			return nil
		case <-r.tell:
			if err := r.emit(r.now()); err != nil {
				return err
			}
			r.tellLater()
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

func (r *replay) waits(standing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told.Waiting = standing
}

// rest says that all that timers have set going is handled; over: there will be no more.
func (r *replay) rest(over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handled, r.over = r.works, r.over || over
	r.rested.Broadcast()
}

// Works and Settle implement clock.Settler.
func (r *replay) Works() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.works
}

func (r *replay) Settle(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rested.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.handled < r.works && !r.over {
		if err := ctx.Err(); err != nil {
			return fault.New(fault.Timeout, "settle", "replay", "%w", err)
		}
		r.rested.Wait()
	}
	return nil
}

// slot waits until one more item may be under way.
func (r *replay) slot() error {
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// publish publishes an item. An error is of the replay, and not of the item.
func (r *replay) publish(it *recording.Item) error {
	if err := r.slot(); err != nil {
		return err
	}
	answered := make(chan struct{})
	a := &replayAnswer{r: r, n: int64(it.Batch.Count()), done: answered}
	var err error
	if it.Kafka {
		err = r.publishBatch(it, a)
	} else {
		err = r.publishMessage(it, a)
	}
	if err != nil {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		a.end(err)
	}
	if r.s.c.Hands == nil {
		return nil
	}
	select {
	case <-answered:
		return r.s.c.Kernel.Settle(r.ctx)
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (r *replay) publishMessage(it *recording.Item, a *replayAnswer) error {
	k := r.s.c.Kernel
	if _, ok := k.Namespace(it.Namespace); !ok {
		return fault.Of(fault.NotFound, "find namespace", it.Namespace)
	}
	m, err := it.Message()
	if err != nil {
		return err
	}
	now := k.Now().UnixMilli()
	if m.ExpiresAt != 0 {
		m.ExpiresAt += now - it.Time
	}
	m.Time = now
	a.what = m.Address
	return k.PublishWait(r.ctx, &kernel.Publish{
		Namespace: it.Namespace, Msg: m, ViaExchange: it.ViaExchange, Exchange: it.Exchange, Key: it.Key, CC: it.Keys, Reply: a,
	})
}

func (r *replay) publishBatch(it *recording.Item, a *replayAnswer) error {
	k := r.s.c.Kernel
	a.what = it.Address
	if err := checkBatch(it.Batch); err != nil {
		return err
	}
	st, ok := k.FindStream(it.Namespace, it.Address)
	if !ok || st.Leaf != "" {
		made, err := k.CreateStream(r.ctx, kernel.StreamSpec{
			Namespace: it.Namespace, Address: it.Address, Partitions: int(it.Partitions), Exact: r.s.c.Profile == "production",
		})
		switch {
		case fault.Is(err, fault.Exists):
			if st, ok = k.FindStream(it.Namespace, it.Address); !ok {
				return fault.Of(fault.NotFound, "find topic", it.Address)
			}
		case err != nil:
			return err
		default:
			st.StreamSpec = &made.StreamSpec
			r.mu.Lock()
			r.told.Created = append(r.told.Created, it.Address)
			r.mu.Unlock()
		}
	}
	p, err := k.Partition(st.ID, it.Partition)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "find partition", fmt.Sprintf("%s/%d", it.Address, it.Partition), "the topic has %d here, and had %d", st.Partitions, it.Partitions)
	}
	if err != nil {
		return err
	}
	b := it.Batch
	if b.HasProducer() { // its sequence was of another life
		b.SetProducer(record.NoProducer, record.NoProducer, record.NoProducer)
	}
	if b.AppendTime() {
		b.SetAppendTime(k.Now().UnixMilli())
	}
	acks := int16(0)
	if it.Acks {
		acks = -1
	}
	return p.AppendWait(r.ctx, b, acks, a, 0)
}

// checkBatch looks at the records of a batch as at those of a producer: their offsets follow each other.
func checkBatch(b record.Batch) error {
	next := b.BaseOffset()
	err := b.Each(func(rec *record.Record) error {
		if rec.Offset != next {
			return fmt.Errorf("%w: a record at offset %d of its batch", recording.ErrCorrupt, rec.Offset-b.BaseOffset())
		}
		next++
		return nil
	})
	if err == nil && next != b.NextOffset() {
		err = fmt.Errorf("%w: a batch with gaps", recording.ErrCorrupt)
	}
	return err
}

// replayAnswer is told what became of an item.
type replayAnswer struct {
	r    *replay
	n    int64
	what string
	done chan struct{}
}

// Published implements kernel.Publisher.
func (a *replayAnswer) Published(_ uint64, res kernel.PublishResult) {
	switch {
	case res.NoExchange:
		a.end(errors.New("there is no exchange for it"))
	case res.Rejected && res.Err == nil:
		a.end(errors.New("a queue that is full refused it"))
	default:
		a.end(res.Err)
	}
}

// Appended implements kernel.Appended.
func (a *replayAnswer) Appended(_ uint64, res kernel.AppendResult) { a.end(res.Err) }

func (a *replayAnswer) end(err error) {
	r := a.r
	r.mu.Lock()
	if err == nil {
		r.told.Published += a.n
	} else {
		r.told.Failed += a.n
		text := fmt.Sprintf("%s: %v", a.what, err)
		if len(r.told.Problems) < replayProblems && !slices.Contains(r.told.Problems, text) {
			r.told.Problems = append(r.told.Problems, text)
		}
	}
	r.mu.Unlock()
	close(a.done)
	<-r.slots
}
