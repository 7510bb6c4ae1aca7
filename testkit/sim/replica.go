package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// replica is one machine of one node, in one life: log 0's or the shard's. It does what the
// kernel does, in one goroutine: proposes what clients ask for, applies what is committed,
// answers, and takes checkpoints.
type replica struct {
	v     *voter
	id    storage.ShardID
	group *group.Group
	dead  bool

	meta *meta.State    // log 0's machine
	data *shard.Machine // the shard's
	out  shard.Outcome
	logs map[uint64]*batches

	index, term uint64
	members     storage.Members
	away        bool // it fetches a state: fetch.go
	since       int  // entries since the last checkpoint was begun
	every       int  // entries between checkpoints
	saving      bool
	leading     uint64 // the term in which the machine was told that it leads; 0: it does not
	led         bool   // it was told so, and not that another leads: for BugLeaseIgnored

	// seq numbers what this life has proposed to the shard. asked are those proposals that are
	// not applied, in order: they are proposed again when this node leads again.
	seq   uint64
	asked []*ask
	// tokens are the same for log 0, where nothing is proposed again.
	tokens map[uint64]*ask
}

// ask is one thing that a client has asked this replica to do.
type ask struct {
	seq  uint64
	data []byte
	done func(*reply)
}

// reply is what became of an ask.
type reply struct {
	meta meta.Result
	out  *shard.Outcome // valid during the call
}

// compareEvery is how many entries are between two comparisons of all machines.
const compareEvery = 4

func (v *voter) openReplica(id storage.ShardID) (*replica, error) {
	r := &replica{v: v, id: id, every: 2 << v.rand.IntN(3), tokens: make(map[uint64]*ask)}
	if id == dataShard {
		r.every *= 4
	}
	at, pairs, err := v.mount.Load(id)
	if err != nil {
		return nil, err
	}
	r.index, r.term, r.members = at.Index, at.Term, at.Members
	if at.Index == 0 {
		r.members = v.c.known[id][0].Members
		if m, emptied := v.others[id]; emptied {
			r.members = m
		}
	}
	if id == log0Shard {
		r.meta = new(meta.State)
		err = r.meta.Restore(pairs)
	} else {
		r.data, r.logs = shard.New(), make(map[uint64]*batches)
		if err = r.data.Restore(pairs); err == nil {
			err = r.openLogs()
		}
	}
	if err != nil {
		return nil, err
	}
	r.group, err = v.host.Open(group.Config{
		Shard: id, Members: v.c.opt.Bug.members(r.members), Log: voterLog{v.engine.Log(), v, v.life}, Sync: true,
		Applied: at.Index, AppliedTerm: at.Term, Machine: r, CatchUp: v.c.catchUp,
	})
	return r, err
}

func (r *replica) die() {
	r.dead = true
	r.leading = 0
}

// leads tells whether this node leads at this moment, for reads.
func (r *replica) leads() bool { return !r.dead && r.leading != 0 && r.group.Leading() }

// now is the node's broker time.
func (r *replica) now() int64 { return r.v.c.clock.Now().Add(r.v.skew).UnixMilli() }

// change proposes commands to the shard; false: this node does not take them.
func (r *replica) change(fill func(b *shard.Builder), done func(*reply)) bool {
	if r.dead || r.leading == 0 {
		return false
	}
	var b shard.Builder
	fill(&b)
	a := &ask{seq: r.seq + 1, done: done}
	a.data = b.Finish(nil, shard.Header{Time: r.now(), Incarnation: uint64(r.v.life), Link: uint32(r.v.id), Seq: a.seq})
	if r.group.Propose(a.data) != nil {
		return false
	}
	r.seq++
	r.asked = append(r.asked, a)
	return true
}

// command proposes a command to log 0; false: this node does not take it.
func (r *replica) command(c *meta.Command, done func(*reply)) bool {
	if r.dead || r.leading == 0 {
		return false
	}
	body, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	r.seq++
	token := r.v.id<<48 | uint64(r.v.life)<<24 | r.seq
	a := &ask{seq: token, done: done, data: append(binary.LittleEndian.AppendUint64(nil, token), body...)}
	if r.group.Propose(a.data) != nil {
		return false
	}
	r.tokens[token] = a
	return true
}

// Lead implements group.Machine.
func (r *replica) Lead(term uint64, leading bool) {
	if r.dead || !r.v.up {
		return
	}
	c := r.v.c
	c.note("node %d leads shard %d in term %d: %v", r.v.id, r.id, term, leading)
	r.leading = 0
	if !leading {
		return
	}
	key := termKey{r.id, term}
	switch who := c.leaders[key]; {
	case who == 0:
		c.leaders[key] = r.v.id
		c.report.Leaders++
	case who != r.v.id:
		c.breach("nodes %d and %d both lead shard %d in term %d", who, r.v.id, r.id, term)
	}
	if !r.members.IsVoter(r.v.id) {
		c.breach("node %d leads shard %d, and is none of the voters of %v", r.v.id, r.id, r.members)
	}
	r.leading, r.led = term, true
	for _, a := range r.asked { // what may be lost comes again, before anything new
		if err := r.group.Propose(a.data); err != nil {
			c.breach("node %d leads shard %d and takes no proposal: %v", r.v.id, r.id, err)
		}
	}
}

// Members implements group.Machine. What changes them is an entry like others.
func (r *replica) Members(index, term uint64, m storage.Members) {
	if r.dead || r.v.c.broken != nil {
		return
	}
	r.v.c.agree(r, &storage.Entry{Index: index, Term: term, Data: fmt.Append(nil, m)})
	r.index, r.term, r.members = index, term, m
	r.v.c.learn(r.id, index, m)
}

// Follow implements group.Machine. Clients of a voter that does not lead ask another.
func (r *replica) Follow(leader uint64) { r.led = r.led && leader == 0 }

// Stopped implements group.Machine.
func (r *replica) Stopped(error) {}

// Apply implements group.Machine.
func (r *replica) Apply(entries []storage.Entry) {
	for i := range entries {
		if r.dead || r.v.c.broken != nil {
			return
		}
		r.apply(&entries[i])
	}
	if r.since >= r.every && !r.saving && !r.dead && !r.away {
		r.save()
	}
}

func (r *replica) apply(e *storage.Entry) {
	c := r.v.c
	c.agree(r, e)
	r.index, r.term = e.Index, e.Term
	r.since++
	c.report.Applied++
	if r.id == log0Shard {
		r.applyMeta(e)
	} else {
		r.applyData(e)
	}
	if e.Index%compareEvery == 0 && c.broken == nil {
		r.sameState()
	}
}

func (r *replica) applyMeta(e *storage.Entry) {
	c := new(meta.Command)
	if err := json.Unmarshal(e.Data[8:], c); err != nil {
		r.v.c.breach("node %d, entry %d of log 0: %v", r.v.id, e.Index, err)
		return
	}
	res := r.meta.Apply(c)
	token := binary.LittleEndian.Uint64(e.Data)
	if a := r.tokens[token]; a != nil {
		delete(r.tokens, token)
		r.answer(a, e, &reply{meta: res})
	}
}

func (r *replica) applyData(e *storage.Entry) {
	r.out.Reset()
	h, err := r.data.Apply(e.Data, int32(e.Term), &r.out)
	if err != nil {
		r.v.c.breach("node %d, shard %d, entry %d: %v", r.v.id, r.id, e.Index, err)
		return
	}
	for i := range r.out.Appends {
		a := &r.out.Appends[i]
		b := slices.Clone(a.Batch)
		a.Stamp(b)
		r.log(a.Log).append(b)
	}
	for i := range r.out.Effects {
		if f := &r.out.Effects[i]; f.Kind == shard.Free {
			r.log(f.Log).free(f.Offset)
		}
	}
	if h.Link != uint32(r.v.id) || h.Incarnation != uint64(r.v.life) || len(r.asked) == 0 || r.asked[0].seq != h.Seq {
		return
	}
	a := r.asked[0]
	r.asked = r.asked[1:]
	r.answer(a, e, &reply{out: &r.out})
}

// answer tells who asked. What it says is kept, whatever happens to a minority from now on.
func (r *replica) answer(a *ask, e *storage.Entry, what *reply) {
	c := r.v.c
	if !c.opt.Outcomes && !c.decided(r.id, e.Index, e.Term) {
		c.breach("node %d acknowledges entry %d of term %d of shard %d, which is not on the disks of a quorum", r.v.id, e.Index, e.Term, r.id)
		return
	}
	c.note("node %d answers entry %d of shard %d", r.v.id, e.Index, r.id)
	if a.done != nil {
		a.done(what)
	}
}

// written is BugAckAlone: entries that this node's own log has are answered, as far as the
// machine can tell without them.
func (r *replica) written(entries []storage.Entry) {
	if r.leading == 0 || r.id != dataShard || r.dead {
		return
	}
	fork := shard.New()
	if fork.Restore(r.data.Encode(everything())) != nil {
		return
	}
	for i := range entries {
		var out shard.Outcome
		if entries[i].Index <= r.index || len(entries[i].Data) == 0 {
			continue
		}
		if _, err := fork.Apply(slices.Clone(entries[i].Data), int32(entries[i].Term), &out); err != nil {
			return
		}
		for _, a := range r.asked {
			if a.done != nil && len(out.Batches) > 0 && len(out.Effects) == 0 && bytes.Equal(a.data, entries[i].Data) {
				r.answer(a, &entries[i], &reply{out: &out})
				a.done = nil
			}
		}
	}
}

// agree holds an entry against what others were given at its index.
func (c *cluster) agree(r *replica, e *storage.Entry) {
	h := fnv.New64a()
	h.Write(e.Data)
	sum := h.Sum64()
	c.note("node %d applies %d of term %d of shard %d: %x", r.v.id, e.Index, e.Term, r.id, sum)
	log := c.logs[r.id]
	if e.Index <= r.index {
		c.breach("node %d applies entry %d of shard %d after %d", r.v.id, e.Index, r.id, r.index)
		return
	}
	at, known := slices.BinarySearchFunc(log, e.Index, func(a agreed, i uint64) int { return int(a.index) - int(i) })
	switch {
	case known:
		if a := log[at]; a.term != e.Term || a.sum != sum {
			c.breach("node %d applies entry %d of shard %d as %d:%x, others as %d:%x", r.v.id, e.Index, r.id, e.Term, sum, a.term, a.sum)
		}
	case at != len(log):
		c.breach("node %d applies entry %d of shard %d, which others have not", r.v.id, e.Index, r.id)
	default:
		c.logs[r.id] = append(log, agreed{e.Index, e.Term, sum})
	}
	if at > 0 && log[at-1].index > r.index {
		c.breach("node %d applies entry %d of shard %d after %d; others have %d between", r.v.id, e.Index, r.id, r.index, log[at-1].index)
	}
}

// sameState holds the machine against what others had after the same entry.
func (r *replica) sameState() {
	h := fnv.New64a()
	h.Write(r.encode())
	c, key, sum := r.v.c, stateKey{r.id, r.index}, h.Sum64()
	if before, known := c.states[key]; known && before != sum {
		c.breach("node %d: after entry %d the machine of shard %d is %x; it was %x elsewhere, or before", r.v.id, r.index, r.id, sum, before)
	}
	c.states[key] = sum
}

// encode is the machine's full checkpoint.
func (r *replica) encode() []byte {
	var all []byte
	if r.id == log0Shard {
		for k, v := range r.meta.Encode(nil) {
			all = fmt.Appendf(all, "%s=%s\n", k, v)
		}
		return all
	}
	for k, v := range r.data.Encode(everything()) {
		all = fmt.Appendf(all, "%x=%x\n", k, v)
	}
	return all
}

// everything asks for a full checkpoint. It is another machine's, so that the books on what
// the next checkpoint has to write are left alone.
func everything() shard.Delta {
	_, all := shard.New().Fork(true)
	return all
}

// save takes a checkpoint: the machine as of now is written a little later, beside what is
// applied meanwhile.
func (r *replica) save() {
	r.since, r.saving = 0, true
	at := storage.CheckpointMeta{Index: r.index, Term: r.term, Members: r.members}
	if r.v.c.opt.Bug == BugMembersStale {
		at.Members = r.v.c.known[r.id][0].Members
	}
	var write func() error
	if r.id == log0Shard {
		fork, keys := r.meta.Fork(), r.meta.Changes()
		write = func() error { return r.v.mount.Save(r.id, at, false, fork.Encode(keys)) }
		if len(keys) == 0 {
			r.saving = false
			return
		}
	} else {
		fork, delta := r.data.Fork(false)
		write = func() error {
			if err := r.flush(fork); err != nil {
				return err
			}
			if err := r.v.mount.Save(r.id, at, delta.Full(), fork.Encode(delta)); err != nil {
				return err
			}
			return r.drop(fork)
		}
	}
	d := time.Duration(r.v.rand.IntN(30)) * time.Millisecond
	if r.v.c.opt.Bug == BugTornCheckpoint {
		r.group.Checkpointed(at.Index, at.Term)
		d *= 20
	}
	r.v.c.later(d, func() { r.finish(at, write) })
}

// finish writes a checkpoint, and only then lets the log forget.
func (r *replica) finish(at storage.CheckpointMeta, write func() error) {
	v := r.v
	switch {
	case r.dead || !v.up:
		return
	case v.paused > 0:
		v.c.later(50*time.Millisecond, func() { r.finish(at, write) })
		return
	}
	r.saving = false
	if err := write(); err != nil {
		if !v.mount.stopped() {
			v.exit(err)
		}
		return
	}
	v.c.report.Checkpoints++
	v.c.note("node %d: checkpoint of shard %d at %d", v.id, r.id, at.Index)
	r.group.Checkpointed(at.Index, at.Term)
}
