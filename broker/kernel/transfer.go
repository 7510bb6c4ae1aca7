package kernel

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/storage"
)

// A state goes from one node to another when a voter lacks more than a leader's group has in
// memory (cluster/group, behind.go): the voter fetches the last checkpoint of another node, and
// what segments have of the logs that it speaks of. catchup.go is who fetches, offer.go who gives.
//
// Frames may be lost, repeated and overtake each other. So who fetches asks, for one piece at a
// time, and again until it is answered; who gives remembers no more than what it has offered.
//
//	ask:    kind (4), transfer, shard, number, what, arguments
//	answer: kind (5), transfer, number, how, what was asked for
//
// All are varints but kind, what and how, which are bytes. The number rises with each piece.
//
//	what        arguments                 answer
//	1 begin                               index and term of the last entry, bytes and CRC-32C of the state;
//	                                      the group's members: voters, outgoing, learners, next, each with their number
//	2 state     position                  bytes of the state from there on
//	3 sizes     log, from, to; repeated   bytes of the batches between those offsets, of all together
//	4 batches   log, from, to             whole batches from there on; none: there are no more
//	5 end                                 none: the offer may go
//
// The state is the pairs of the checkpoint, keys and values each with their length.
const (
	wantBegin   = 1
	wantState   = 2
	wantSizes   = 3
	wantBatches = 4
	wantEnd     = 5

	answerOK   = 0
	answerWait = 1 // it is being made ready: ask again in a while
	answerLost = 2 // there is no such offer any more
	answerNo   = 3 // it cannot be given from here
)

// Bounds of what goes from node to node.
const (
	pieceBytes   = 256 << 10              // of one answer; a batch that is larger stands alone
	sizesMax     = 1024                   // logs in one ask for sizes
	wantAgain    = 300 * time.Millisecond // until an ask is repeated
	wantsMax     = 10                     // unanswered, until another node is asked
	fetchesMax   = 2                      // states that a node fetches at a time
	offersMax    = 4                      // states that a node gives at a time; each is held in memory
	offerIdle    = 30 * time.Second       // until what nobody asks for is not held any more
	offerMax     = time.Hour              // until nothing is held for anybody
	fetchDefault = 64 << 20               // bytes a second
)

var stateTable = crc32.MakeTable(crc32.Castagnoli)

// Transfer is a shard's state on its way between two nodes.
type Transfer struct {
	Shard    uint32
	Node     uint64 // the other one
	Incoming bool   // to this node
	Index    uint64 // of the last entry in it; 0: not known yet
	Bytes    int64  // fetched, or given
	Total    int64  // of Bytes in the end; 0: not known yet
	Since    time.Time
}

// Transfers lists what is on its way to this node, and from it.
func (k *Kernel) Transfers() []Transfer {
	var out []Transfer
	k.fetches.mu.Lock()
	for _, f := range k.fetches.byID {
		out = append(out, f.progress.transfer(Transfer{Shard: uint32(f.shard), Node: f.from.Load(), Incoming: true, Since: f.since}))
	}
	k.fetches.mu.Unlock()
	k.offers.mu.Lock()
	for _, o := range k.offers.byID {
		out = append(out, o.progress.transfer(Transfer{Shard: uint32(o.shard), Node: o.to, Since: o.since}))
	}
	k.offers.mu.Unlock()
	slices.SortFunc(out, func(a, b Transfer) int { return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Node, b.Node)) })
	return out
}

// progress is how far a transfer is.
type progress struct {
	index       atomic.Uint64
	done, total atomic.Int64
}

func (p *progress) transfer(t Transfer) Transfer {
	t.Index, t.Bytes, t.Total = p.index.Load(), p.done.Load(), p.total.Load()
	return t
}

// appendPairs encodes the pairs of a checkpoint as a state.
func appendPairs(dst []byte, pairs iter.Seq2[[]byte, []byte]) []byte {
	for k, v := range pairs {
		dst = codec.Bytes(codec.Bytes(dst, k), v)
	}
	return dst
}

// pairsOf yields the pairs of a state. err is set when it is none.
func pairsOf(state []byte, err *error) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for r := codec.NewReader(state); r.Len() > 0; {
			k, v := r.Bytes(), r.Bytes()
			if r.Err() != nil {
				*err = fault.New(fault.Invalid, "read", "state", "%w", r.Err())
				return
			}
			if v == nil {
				v = []byte{}
			}
			if !yield(k, v) {
				return
			}
		}
	}
}

// appendMembers encodes the members of a shard's group.
func appendMembers(dst []byte, m storage.Members) []byte {
	for _, set := range [...][]uint64{m.Voters, m.Outgoing, m.Learners, m.Next} {
		dst = codec.Uint(dst, uint64(len(set)))
		for _, node := range set {
			dst = codec.Uint(dst, node)
		}
	}
	return dst
}

// readMembers is the other way. The error says that they are none.
func readMembers(r *codec.Reader) (m storage.Members, err error) {
	for _, set := range [...]*[]uint64{&m.Voters, &m.Outgoing, &m.Learners, &m.Next} {
		n := r.Uint()
		for i := uint64(0); i < n && i < storage.MembersMax && r.Err() == nil; i++ {
			*set = append(*set, r.Uint())
		}
		if n > storage.MembersMax {
			return m, fault.New(fault.Invalid, "read", "members", "%d of them", n)
		}
	}
	return m, errors.Join(r.Err(), m.Check())
}

// receiveTransfer takes in an ask or an answer.
func (k *Kernel) receiveTransfer(from uint64, frame []byte) error {
	r := codec.NewReader(frame[1:])
	id := r.Uint()
	if frame[0] == pieceFrame {
		number, how := r.Uint(), r.Byte()
		if r.Err() != nil {
			return fault.New(fault.Invalid, "receive", "frame", "a malformed answer of node %d", from)
		}
		k.fetches.answered(from, id, answer{number: number, how: how, body: slices.Clone(r.Take(uint64(r.Len())))})
		return nil
	}
	a := want{shard: storage.ShardID(r.Uint32()), number: r.Uint(), what: r.Byte()}
	if r.Err() != nil {
		return fault.New(fault.Invalid, "receive", "frame", "a malformed ask of node %d", from)
	}
	a.args = slices.Clone(r.Take(uint64(r.Len())))
	k.offers.asked(k, from, id, a)
	return nil
}

type want struct {
	shard  storage.ShardID
	number uint64
	what   byte
	args   []byte
}

type answer struct {
	number uint64
	how    byte
	body   []byte
}

// fetches are the states on their way to this node.
//
// Ownership: mu guards byID and free.
type fetches struct {
	slots chan struct{} // capacity fetchesMax

	mu   sync.Mutex
	byID map[uint64]*fetch
	free time.Time // when the next piece may be asked for, by link time
}

func (f *fetches) answered(from, id uint64, a answer) {
	f.mu.Lock()
	at := f.byID[id]
	f.mu.Unlock()
	if at == nil || at.from.Load() != from {
		return
	}
	select {
	case at.answers <- a:
	default: // repeated: one waits already
	}
}

// fetch is one shard's state on its way to this node.
type fetch struct {
	k       *Kernel
	id      uint64
	shard   storage.ShardID
	from    atomic.Uint64
	since   time.Time
	answers chan answer // capacity 1
	number  uint64      // of the last ask
	progress
}

// newFetch registers a fetch until end is called.
func (k *Kernel) newFetch(shard storage.ShardID) *fetch {
	f := &fetch{k: k, id: newOrigin(), shard: shard, since: k.time.Now(), answers: make(chan answer, 1)}
	k.fetches.mu.Lock()
	defer k.fetches.mu.Unlock()
	k.fetches.byID[f.id] = f
	return f
}

func (f *fetch) end() {
	f.k.fetches.mu.Lock()
	defer f.k.fetches.mu.Unlock()
	delete(f.k.fetches.byID, f.id)
}

var (
	errSilent    = fault.New(fault.Unavailable, "fetch", "", "the node does not answer")
	errOfferGone = fault.New(fault.Unavailable, "fetch", "", "the node offers it no more")
)

// ask asks for one piece until it is answered.
func (f *fetch) ask(ctx context.Context, what byte, args []byte) ([]byte, error) {
	f.number++
	for tries := 0; tries < wantsMax; tries++ {
		f.k.cfg.Peers.Send(f.from.Load(), f.frame(what, args))
		again := f.k.alarm(wantAgain)
	waiting:
		for {
			select {
			case a := <-f.answers:
				switch {
				case a.number != f.number:
					continue // to an ask before
				case a.how == answerOK:
					again.stop()
					return a.body, nil
				case a.how == answerWait:
					tries = 0
					continue // until it is time to ask again
				case a.how == answerLost:
					again.stop()
					return nil, errOfferGone
				}
				again.stop()
				return nil, fault.New(fault.Unavailable, "fetch", "", "the node cannot give it: %s", a.body)
			case <-again.rings:
				break waiting
			case <-ctx.Done():
				again.stop()
				return nil, ctx.Err()
			}
		}
	}
	return nil, errSilent
}

func (f *fetch) frame(what byte, args []byte) []byte {
	b := codec.Uint([]byte{wantFrame}, f.id)
	b = codec.Uint(b, uint64(f.shard))
	b = codec.Uint(b, f.number)
	return append(append(b, what), args...)
}

// took books bytes that came, and waits until more may be asked for.
func (f *fetch) took(ctx context.Context, n int) error {
	f.done.Add(int64(n))
	fs := &f.k.fetches
	now := f.k.cfg.Link.Now()
	fs.mu.Lock()
	if fs.free.Before(now) {
		fs.free = now
	}
	fs.free = fs.free.Add(time.Duration(int64(n) * int64(time.Second) / f.k.cfg.CatchUpRate))
	wait := fs.free.Sub(now)
	fs.mu.Unlock()
	if wait < time.Millisecond {
		return nil
	}
	return f.k.rest(ctx, wait)
}

// alarm rings once, in link time.
type alarm struct {
	rings chan struct{}
	stop  func() bool
}

func (k *Kernel) alarm(d time.Duration) alarm {
	rings := make(chan struct{})
	t := k.cfg.Link.AfterFunc(d, func() { close(rings) })
	return alarm{rings, t.Stop}
}

// rest waits, in link time.
func (k *Kernel) rest(ctx context.Context, d time.Duration) error {
	a := k.alarm(d)
	defer a.stop()
	select {
	case <-a.rings:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
