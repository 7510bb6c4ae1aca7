package sim

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// shadows run machines beside the kernel's.
//
// For each shard one machine lives through all lives and sees every entry once
// (the elder); another is made in each life as the kernel makes its own, from the
// checkpoint and the entries after it (the younger). At the end of a life both must
// have the same bytes.
type shadows struct {
	mu     sync.Mutex
	shards map[storage.ShardID]*shadow
}

type shadow struct {
	id    storage.ShardID
	sync  bool
	inner kernel.Machine

	mu      sync.Mutex
	elder   *shard.Machine
	seen    uint64 // index of the last entry that elder has seen
	younger *shard.Machine
	applied uint64
	fork    *shard.Machine // of elder, taken some time ago
	forked  []byte         // what it looked like then
	broken  error
}

func newShadows() *shadows { return &shadows{shards: make(map[storage.ShardID]*shadow)} }

// open prepares a shard's shadow for a life: it stands between the group and the
// kernel's machine.
func (s *shadows) open(d *mount, spec kernel.GroupSpec) (kernel.Machine, error) {
	s.mu.Lock()
	sh := s.shards[spec.Shard]
	if sh == nil {
		sh = &shadow{id: spec.Shard, sync: spec.Sync, elder: shard.New()}
		s.shards[spec.Shard] = sh
	}
	s.mu.Unlock()
	meta, pairs, err := d.Load(spec.Shard)
	if err != nil {
		return nil, err
	}
	if meta.Index != spec.Applied {
		return nil, fmt.Errorf("shard %d opens at %d, its checkpoint is at %d", spec.Shard, spec.Applied, meta.Index)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.inner = spec.Machine
	sh.younger, sh.applied = shard.New(), meta.Index
	if err := sh.younger.Restore(pairs); err != nil {
		return nil, err
	}
	if sh.elder == nil { // began anew with this life
		sh.elder, sh.seen = shard.New(), meta.Index
		_, again, err := d.Load(spec.Shard)
		if err != nil {
			return nil, err
		}
		if err := sh.elder.Restore(again); err != nil {
			return nil, err
		}
	}
	return sh, nil
}

// Apply implements kernel.Machine.
func (sh *shadow) Apply(entries []storage.Entry) {
	sh.mu.Lock()
	var out shard.Outcome
	for _, e := range entries {
		if _, err := sh.younger.Apply(bytes.Clone(e.Data), int32(e.Term), &out); err != nil {
			sh.broke(fmt.Errorf("shard %d entry %d: %w", sh.id, e.Index, err))
		}
		sh.applied = e.Index
		out.Reset()
		if e.Index <= sh.seen {
			continue
		}
		if _, err := sh.elder.Apply(bytes.Clone(e.Data), int32(e.Term), &out); err != nil {
			sh.broke(fmt.Errorf("shard %d entry %d: %w", sh.id, e.Index, err))
		}
		out.Reset()
		sh.seen = e.Index
		if e.Index%16 == 0 {
			sh.refork()
		}
	}
	sh.mu.Unlock()
	sh.inner.Apply(entries)
}

// Members implements kernel.Machine.
func (sh *shadow) Members(index, term uint64, m storage.Members) { sh.inner.Members(index, term, m) }

// Lead implements kernel.Machine.
func (sh *shadow) Lead(term uint64, leading bool) { sh.inner.Lead(term, leading) }

// Follow implements kernel.Machine.
func (sh *shadow) Follow(leader uint64) { sh.inner.Follow(leader) }

// Behind implements kernel.Machine.
func (sh *shadow) Behind(leader, index, term uint64) bool {
	return sh.inner.Behind(leader, index, term)
}

// Stopped implements kernel.Machine.
func (sh *shadow) Stopped(err error) { sh.inner.Stopped(err) }

// refork looks whether the last fork is still what it was, and takes another.
func (sh *shadow) refork() {
	if sh.fork != nil {
		if now := encode(sh.fork); !bytes.Equal(now, sh.forked) {
			sh.broke(fmt.Errorf("shard %d: a fork has changed with its machine\n then %q\n now  %q", sh.id, sh.forked, now))
		}
	}
	sh.fork, _ = sh.elder.Fork(true)
	sh.forked = encode(sh.fork)
}

func (sh *shadow) broke(err error) {
	if sh.broken == nil {
		sh.broken = err
	}
}

// encode is a machine's full checkpoint.
func encode(m *shard.Machine) []byte {
	var all []byte
	c, delta := m.Fork(true)
	for k, v := range c.Encode(delta) {
		all = fmt.Appendf(all, "%x=%x\n", k, v)
	}
	return all
}

// compare compares elder and younger at the end of a life.
func (s *shadows) compare() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shards {
		sh.mu.Lock()
		err := sh.broken
		if err == nil && sh.younger != nil && sh.applied == sh.seen {
			if a, b := encode(sh.elder), encode(sh.younger); !bytes.Equal(a, b) {
				err = fmt.Errorf("shard %d at entry %d: a restored machine differs from one that saw everything:\n%s", sh.id, sh.seen, difference(a, b))
			}
		}
		if err == nil && sh.younger != nil && sh.sync && sh.applied < sh.seen {
			err = fmt.Errorf("shard %d: applied %d before, and now ends at %d", sh.id, sh.seen, sh.applied)
		}
		sh.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// ended begins anew with shards that a power loss may have set back.
func (s *shadows) ended(how end) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shards {
		sh.younger = nil
		if !sh.sync && how == powerLoss {
			sh.elder, sh.fork = nil, nil
		}
	}
}

// difference shows the first lines that differ.
func difference(a, b []byte) string {
	la, lb := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range max(len(la), len(lb)) {
		var x, y []byte
		if i < len(la) {
			x = la[i]
		}
		if i < len(lb) {
			y = lb[i]
		}
		if !bytes.Equal(x, y) {
			return fmt.Sprintf(" line %d of %d and %d\n  all      %s\n  restored %s", i, len(la), len(lb), x, y)
		}
	}
	return ""
}
