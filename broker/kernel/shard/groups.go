package shard

import (
	"encoding/json"
	"slices"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/group"
)

// Group is one consumer group.
type Group struct {
	*group.Group
	Key string // namespace, 0, group id
	due int64
	gen uint64
}

// GroupCommand is one command to a group. One of the pointers or slices says which. It is
// JSON in the entry: groups speak seldom, and their requests are nested lists of names.
type GroupCommand struct {
	Key string `json:"k"`

	Join   *group.JoinRequest  `json:"join,omitempty"`
	Sync   *group.SyncRequest  `json:"sync,omitempty"`
	Leave  []group.LeaveMember `json:"leave,omitempty"`
	Commit *GroupCommit        `json:"commit,omitempty"`
	// Forget deletes offsets; Delete ends the group.
	Forget []GroupOffset `json:"forget,omitempty"`
	Delete bool          `json:"delete,omitempty"`
	// Deadlines that passed.
	ExpireMember string `json:"expire_member,omitempty"`
	ExpireJoin   uint64 `json:"expire_join,omitempty"`
	ExpireSync   uint64 `json:"expire_sync,omitempty"`
	// DropTopic forgets the offsets of a topic that is no more.
	DropTopic string `json:"drop_topic,omitempty"`
}

// GroupCommit commits offsets.
type GroupCommit struct {
	MemberID, InstanceID string
	Generation           int32
	// Term is that in which its proposer coordinates the group. In another one the commit is refused: its
	// client may have committed more since, with who coordinates now. 0: it does not matter.
	Term    uint64 `json:",omitempty"`
	Offsets []GroupOffset
}

// GroupOffset is the offset of one partition.
type GroupOffset struct {
	Topic     string
	Partition int32
	Offset    group.Offset
}

// offsetsRetention is how long offsets are kept of a group without members: Kafka's
// default of offsets.retention.minutes, 7 days, in ms.
const offsetsRetention = 7 * 24 * 60 * 60 * 1000

// Group adds the command. The answer is OpResult.Value: []group.Error for Leave, Commit and
// Forget (one for each item), group.Error for Delete; joins and syncs are answered by
// effects.
func (b *Builder) Group(c *GroupCommand) int {
	i := b.op(OpGroup)
	body, err := json.Marshal(c)
	if err != nil {
		panic("shard: group command that is no JSON: " + err.Error())
	}
	b.ops = codec.Bytes(b.ops, body)
	return i
}

// groupW returns a group that may be changed; create makes it when it is not there.
func (m *Machine) groupW(key string, create bool) *Group {
	g, ok := m.groups.Get(key)
	switch {
	case !ok && !create:
		return nil
	case !ok:
		g = &Group{Group: group.New().Fork(m.gen, m.saved), Key: key, gen: m.gen}
		m.groups.Set(key, g)
	case g.gen != m.gen:
		g = &Group{Group: g.Group.Fork(m.gen, m.saved), Key: key, due: g.due, gen: m.gen}
		m.groups.Set(key, g)
	}
	m.dirty.groups.Insert(key)
	return g
}

func (m *Machine) group(r *codec.Reader, out *Outcome) OpResult {
	var c GroupCommand
	if body := r.Bytes(); r.Err() != nil || json.Unmarshal(body, &c) != nil {
		return OpResult{Err: fault.Of(fault.Internal, "group", "")}
	}
	if c.Commit != nil && c.Commit.Term != 0 && c.Commit.Term != m.term {
		return OpResult{Err: fault.New(fault.Unavailable, "commit offsets", "", "its coordinator has changed")}
	}
	create := c.Join != nil || c.Commit != nil
	g := m.groupW(c.Key, create)
	if g == nil {
		return m.noGroup(&c, out)
	}
	var eff []group.Effect
	var res OpResult
	switch {
	case c.Join != nil:
		eff = g.Join(m.now, c.Join, nil)
	case c.Sync != nil:
		eff = g.Sync(c.Sync, nil)
	case c.Leave != nil:
		var errs []group.Error
		eff, errs = g.Leave(m.now, c.Leave, nil)
		res.Value = errs
	case c.Commit != nil:
		res.Value = m.commit(g, c.Commit)
	case c.Forget != nil:
		errs := make([]group.Error, len(c.Forget))
		for i, o := range c.Forget {
			errs[i] = g.DeleteOffset(o.Topic, o.Partition)
		}
		res.Value = errs
	case c.Delete:
		var e group.Error
		eff, e = g.Delete(nil)
		res.Value = e
	case c.ExpireMember != "":
		eff = g.ExpireMember(m.now, c.ExpireMember, nil)
	case c.ExpireJoin != 0:
		eff = g.ExpireJoin(m.now, c.ExpireJoin, nil)
	case c.ExpireSync != 0:
		eff = g.ExpireSync(m.now, c.ExpireSync, nil)
	case c.DropTopic != "":
		g.DropTopic(c.DropTopic)
	}
	for i := range eff {
		out.Effects = append(out.Effects, Effect{Kind: GroupEffect, Key: c.Key, Group: &eff[i]})
	}
	m.groupDue(g)
	return res
}

// noGroup answers what is asked of a group that is not there.
func (m *Machine) noGroup(c *GroupCommand, out *Outcome) OpResult {
	switch {
	case c.Sync != nil:
		out.Effects = append(out.Effects, Effect{Kind: GroupEffect, Key: c.Key, Group: &group.Effect{
			Kind: group.SyncAnswer, Token: c.Sync.Token, Sync: &group.SyncResult{Error: group.UnknownMemberID},
		}})
	case c.Leave != nil:
		return OpResult{Value: slices.Repeat([]group.Error{group.UnknownMemberID}, len(c.Leave))}
	case c.Forget != nil:
		return OpResult{Value: slices.Repeat([]group.Error{group.GroupIDNotFound}, len(c.Forget))}
	case c.Delete:
		return OpResult{Value: group.GroupIDNotFound}
	}
	return OpResult{}
}

func (m *Machine) commit(g *Group, c *GroupCommit) []group.Error {
	errs := make([]group.Error, len(c.Offsets))
	if e := g.CheckCommit(c.MemberID, c.InstanceID, c.Generation); e != group.OK {
		for i := range errs {
			errs[i] = e
		}
		return errs
	}
	for i, o := range c.Offsets {
		errs[i] = g.SetOffset(m.now, o.Topic, o.Partition, o.Offset)
	}
	return errs
}

// groupDue keeps the group's place among the deadlines, and forgets a group that holds
// nothing.
func (m *Machine) groupDue(g *Group) {
	if g.Vacant() {
		m.bury(func(full bool, put func(k, v []byte) bool) bool {
			return m.encodeGroup(g.Key, g, full, m.saved, put)
		})
		m.setDue(&g.due, 0, dueGroup, g.Key)
		m.groups.Delete(g.Key)
		return
	}
	m.setDue(&g.due, g.NextExpiry(offsetsRetention), dueGroup, g.Key)
}

func (m *Machine) tickGroup(g *Group) {
	g.ExpireOffsets(m.now, offsetsRetention)
	m.groupDue(g)
}

// Group returns a group, to be read.
func (m *Machine) Group(key string) (*Group, bool) { return m.groups.Get(key) }

// Groups yields the groups in the order of their keys.
func (m *Machine) Groups(yield func(g *Group) bool) {
	m.groups.Scan(func(_ string, g *Group) bool { return yield(g) })
}

// GroupCount is how many groups there are.
func (m *Machine) GroupCount() int { return m.groups.Len() }

func (m *Machine) encodeGroup(key string, g *Group, full bool, since uint64, put func(k, v []byte) bool) bool {
	if g == nil {
		return true // buried
	}
	ok := put(append(named('g', key), 'h'), codec.Int(nil, g.due))
	prefix := append(named('g', key), 'o')
	g.Save(full, since, func(k, v []byte) {
		if v != nil {
			v = append([]byte{}, v...)
		}
		ok = ok && put(slices.Concat(prefix, k), v)
	})
	return ok
}

func (m *Machine) finishGroup(p *parts) error {
	inner, err := group.Load(m.saved, p.pairs(p.own))
	if err != nil {
		return err
	}
	g := &Group{Group: inner, Key: p.name, gen: m.gen}
	r := codec.NewReader(p.head)
	if err := m.restoreDue(&g.due, &r, dueGroup, g.Key); err != nil {
		return err
	}
	m.groups.Set(g.Key, g)
	return nil
}
