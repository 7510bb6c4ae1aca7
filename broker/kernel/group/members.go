package group

// check tells whether a request comes from a member, and from the newest process of
// that instance if it is a static one.
func (g *Group) check(id, instance string) Error {
	if instance != "" {
		switch now, ok := g.static.Get(instance); {
		case !ok:
			return UnknownMemberID
		case now != id:
			return FencedInstanceID
		}
	}
	if _, ok := g.members.Get(id); !ok {
		return UnknownMemberID
	}
	return OK
}

// Heartbeat tells what a heartbeat is answered. It changes nothing: who keeps the timers
// pushes the member's back unless the answer is an error other than RebalanceInProgress.
func (g *Group) Heartbeat(id, instance string, generation int32) Error {
	switch g.state {
	case Dead:
		return CoordinatorNotAvailable
	case Empty:
		return UnknownMemberID
	}
	if e := g.check(id, instance); e != OK {
		return e
	}
	switch {
	case generation != g.generation:
		return IllegalGeneration
	case g.state == PreparingRebalance:
		return RebalanceInProgress
	}
	return OK
}

// LeaveMember names who leaves: by member id, or a static member by its instance alone.
type LeaveMember struct {
	MemberID   string
	InstanceID string
}

// Leave removes members, one answer for each.
func (g *Group) Leave(now int64, leaving []LeaveMember, eff []Effect) ([]Effect, []Error) {
	g.own()
	out := make([]Error, len(leaving))
	removed, left := false, false
	for i, l := range leaving {
		id := l.MemberID
		switch {
		case g.state == Dead:
			out[i] = CoordinatorNotAvailable
			continue
		case id == "":
			known, ok := g.static.Get(l.InstanceID)
			if !ok {
				out[i] = UnknownMemberID
				continue
			}
			id = known
		default:
			if _, ok := g.pending.Get(id); ok && l.InstanceID == "" {
				g.pending.Delete(id)
				eff = append(eff, Effect{Kind: Disarm, Timer: Timer{Kind: MemberTimer, Member: id}})
				left = true
				continue
			}
			if out[i] = g.check(id, l.InstanceID); out[i] != OK {
				continue
			}
		}
		eff = g.remove(id, UnknownMemberID, eff)
		removed = true
	}
	switch {
	case removed:
		eff = g.rebalance(now, eff)
	case left: // it was never a member, but the others may have waited for it
		eff = g.tryComplete(now, eff)
	}
	return eff, out
}

// ExpireMember: nothing was heard of a member for its session timeout. One that waits to
// be answered is not expected to be heard of, unless that is its very first join.
func (g *Group) ExpireMember(now int64, id string, eff []Effect) []Effect {
	if _, ok := g.pending.Get(id); ok {
		g.own()
		g.pending.Delete(id)
		return g.tryComplete(now, eff)
	}
	m, ok := g.members.Get(id)
	if !ok || g.state == Dead || !m.isNew && (m.joinWaits || m.syncWaits) {
		return eff
	}
	g.own()
	eff = g.remove(id, UnknownMemberID, eff)
	return g.rebalance(now, eff)
}

// remove takes a member out of the group. Who waits for an answer gets that error. The
// caller sees to the rebalance.
func (g *Group) remove(id string, e Error, eff []Effect) []Effect {
	m := g.edit(id)
	eff = m.answerJoin(eff, g, &JoinResult{Error: e, Generation: -1})
	eff = m.answerSync(eff, &SyncResult{Error: e})
	if m.syncDue {
		g.unsync--
	}
	g.forget(m)
	if g.leader == id {
		g.leader = ""
		if next := g.first(func(*member) bool { return true }); next != nil {
			g.leader = next.id
		}
	}
	return append(eff, Effect{Kind: Disarm, Timer: Timer{Kind: MemberTimer, Member: id}})
}

// forget deletes a member and what is derived from it.
func (g *Group) forget(m *member) {
	g.members.Delete(m.id)
	if m.instance != "" {
		g.static.Delete(m.instance)
	}
	g.noteGone(keyMember, m.id, m.born)
}

// Delete ends the group. NonEmptyGroup: it has members.
func (g *Group) Delete(eff []Effect) ([]Effect, Error) {
	switch {
	case g.state == Dead:
		return eff, GroupIDNotFound
	case g.state != Empty:
		return eff, NonEmptyGroup
	}
	g.own()
	for _, id := range g.pending.Keys() {
		eff = append(eff, Effect{Kind: Disarm, Timer: Timer{Kind: MemberTimer, Member: id}})
	}
	g.pending.Clear()
	g.dropAllOffsets()
	g.state = Dead
	return eff, OK
}

// ---- lists ---------------------------------------------------------------

// Description is a group as it stands.
type Description struct {
	State        State
	Generation   int32
	ProtocolType string
	Protocol     string // only when Stable
	Leader       string
	Members      []MemberDescription
	Offsets      int // partitions with an offset
}

// MemberDescription is one member as it stands.
type MemberDescription struct {
	ID, InstanceID       string
	ClientID, ClientHost string
	SessionTimeout       int32  // ms
	RebalanceTimeout     int32  // ms
	Metadata, Assignment []byte // only when the group is Stable
}

// Describe describes the group. Its byte slices are shared, and must not be written.
func (g *Group) Describe() Description {
	d := Description{State: g.state, Generation: g.generation, ProtocolType: g.protocolType, Leader: g.leader, Offsets: g.offsets}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	g.members.Scan(func(_ string, m *member) bool {
		o := MemberDescription{ID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost, SessionTimeout: m.session, RebalanceTimeout: m.rebalance}
		if g.state == Stable {
			o.Metadata, o.Assignment = m.metadata(g.protocol), m.assignment
		}
		d.Members = append(d.Members, o)
		return true
	})
	return d
}
