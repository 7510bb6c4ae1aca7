package kernel

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/storage"
)

// pressure decides whether publishes are let in: by what waits for the log, and by what the
// device has left.
//
// A shard for which queuedMax of publishes wait is crowded: no more are let in for it until
// half of that is written. Who publishes is told so at once (fault.Exhausted), keeps the
// message, and is told when there is room (OnRefusal, Room). Nobody is held up in here, for
// the goroutine that publishes also reads what makes room.
//
// What is left has to do for three things: to settle, delete and trim, which is what
// makes room; to move what the log holds to segments, without which the log cannot let
// go of a file; and to write checkpoints. So publishes are refused while there is less
// than a reserve and what is owed to segments, and when the log, or a checkpoint, was
// given nothing. Everything else goes on, in the reserve. When there is room again
// publishes are let in by themselves.
//
// What was let in before and waits may use that reserve too: queuedMax of each shard at most.
// The reserve of the log itself (storage.LogStats.Full) it may not: it waits until the
// device gives the log space again, and only what was proposed by then, inflightMax entries of
// each shard, can reach into it.
//
// Ownership: watch runs alone, and writes refusal. mu guards watchers and looked.
type pressure struct {
	refusal atomic.Pointer[Refusal] // nil: publishes are let in
	ahead   atomic.Bool             // somebody was refused before a look: to be told when that is over
	starved atomic.Int32            // checkpoints that wait for space
	crowds  atomic.Int32            // shards that are crowded
	kick    chan struct{}           // capacity 1: look now
	sudden  Refusal                 // until a look has told more; never changes

	mu       sync.Mutex
	watchers []func()
	looked   chan struct{} // closed after the next look
}

// Refusal is why publishes are refused, as of the last look.
type Refusal struct {
	Since       time.Time // broker time
	Free, Total int64     // bytes of the device; Total 0: not known
	Need        int64     // bytes that must be free
	Full        bool      // the device gave nothing when it was asked
	err         error
}

func (r *Refusal) String() string {
	at := r.Since.UTC().Format(time.RFC3339)
	if r.Since.IsZero() {
		return "log full: publishes refused"
	}
	if r.Total == 0 {
		return fmt.Sprintf("log full: the device has no space, publishes refused since %s", at)
	}
	return fmt.Sprintf("log full: %d bytes free of %d, %d needed, publishes refused since %s", r.Free, r.Total, r.Need, at)
}

const (
	lookEvery   = time.Second            // link time, between two looks at the device
	lookRefused = 250 * time.Millisecond // the same while publishes are refused
	lookBytes   = 1 << 20                // bytes that one shard applies between two looks
	slowLog     = 10 * time.Second       // link time that an entry waits before an operator is told

	// The default reserve is a part of the device, within bounds.
	reservePart = 32
	reserveMin  = 4 << 20
	reserveMax  = 64 << 20

	// pinnedMax is how much the node's log may grow, in checkpoint intervals, while one
	// shard has not been checkpointed: it holds back all files from its first entry on.
	pinnedMax = 4
)

func (p *pressure) init() {
	p.kick = make(chan struct{}, 1)
	p.sudden = Refusal{Full: true, err: fault.New(fault.Full, "publish", "", "log full")}
}

// Refusal tells why publishes are refused now; nil: they are let in.
func (k *Kernel) Refusal() *Refusal {
	r := k.pressure.refusal.Load()
	if r == nil && k.engine.Log().Full() { // the reserve is not for what comes before the next look
		k.pressure.ahead.Store(true)
		k.pressure.look()
		return &k.pressure.sudden
	}
	return r
}

// refused is the error for a publish, or nil.
func (k *Kernel) refused() error {
	if r := k.Refusal(); r != nil {
		return r.err
	}
	return nil
}

// onReserve tells whether the log lives on what it has set aside.
func (k *Kernel) onReserve() bool { return k.engine != nil && k.engine.Log().Full() }

// errCrowded is what a publish is refused with until those before it are written.
func errCrowded() error {
	return fault.New(fault.Exhausted, "publish", "", "%d bytes of publishes wait for the log", queuedMax)
}

// admit decides about a publish at the door: nil lets it in.
func (k *Kernel) admit(p *Publish, r *resolved) error {
	m := &p.Msg
	if !p.Admitted {
		if err := k.refused(); err != nil && (m.Retain || m.Delay > 0 || r.logs(m.QoS)) {
			return err
		}
	}
	if k.pressure.crowds.Load() > 0 && k.crowds(p, r) {
		return errCrowded()
	}
	return nil
}

// crowds tells whether the message is for a shard that is crowded.
func (k *Kernel) crowds(p *Publish, r *resolved) bool {
	m := &p.Msg
	if (m.Retain || m.Delay > 0) && k.slot(p.Namespace, m.Address).crowded.Load() {
		return true
	}
	for i := range r.logged {
		if sr := &r.logged[i]; sr.wants(m.QoS) && sr.shard.crowded.Load() {
			return true
		}
	}
	return false
}

// Crowded is how many shards let no publishes in until those that wait are written.
func (k *Kernel) Crowded() int { return int(k.pressure.crowds.Load()) }

// Room returns a channel that is closed at the next time that may have made room, for who
// was refused with fault.Exhausted and tries again then.
func (k *Kernel) Room() <-chan struct{} { return k.pressure.next() }

// tryAgain calls try until it is let in, or ctx ends, and returns what it came to.
func (k *Kernel) tryAgain(ctx context.Context, try func() error) (err error) {
	_ = k.awaitRoom(ctx, func() bool { err = try(); return !fault.Is(err, fault.Exhausted) })
	return err
}

// awaitRoom waits until so is, and looks whenever there may be room.
func (k *Kernel) awaitRoom(ctx context.Context, so func() bool) error {
	for !so() {
		room := k.Room()
		if so() {
			break
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fault.New(fault.Timeout, "wait for room", "", "%w", ctx.Err())
		}
	}
	return nil
}

// Alarms are what an operator should know of now, a sentence each, until it is over.
func (k *Kernel) Alarms() []string {
	var out []string
	if r := k.Refusal(); r != nil {
		out = append(out, r.String())
	}
	if k.pressure.crowds.Load() > 0 {
		for _, x := range k.ShardStats() {
			if x.Crowded && x.Age >= slowLog {
				out = append(out, fmt.Sprintf("shard %d: its log has not taken an entry for %d seconds, %d bytes of publishes wait and no more are let in",
					x.Shard, int(x.Age.Seconds()), x.Queued))
			}
		}
	}
	if k.ills.Load() > 0 {
		for _, id := range slices.Sorted(maps.Keys(k.shards)) {
			out = k.shards[id].illnesses(out)
		}
	}
	return out
}

// OnRefusal has f called whenever publishes begin or cease to be refused, and whenever a
// shard that was crowded has room. It must not block. It is not called any more when the kernel is closed.
func (k *Kernel) OnRefusal(f func()) {
	p := &k.pressure
	p.mu.Lock()
	p.watchers = append(p.watchers, f)
	p.mu.Unlock()
}

// look asks for a look at the device, soon.
func (p *pressure) look() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// eased says that who was turned away at the door may be let in now.
func (p *pressure) eased() {
	p.ahead.Store(true)
	p.look()
}

// next returns a channel that is closed after the next look.
func (p *pressure) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looked == nil {
		p.looked = make(chan struct{})
	}
	return p.looked
}

// watchSpace looks at the device until the kernel ends.
func (k *Kernel) watchSpace() {
	p := &k.pressure
	for {
		was := p.refusal.Load()
		ahead := p.ahead.Swap(false)
		now := k.weigh(was, k.engine.Log().Stats())
		p.refusal.Store(now)
		if !k.onReserve() {
			for _, s := range k.shards {
				s.ungate()
			}
		}
		p.mu.Lock()
		looked, watchers := p.looked, p.watchers
		p.looked = nil
		p.mu.Unlock()
		if looked != nil {
			close(looked)
		}
		if (was == nil) != (now == nil) || ahead {
			k.turn(was, now, watchers)
		}
		every := lookEvery
		if now != nil {
			every = lookRefused
		}
		if !p.sleep(k, every) {
			return
		}
	}
}

func (p *pressure) sleep(k *Kernel, d time.Duration) bool {
	t := k.cfg.Link.AfterFunc(d, p.look)
	defer t.Stop()
	select {
	case <-k.ctx.Done():
		return false
	case <-p.kick:
		return true
	}
}

func (k *Kernel) turn(was, now *Refusal, watchers []func()) {
	switch {
	case was == nil && now != nil:
		k.log.Error("publishes are refused: log full", "free", now.Free, "total", now.Total, "needed", now.Need)
	case was != nil && now == nil:
		k.log.Info("publishes are let in again", "after", k.time.Now().Sub(was.Since))
	}
	for _, f := range watchers {
		f()
	}
	k.wakeLetters()
	k.changes.tell()
}

// weigh decides, and has shards checkpointed that hold on to the log for too long: all
// that can be, when space is short.
func (k *Kernel) weigh(was *Refusal, st storage.LogStats) *Refusal {
	var owed int64
	for _, s := range k.shards {
		if s.class.logged() {
			owed += s.unsaved.Load()
		}
	}
	need := k.reserve(st.Total) + owed
	full := st.Full || k.pressure.starved.Load() > 0
	short := st.Total > 0 && st.Free < need
	if was != nil && st.Total > 0 {
		short = st.Free < need+need/4 // not back and forth at one byte
	}
	enough := int64(lookBytes)
	switch {
	case full || short:
		enough = 1
	case st.Total > 0 && st.Free < 2*need:
		enough = max(enough, st.Free/16)
	default:
		enough = -1
	}
	for _, s := range k.shards {
		if !s.class.logged() {
			continue
		}
		due := enough > 0 && s.unsaved.Load() >= enough
		if due || k.pins(st.Bytes, &s.savedAt) {
			s.askSave()
		}
	}
	if l := k.meta; enough > 0 && l.unsaved.Load() > 0 || k.pins(st.Bytes, &l.savedAt) {
		l.askSave()
	}
	if !full && !short {
		return nil
	}
	r := &Refusal{Since: k.time.Now(), Free: st.Free, Total: st.Total, Need: need, Full: full}
	if was != nil {
		r.Since = was.Since
	}
	r.err = fault.New(fault.Full, "publish", "", "%s", r)
	return r
}

// pins tells whether the node's log has grown too far since a shard was checkpointed. That
// nothing was applied since is no reason not to: its leader's first entry, which no
// checkpoint has, is in the log as well.
func (k *Kernel) pins(written uint64, savedAt *atomic.Uint64) bool {
	return int64(written-savedAt.Load()) > pinnedMax*int64(k.cfg.CheckpointBytes)
}

// reserve is what publishes may not use of a device of so many bytes.
func (k *Kernel) reserve(total int64) int64 {
	if k.cfg.SpaceReserve > 0 {
		return k.cfg.SpaceReserve
	}
	return min(max(total/reservePart, reserveMin), reserveMax)
}

// askSave has the shard checkpointed though little was applied since the last time: as of one entry
// more, so that the log can let go of its leader's first one too. A shard that has stopped is past that.
func (s *shardRun) askSave() {
	if s.saveAsked.Swap(true) {
		return
	}
	_ = s.do(func(p *pending) { p.b.Tick() })
}

// askSave is the same for log 0, whose command that changes nothing is to allocate no
// producer ids.
func (l *log0) askSave() {
	if l.saveAsked.Swap(true) {
		return
	}
	if !l.k.spawn(func() {
		if _, err := l.do(l.k.ctx, &meta.Command{Op: meta.AllocateProducers}); err != nil {
			l.saveAsked.Store(false)
		}
	}) {
		l.saveAsked.Store(false)
	}
}

// logs tells whether the message cannot do without a log on the device.
func (r *resolved) logs(qos uint8) bool {
	for i := range r.logged {
		if sr := &r.logged[i]; sr.shard.class.logged() && sr.wants(qos) {
			return true
		}
	}
	return false
}
