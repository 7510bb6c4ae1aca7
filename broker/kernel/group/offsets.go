package group

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// Offset is how far a group has come in one partition.
type Offset struct {
	Offset      int64
	LeaderEpoch int32 // of the last record consumed; -1 not known
	Metadata    string
	CommittedAt int64 // ms
	ExpiresAt   int64 // ms, when the consumer said for how long it is to be kept; 0 not said
}

// topic holds the offsets of one topic, by partition.
type topic struct {
	owner     *token
	born, ver uint64
	parts     []part
}

type part struct {
	partition int32
	Offset
}

func (t *topic) search(partition int32) (int, bool) {
	return slices.BinarySearchFunc(t.parts, partition, func(p part, n int32) int { return cmp.Compare(p.partition, n) })
}

// txn holds the offsets that a producer's transaction commits if it does.
type txn struct {
	owner     *token
	born, ver uint64
	topics    []txnPart // by topic, partition
}

type txnPart struct {
	topic string
	part
}

func (t *txn) search(topic string, partition int32) (int, bool) {
	return slices.BinarySearchFunc(t.topics, partition, func(p txnPart, n int32) int {
		return cmp.Or(strings.Compare(p.topic, topic), cmp.Compare(p.partition, n))
	})
}

// CheckCommit tells whether a commit of offsets is in order; SetOffset then does it for
// each partition. generation -1 and no member id: a consumer that assigns itself, or an
// operator, who may commit while the group is empty.
func (g *Group) CheckCommit(id, instance string, generation int32) Error {
	return g.checkCommit(id, instance, generation, false)
}

// CheckTxnCommit is CheckCommit for offsets that go with a transaction. Producers that do
// not say for which member they commit are not checked.
func (g *Group) CheckTxnCommit(id, instance string, generation int32) Error {
	return g.checkCommit(id, instance, generation, true)
}

func (g *Group) checkCommit(id, instance string, generation int32, transactional bool) Error {
	switch {
	case g.state == Dead:
		return CoordinatorNotAvailable
	case generation < 0 && g.state == Empty:
		return OK
	case generation >= 0 || id != "" || instance != "":
		if g.state == Empty && g.generation == 0 && g.protocolType == "" {
			return IllegalGeneration // there is no such group
		}
		if e := g.check(id, instance); e != OK {
			return e
		}
		if generation != g.generation {
			return IllegalGeneration
		}
	case !transactional:
		return UnknownMemberID
	}
	if g.state == CompletingRebalance && !transactional {
		// It knows the generation, so it will hear of its assignment: then it may commit.
		return RebalanceInProgress
	}
	return OK
}

// SetOffset commits one offset, which CheckCommit has allowed. o.CommittedAt is set to
// now.
func (g *Group) SetOffset(now int64, name string, partition int32, o Offset) Error {
	if len(o.Metadata) > MetadataMax {
		return OffsetMetadataTooLarge
	}
	g.ownOffsets()
	o.CommittedAt = now
	return g.set(name, partition, o)
}

func (g *Group) set(name string, partition int32, o Offset) Error {
	t, ok := g.topics.Get(name)
	if !ok {
		if g.offsets >= OffsetsMax {
			return InvalidCommitOffsetSize
		}
		t = &topic{owner: g.owner, born: g.gen}
		g.topics.Set(strings.Clone(name), t)
	}
	i, ok := t.search(partition)
	if !ok && g.offsets >= OffsetsMax {
		return InvalidCommitOffsetSize
	}
	t = g.ownTopic(name, t)
	if ok {
		t.parts[i].Offset = o
	} else {
		t.parts = slices.Insert(t.parts, i, part{partition, o})
		g.offsets++
	}
	if g.oldest != 0 {
		g.oldest = min(g.oldest, o.CommittedAt)
		if o.ExpiresAt != 0 {
			g.oldest = 0
		}
	}
	return OK
}

func (g *Group) ownTopic(name string, t *topic) *topic {
	if t.owner != g.owner {
		t = &topic{owner: g.owner, born: t.born, parts: slices.Clone(t.parts)}
		g.topics.Set(name, t)
	}
	t.ver = g.gen
	return t
}

// unset forgets the offset at index i of a topic.
func (g *Group) unset(name string, t *topic, i int) {
	g.offsets--
	if len(t.parts) == 1 {
		g.topics.Delete(name)
		g.noteGone(keyTopic, name, t.born)
		return
	}
	t = g.ownTopic(name, t)
	t.parts = slices.Delete(t.parts, i, i+1)
}

// Fetch returns the offset of a partition; ok false: none was committed. stable: answer
// UnstableOffsetCommit while a transaction is about to change it.
func (g *Group) Fetch(name string, partition int32, stable bool) (o Offset, ok bool, e Error) {
	if stable && g.inTxn(name, partition) {
		return Offset{}, false, UnstableOffsetCommit
	}
	if t, found := g.topics.Get(name); found {
		if i, found := t.search(partition); found {
			return t.parts[i].Offset, true, OK
		}
	}
	return Offset{}, false, OK
}

// Offsets calls f for each offset, by topic and partition, until it returns false.
func (g *Group) Offsets(f func(topic string, partition int32, o Offset) bool) {
	g.topics.Scan(func(name string, t *topic) bool {
		for _, p := range t.parts {
			if !f(name, p.partition, p.Offset) {
				return false
			}
		}
		return true
	})
}

// DeleteOffset forgets the offset of one partition, which no member may be reading.
func (g *Group) DeleteOffset(name string, partition int32) Error {
	switch {
	case g.state == Dead:
		return GroupIDNotFound
	case g.state == Empty:
	case g.protocolType != consumerProtocol:
		return NonEmptyGroup
	case g.subscribed().has(name):
		return GroupSubscribedToTopic
	}
	g.ownOffsets()
	g.txnDrop(func(t string, p int32) bool { return t == name && p == partition })
	if t, ok := g.topics.Get(name); ok {
		if i, ok := t.search(partition); ok {
			g.unset(name, t, i)
		}
	}
	return OK
}

// DropTopic forgets the offsets of a topic that is no more.
func (g *Group) DropTopic(name string) {
	g.ownOffsets()
	g.txnDrop(func(t string, _ int32) bool { return t == name })
	if t, ok := g.topics.Delete(name); ok {
		g.offsets -= len(t.parts)
		g.noteGone(keyTopic, name, t.born)
	}
}

func (g *Group) dropAllOffsets() {
	for _, name := range g.topics.Keys() {
		g.DropTopic(name)
	}
	g.txnDrop(func(string, int32) bool { return true })
}

// ---- transactions --------------------------------------------------------

// SetTxnOffset keeps one offset until the producer's transaction ends.
func (g *Group) SetTxnOffset(now int64, producer int64, name string, partition int32, o Offset) Error {
	if len(o.Metadata) > MetadataMax {
		return OffsetMetadataTooLarge
	}
	g.ownOffsets()
	t, ok := g.txns.Get(producer)
	if !ok {
		t = &txn{owner: g.owner, born: g.gen}
		g.txns.Set(producer, t)
	}
	t = g.ownTxn(producer, t)
	o.CommittedAt = now
	i, ok := t.search(name, partition)
	switch {
	case ok:
		t.topics[i].Offset = o
	case len(t.topics) >= OffsetsMax:
		return InvalidCommitOffsetSize
	default:
		t.topics = slices.Insert(t.topics, i, txnPart{strings.Clone(name), part{partition, o}})
	}
	return OK
}

func (g *Group) ownTxn(producer int64, t *txn) *txn {
	if t.owner != g.owner {
		t = &txn{owner: g.owner, born: t.born, topics: slices.Clone(t.topics)}
		g.txns.Set(producer, t)
	}
	t.ver = g.gen
	return t
}

// EndTxn ends a producer's transaction: its offsets count now, or never did. Repeats are
// ignored.
func (g *Group) EndTxn(producer int64, commit bool) {
	t, ok := g.txns.Get(producer)
	if !ok {
		return
	}
	g.ownOffsets()
	g.txns.Delete(producer)
	g.noteGone(keyTxn, txnKey(producer), t.born)
	g.oldest = 0
	if !commit {
		return
	}
	for _, p := range t.topics {
		g.set(p.topic, p.partition, p.Offset) // at OffsetsMax it is lost, as a commit would be refused
	}
}

func (g *Group) inTxn(name string, partition int32) (found bool) {
	g.txns.Scan(func(_ int64, t *txn) bool {
		_, found = t.search(name, partition)
		return !found
	})
	return found
}

// txnDrop takes offsets out of open transactions.
func (g *Group) txnDrop(which func(topic string, partition int32) bool) {
	for _, producer := range g.txns.Keys() {
		t, _ := g.txns.Get(producer)
		match := func(p txnPart) bool { return which(p.topic, p.partition) }
		if !slices.ContainsFunc(t.topics, match) {
			continue
		}
		t = g.ownTxn(producer, t)
		t.topics = slices.DeleteFunc(t.topics, match)
		if len(t.topics) == 0 {
			g.txns.Delete(producer)
			g.noteGone(keyTxn, txnKey(producer), t.born)
		}
	}
}

// ---- expiry --------------------------------------------------------------

// ExpireOffsets forgets offsets that are older than retention (ms) and that nobody is going
// to miss, and returns how many. Those of a group count from when it became empty; while it
// has members, or never had any, from when they were committed. Topics that a member
// subscribes to are spared.
func (g *Group) ExpireOffsets(now, retention int64) int {
	base, subs, ok := g.expirable()
	if !ok {
		return 0
	}
	g.ownOffsets()
	n := 0
	g.oldest = math.MaxInt64
	for _, name := range g.topics.Keys() {
		if subs.has(name) {
			continue
		}
		t, _ := g.topics.Get(name)
		for i := len(t.parts) - 1; i >= 0; i-- {
			p := &t.parts[i]
			from := p.CommittedAt
			if base != 0 {
				from = base
			}
			due := from <= now-retention
			if p.ExpiresAt != 0 {
				due, from = p.ExpiresAt <= now, p.ExpiresAt-retention
			}
			if !due {
				g.oldest = min(g.oldest, from)
				continue
			}
			if g.txns.Len() > 0 && g.inTxn(name, p.partition) {
				continue // EndTxn looks again
			}
			g.unset(name, t, i)
			n++
			t, _ = g.topics.Get(name)
		}
	}
	if g.oldest == 0 {
		g.oldest = -1 // 0 stands for not known; earlier does no harm
	}
	return n
}

// expirable tells whether offsets may expire now: counted from base, or from their commit
// when it is 0; but not of subs.
func (g *Group) expirable() (base int64, subs topicSet, ok bool) {
	switch {
	case g.state == Empty:
		return g.since, topicSet{}, true
	case g.state == Stable && g.protocolType == consumerProtocol:
		return 0, g.subscribed(), true
	}
	return 0, topicSet{}, false
}

// NextExpiry is when ExpireOffsets is to be called next, in ms, or earlier; 0: not before
// the group changes.
func (g *Group) NextExpiry(retention int64) int64 {
	if g.offsets == 0 || g.oldest == math.MaxInt64 {
		return 0
	}
	if g.state != Empty && (g.state != Stable || g.protocolType != consumerProtocol) {
		return 0
	}
	if g.oldest == 0 {
		return 1 // not looked at since it changed
	}
	return max(g.oldest+retention, 1)
}

// consumerProtocol is the protocol type of Kafka's consumers, the one whose metadata
// says which topics a member reads.
const consumerProtocol = "consumer"

// topicSet is a sorted list of topics, or all of them.
type topicSet struct {
	all   bool
	names []string
}

func (s topicSet) has(name string) bool {
	if s.all {
		return true
	}
	_, ok := slices.BinarySearch(s.names, name)
	return ok
}

// subscribed tells which topics the members read. Metadata that says nothing one could
// read counts as all.
func (g *Group) subscribed() topicSet {
	var s topicSet
	g.members.Scan(func(_ string, m *member) bool {
		data := m.metadata(g.protocol)
		if g.state != Stable && g.state != CompletingRebalance && len(m.protocols) > 0 {
			data = m.protocols[0].Metadata // no protocol is chosen; the topics are the same in all
		}
		names, ok := subscription(data)
		s.all = s.all || !ok
		s.names = append(s.names, names...)
		return ok
	})
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s
}

// subscription reads the topics of a consumer's metadata: version (int16), count (int32),
// and each name with its length (int16) before it.
func subscription(b []byte) ([]string, bool) {
	if len(b) < 6 {
		return nil, false
	}
	n := binary.BigEndian.Uint32(b[2:])
	b = b[6:]
	if uint64(n) > uint64(len(b))/2 {
		return nil, false
	}
	names := make([]string, 0, n)
	for range n {
		if len(b) < 2 {
			return nil, false
		}
		l := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+l {
			return nil, false
		}
		names = append(names, string(b[2:2+l]))
		b = b[2+l:]
	}
	return names, true
}

// txnKey orders producers as numbers.
func txnKey(producer int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(producer)^1<<63))
}
