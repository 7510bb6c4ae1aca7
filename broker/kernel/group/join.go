package group

import (
	"bytes"
	"slices"
)

// JoinRequest asks to become or to stay a member.
type JoinRequest struct {
	Token       uint64 // handed back with the answer
	MemberID    string // "" when the member has none yet
	NewMemberID string // the id it gets then: the caller's, who has randomness
	InstanceID  string // of a static member; "" for a dynamic one
	ClientID    string
	ClientHost  string

	SessionTimeout   int32 // ms
	RebalanceTimeout int32 // ms
	ProtocolType     string
	Protocols        []Protocol // copied

	RequireKnown   bool // tell a new dynamic member its id, and let it come back with that (KIP-394)
	SkipAssignment bool // the member knows how to lead without assigning (JoinGroup 9)

	// What the broker allows. They come with the request, as every replica must see the same.
	MinSession, MaxSession int32 // ms
	MaxSize                int32 // members; 0: MembersMax
	InitialDelay           int32 // ms that a group which was empty waits for more members
}

// JoinResult answers a join.
type JoinResult struct {
	Error          Error
	MemberID       string
	Generation     int32 // -1 with an error
	ProtocolType   string
	Protocol       string
	Leader         string // member id
	SkipAssignment bool
	Members        []JoinMember // for the leader: who is to be assigned to
}

// JoinMember is one member, as its leader is told.
type JoinMember struct {
	ID, InstanceID string
	Metadata       []byte // in the protocol that was chosen
}

// SyncRequest hands in (from the leader) and asks for the assignment.
type SyncRequest struct {
	Token        uint64
	MemberID     string
	InstanceID   string
	Generation   int32
	ProtocolType string // "" not given
	Protocol     string // "" not given
	Assignments  []Assignment
}

// Assignment is what one member is given.
type Assignment struct {
	MemberID string
	Data     []byte // copied
}

// SyncResult answers a sync.
type SyncResult struct {
	Error        Error
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// Join handles one join. Its answer is among the effects of this command or of a later one.
func (g *Group) Join(now int64, r *JoinRequest, eff []Effect) []Effect {
	g.own()
	if r.SessionTimeout < r.MinSession || r.SessionTimeout > r.MaxSession {
		return refuse(eff, r, r.MemberID, InvalidSessionTimeout)
	}
	if g.state == Dead {
		return refuse(eff, r, r.MemberID, CoordinatorNotAvailable)
	}
	if !g.accepts(r) {
		if g.edit(r.MemberID) != nil {
			eff = g.remove(r.MemberID, GroupMaxSizeReached, eff)
			eff = g.rebalance(now, eff)
		}
		return refuse(eff, r, "", GroupMaxSizeReached)
	}
	if !g.supports(r.ProtocolType, r.Protocols) {
		return refuse(eff, r, r.MemberID, InconsistentGroupProtocol)
	}
	if r.MemberID == "" {
		return g.joinNew(now, r, eff)
	}
	if _, ok := g.pending.Get(r.MemberID); ok {
		if r.InstanceID != "" {
			return refuse(eff, r, r.MemberID, UnknownMemberID)
		}
		g.pending.Delete(r.MemberID)
		return g.add(now, r.MemberID, r, eff)
	}
	if e := g.check(r.MemberID, r.InstanceID); e != OK {
		return refuse(eff, r, r.MemberID, e)
	}
	m := g.edit(r.MemberID)
	switch g.state {
	case PreparingRebalance:
	case CompletingRebalance:
		// The same again: the member did not get the answer to its join.
		if m.matches(r.Protocols) {
			return append(eff, Effect{Kind: JoinAnswer, Token: r.Token, Join: g.current(m, g.leader == m.id)})
		}
	case Stable:
		// The leader joins again when something else than metadata asks for an assignment.
		if m.id != g.leader && m.matches(r.Protocols) {
			return append(eff, Effect{Kind: JoinAnswer, Token: r.Token, Join: g.current(m, false)})
		}
	}
	eff = m.wait(r, eff, g)
	return g.rebalance(now, eff)
}

// refuse answers a join with an error.
func refuse(eff []Effect, r *JoinRequest, id string, e Error) []Effect {
	return append(eff, Effect{Kind: JoinAnswer, Token: r.Token, Join: &JoinResult{Error: e, MemberID: id, Generation: -1}})
}

// accepts tells whether the group has room for who joins.
func (g *Group) accepts(r *JoinRequest) bool {
	limit := MembersMax
	if r.MaxSize > 0 {
		limit = min(limit, int(r.MaxSize))
	}
	m, known := g.members.Get(r.MemberID)
	if !known && g.members.Len() >= MembersMax {
		return false
	}
	switch g.state {
	case PreparingRebalance: // of a group that is too large, those stay who come first
		return known && m.joinWaits || g.joining < limit
	case CompletingRebalance, Stable:
		return known || g.members.Len() < limit
	}
	return true
}

// supports tells whether a member with those protocols can be in one group with the others.
func (g *Group) supports(protocolType string, protocols []Protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	if protocolType != g.protocolType {
		return false
	}
	for _, p := range protocols {
		if g.common(p.Name) {
			return true
		}
	}
	return false
}

// common tells whether every member knows the protocol.
func (g *Group) common(name string) bool {
	all := true
	g.members.Scan(func(_ string, m *member) bool {
		all = m.knows(name)
		return all
	})
	return all
}

func (m *member) knows(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == name })
}

func (m *member) matches(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// joinNew is a join without a member id.
func (g *Group) joinNew(now int64, r *JoinRequest, eff []Effect) []Effect {
	_, used := g.members.Get(r.NewMemberID)
	_, told := g.pending.Get(r.NewMemberID)
	if r.NewMemberID == "" || used || told {
		return refuse(eff, r, "", UnknownMemberID)
	}
	if r.InstanceID != "" {
		if old, ok := g.static.Get(r.InstanceID); ok {
			return g.replace(now, old, r, eff)
		}
		return g.add(now, r.NewMemberID, r, eff)
	}
	if !r.RequireKnown {
		return g.add(now, r.NewMemberID, r, eff)
	}
	if g.pending.Len() >= MembersMax {
		return refuse(eff, r, "", GroupMaxSizeReached)
	}
	g.pending.Set(r.NewMemberID, r.SessionTimeout)
	eff = arm(eff, MemberTimer, r.NewMemberID, r.SessionTimeout)
	return refuse(eff, r, r.NewMemberID, MemberIDRequired)
}

// add makes a member, whose join waits for the rebalance that it causes.
func (g *Group) add(now int64, id string, r *JoinRequest, eff []Effect) []Effect {
	if g.members.Len() == 0 {
		g.protocolType = r.ProtocolType
	}
	g.step++
	m := &member{owner: g.owner, born: g.gen, ver: g.gen, id: id, instance: r.InstanceID, order: g.step, isNew: true}
	g.members.Set(id, m)
	if m.instance != "" {
		g.static.Set(m.instance, id)
	}
	if g.leader == "" {
		g.leader = id
	}
	if g.state == PreparingRebalance && g.afterEmpty {
		g.added = true
	}
	if g.state == Empty {
		g.initial = max(r.InitialDelay, 0)
	}
	eff = m.wait(r, eff, g)
	eff = arm(eff, MemberTimer, id, NewMemberTimeout)
	return g.rebalance(now, eff)
}

// wait takes over what a join says; the join waits for the rebalance to end.
func (m *member) wait(r *JoinRequest, eff []Effect, g *Group) []Effect {
	m.update(r)
	if m.joinWaits { // the client gave up on that one
		eff = append(eff, Effect{Kind: JoinAnswer, Token: m.joinToken, Join: &JoinResult{Error: RebalanceInProgress, MemberID: m.id, Generation: -1}})
	} else {
		m.joinWaits = true
		g.joining++
	}
	m.joinToken, m.skipAssignmentAccepted = r.Token, r.SkipAssignment
	return eff
}

func (m *member) update(r *JoinRequest) {
	m.clientID, m.clientHost = r.ClientID, r.ClientHost
	m.session, m.rebalance = r.SessionTimeout, r.RebalanceTimeout
	m.protocols = make([]Protocol, len(r.Protocols))
	for i, p := range r.Protocols {
		m.protocols[i] = Protocol{p.Name, bytes.Clone(p.Metadata)}
	}
}

// replace gives the place of a static member to its new process, which does not know
// the member id. The old id is fenced. As long as the choice of protocol stays what it
// is, a stable group need not rebalance for that.
func (g *Group) replace(now int64, oldID string, r *JoinRequest, eff []Effect) []Effect {
	old := g.edit(oldID)
	eff = old.answerJoin(eff, g, &JoinResult{Error: FencedInstanceID, MemberID: oldID, Generation: -1})
	eff = old.answerSync(eff, &SyncResult{Error: FencedInstanceID})
	leader := g.leader

	m := &member{owner: g.owner, born: g.gen, ver: g.gen, id: r.NewMemberID, instance: r.InstanceID, order: old.order,
		assignment: old.assignment, syncDue: old.syncDue, isNew: old.isNew}
	g.forget(old)
	eff = append(eff, Effect{Kind: Disarm, Timer: Timer{Kind: MemberTimer, Member: oldID}})
	m.update(r)
	g.members.Set(m.id, m)
	g.static.Set(m.instance, m.id)
	if g.leader == oldID {
		g.leader = m.id
	}

	if g.state == Stable && g.selectProtocol() == g.protocol {
		m.isNew = false
		res := g.current(m, false)
		if r.SkipAssignment {
			if m.id == g.leader {
				res = g.current(m, true)
				res.SkipAssignment = true
			}
		} else {
			// An older leader would assign at once, and nobody would hear of it: so it is told
			// that its former id leads.
			res.Leader = leader
		}
		eff = append(eff, Effect{Kind: JoinAnswer, Token: r.Token, Join: res})
		return arm(eff, MemberTimer, m.id, m.session)
	}
	eff = m.wait(r, eff, g)
	if m.isNew {
		eff = arm(eff, MemberTimer, m.id, NewMemberTimeout)
	}
	return g.rebalance(now, eff)
}

// current is the answer to a join that changes nothing.
func (g *Group) current(m *member, lead bool) *JoinResult {
	res := &JoinResult{MemberID: m.id, Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader}
	if lead {
		res.Members = g.list()
	}
	return res
}

func (g *Group) list() []JoinMember {
	out := make([]JoinMember, 0, g.members.Len())
	g.members.Scan(func(_ string, m *member) bool {
		out = append(out, JoinMember{m.id, m.instance, m.metadata(g.protocol)})
		return true
	})
	return out
}

func (m *member) answerJoin(eff []Effect, g *Group, res *JoinResult) []Effect {
	if !m.joinWaits {
		return eff
	}
	m.joinWaits = false
	g.joining--
	return append(eff, Effect{Kind: JoinAnswer, Token: m.joinToken, Join: res})
}

func (m *member) answerSync(eff []Effect, res *SyncResult) []Effect {
	if !m.syncWaits {
		return eff
	}
	m.syncWaits = false
	return append(eff, Effect{Kind: SyncAnswer, Token: m.syncToken, Sync: res})
}

// ---- rebalance -----------------------------------------------------------

// rebalance follows every change of members: it begins a rebalance, or completes the one
// under way if it can be.
func (g *Group) rebalance(now int64, eff []Effect) []Effect {
	switch g.state {
	case Dead:
		return eff
	case Empty:
		if g.members.Len() == 0 {
			return eff
		}
		// The first rebalance waits for more members to come, as long as they do.
		g.state, g.afterEmpty, g.added = PreparingRebalance, true, false
		if g.initial == 0 {
			return g.complete(now, eff)
		}
		g.remaining = max(g.rebalanceTimeout()-g.initial, 0)
		return g.start(JoinTimer, g.initial, eff)
	case CompletingRebalance:
		g.each(func(m *member) {
			m.assignment = nil
			if m.syncWaits {
				eff = m.answerSync(eff, &SyncResult{Error: RebalanceInProgress})
				eff = arm(eff, MemberTimer, m.id, m.session)
			}
		})
		fallthrough
	case Stable:
		g.unsync = 0
		g.each(func(m *member) { m.syncDue = false })
		g.state, g.afterEmpty = PreparingRebalance, false
		eff = g.start(JoinTimer, g.rebalanceTimeout(), eff)
	}
	return g.tryComplete(now, eff)
}

// tryComplete ends the first part of a rebalance when everybody has joined, except that
// the first rebalance takes its time.
func (g *Group) tryComplete(now int64, eff []Effect) []Effect {
	if g.state == PreparingRebalance && !g.afterEmpty && g.joining == g.members.Len() && g.pending.Len() == 0 {
		return g.complete(now, eff)
	}
	return eff
}

func (g *Group) rebalanceTimeout() int32 {
	t := int32(0)
	g.members.Scan(func(_ string, m *member) bool {
		t = max(t, m.rebalance)
		return true
	})
	return t
}

// ExpireJoin: the time to join is over. step is that of the Timer; one that was started
// anew since is ignored.
func (g *Group) ExpireJoin(now int64, step uint64, eff []Effect) []Effect {
	if g.timer.Kind != JoinTimer || step == 0 || g.timer.Step != step {
		return eff
	}
	g.own()
	if g.afterEmpty && g.added && g.remaining > 0 {
		g.added = false
		delay := min(g.initial, g.remaining)
		g.remaining -= delay
		return g.start(JoinTimer, delay, eff)
	}
	return g.complete(now, eff)
}

// complete makes the next generation of those who have joined.
func (g *Group) complete(now int64, eff []Effect) []Effect {
	if g.joining < g.members.Len() {
		for _, id := range g.members.Keys() {
			if m, _ := g.members.Get(id); !m.joinWaits && m.instance == "" {
				eff = g.remove(id, UnknownMemberID, eff)
			}
		}
	}
	if g.members.Len() > 0 && !g.elect() {
		// Static members alone, and none has joined: they have until their sessions expire.
		return g.start(JoinTimer, g.rebalanceTimeout(), eff)
	}
	eff = g.stop(eff)
	g.afterEmpty, g.added, g.remaining = false, false, 0
	if g.generation++; g.generation < 1 {
		g.generation = 1
	}
	if g.members.Len() == 0 {
		g.state, g.protocol, g.leader, g.since = Empty, "", "", max(now, 1)
		return eff
	}
	g.state = CompletingRebalance
	g.protocol = g.selectProtocol()
	g.unsync = g.members.Len()
	g.each(func(m *member) {
		m.assignment = nil
		m.syncDue, m.isNew = true, false
		waits := m.joinWaits
		eff = m.answerJoin(eff, g, g.current(m, m.id == g.leader))
		if waits {
			eff = arm(eff, MemberTimer, m.id, m.session)
		}
	})
	return g.start(SyncTimer, g.rebalanceTimeout(), eff)
}

// elect makes sure that the leader is among those who have joined.
func (g *Group) elect() bool {
	if m, ok := g.members.Get(g.leader); ok && m.joinWaits {
		return true
	}
	first := g.first(func(m *member) bool { return m.joinWaits })
	if first == nil {
		return false
	}
	g.leader = first.id
	return true
}

// first returns the member that was added first of those that f wants.
func (g *Group) first(f func(*member) bool) (first *member) {
	g.members.Scan(func(_ string, m *member) bool {
		if f(m) && (first == nil || m.order < first.order) {
			first = m
		}
		return true
	})
	return first
}

// selectProtocol lets each member vote for the first of its protocols that all know. The
// most votes win; of equal ones the name that sorts first.
func (g *Group) selectProtocol() string {
	var names []string // few: what one member knows
	g.members.Scan(func(_ string, m *member) bool {
		for _, p := range m.protocols {
			if !slices.Contains(names, p.Name) && g.common(p.Name) {
				names = append(names, p.Name)
			}
		}
		return false
	})
	slices.Sort(names)
	votes := make([]int, len(names))
	g.members.Scan(func(_ string, m *member) bool {
		for _, p := range m.protocols {
			if i, ok := slices.BinarySearch(names, p.Name); ok {
				votes[i]++
				break
			}
		}
		return true
	})
	best := ""
	most := 0
	for i, n := range votes {
		if n > most {
			best, most = names[i], n
		}
	}
	return best
}

// ---- sync ----------------------------------------------------------------

// Sync handles one sync. Its answer is among the effects of this command or of a later
// one: members wait for the leader's.
func (g *Group) Sync(r *SyncRequest, eff []Effect) []Effect {
	g.own()
	answer := func(e Error) []Effect {
		return append(eff, Effect{Kind: SyncAnswer, Token: r.Token, Sync: &SyncResult{Error: e}})
	}
	switch {
	case g.state == Dead:
		return answer(CoordinatorNotAvailable)
	case g.state == Empty:
		return answer(UnknownMemberID)
	}
	if e := g.check(r.MemberID, r.InstanceID); e != OK {
		return answer(e)
	}
	switch {
	case r.Generation != g.generation:
		return answer(IllegalGeneration)
	case r.ProtocolType != "" && r.ProtocolType != g.protocolType, r.Protocol != "" && g.state != PreparingRebalance && r.Protocol != g.protocol:
		return answer(InconsistentGroupProtocol)
	case g.state == PreparingRebalance:
		return answer(RebalanceInProgress)
	}
	m := g.edit(r.MemberID)
	if m.syncDue {
		m.syncDue = false
		g.unsync--
	}
	eff = m.answerSync(eff, &SyncResult{Error: RebalanceInProgress}) // the client gave up on that one
	m.syncWaits, m.syncToken = true, r.Token
	if g.state == CompletingRebalance {
		if m.id != g.leader {
			return eff
		}
		for _, a := range r.Assignments {
			if to := g.edit(a.MemberID); to != nil {
				to.assignment = bytes.Clone(a.Data)
			}
		}
		g.state = Stable
		g.each(func(m *member) { eff = g.assigned(m, eff) })
	} else {
		eff = g.assigned(m, eff)
	}
	if g.unsync == 0 {
		eff = g.stop(eff)
	}
	return eff
}

// assigned answers the sync of a member that waits, and starts its session.
func (g *Group) assigned(m *member, eff []Effect) []Effect {
	if !m.syncWaits {
		return eff
	}
	eff = m.answerSync(eff, &SyncResult{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment})
	return arm(eff, MemberTimer, m.id, m.session)
}

// ExpireSync: the time to sync is over. Who has not is removed.
func (g *Group) ExpireSync(now int64, step uint64, eff []Effect) []Effect {
	if g.timer.Kind != SyncTimer || step == 0 || g.timer.Step != step {
		return eff
	}
	g.own()
	eff = g.stop(eff)
	for _, id := range g.members.Keys() {
		if m, _ := g.members.Get(id); m.syncDue {
			eff = g.remove(id, UnknownMemberID, eff)
		}
	}
	return g.rebalance(now, eff)
}
