// Package group is the machine of a consumer group: who its members are, which
// generation they form, what each was assigned, and how far they have come.
//
// It behaves as Apache Kafka's coordinator does for classic groups, static members
// (KIP-345), members that must first ask for an id (KIP-394) and transactional offsets
// (KIP-447) included.
//
// A Group is a deterministic state machine: it has no clock, and starts nothing. A request
// that waits for others, a join or a sync, is answered by an Effect that carries the
// caller's token, now or during a later command, exactly once. Equal states that are
// given equal commands stay equal, whatever was saved, restored or forked in between.
//
// # States
//
//	          join                 all joined, or in time            leader's sync
//	Empty ──────────► PreparingRebalance ──────────► CompletingRebalance ──────────► Stable
//	  ▲                 │    ▲   ▲                      │                              │
//	  └── nobody left ──┘    │   └── join, leave, gone ─┘                              │
//	                         └────────── join with news, leave, gone ──────────────────┘
//
// # Deadlines
//
// Liveness is link time, which machines do not see. A Group says by Arm and Disarm effects
// which deadlines exist; who leads keeps them, pushes those of members back with every
// heartbeat, and hands in ExpireMember, ExpireJoin or ExpireSync when one passes. After a
// change of leader Timers lists them all, to be started anew.
//
//	join.go     join, sync, the rebalance between them
//	members.go  heartbeat, leave, expiry of members, describe
//	offsets.go  offsets: commit, fetch, delete, expire, transactions
//	save.go     checkpoints
package group

import (
	"github.com/tidwall/btree"
)

// Bounds of one group.
const (
	// MembersMax bounds members, and apart from them members that were told an id and have
	// not come back with it. Beyond it Join answers GroupMaxSizeReached.
	MembersMax = 1 << 16
	// OffsetsMax bounds the partitions with an offset; beyond it a commit answers
	// InvalidCommitOffsetSize.
	OffsetsMax = 1 << 20
	// MetadataMax bounds what a consumer may say with an offset, in bytes: Kafka's
	// offset.metadata.max.bytes.
	MetadataMax = 4096
	// NewMemberTimeout is how long, in ms, a member waits for its first join to be answered
	// before it is taken for gone: it could not send heartbeats without knowing its id.
	NewMemberTimeout = 5 * 60 * 1000
)

// Error is what Kafka's error of that name is.
type Error uint8

const (
	OK Error = iota
	CoordinatorNotAvailable
	IllegalGeneration
	InconsistentGroupProtocol
	UnknownMemberID
	InvalidSessionTimeout
	RebalanceInProgress
	OffsetMetadataTooLarge
	InvalidCommitOffsetSize
	MemberIDRequired
	GroupMaxSizeReached
	FencedInstanceID
	UnstableOffsetCommit
	GroupSubscribedToTopic
	NonEmptyGroup
	GroupIDNotFound
)

var errorNames = [...]string{
	"NONE", "COORDINATOR_NOT_AVAILABLE", "ILLEGAL_GENERATION", "INCONSISTENT_GROUP_PROTOCOL", "UNKNOWN_MEMBER_ID",
	"INVALID_SESSION_TIMEOUT", "REBALANCE_IN_PROGRESS", "OFFSET_METADATA_TOO_LARGE", "INVALID_COMMIT_OFFSET_SIZE",
	"MEMBER_ID_REQUIRED", "GROUP_MAX_SIZE_REACHED", "FENCED_INSTANCE_ID", "UNSTABLE_OFFSET_COMMIT",
	"GROUP_SUBSCRIBED_TO_TOPIC", "NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND",
}

// String returns Kafka's name of the error.
func (e Error) String() string {
	if int(e) < len(errorNames) {
		return errorNames[e]
	}
	return "UNKNOWN"
}

// State is what a group is doing.
type State uint8

const (
	Empty State = iota // no members; there may be offsets
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead // deleted
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

// String returns the name that Kafka's tools show.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "Unknown"
}

// Kind says what an Effect is about.
type Kind uint8

const (
	// JoinAnswer and SyncAnswer: answer the request of Token with Join or Sync.
	JoinAnswer Kind = iota
	SyncAnswer
	// Arm: start Timer, or start it anew. Disarm: forget it.
	Arm
	Disarm
)

// TimerKind tells what is to be handed in when a deadline passes.
type TimerKind uint8

const (
	MemberTimer TimerKind = iota // ExpireMember(Member); one for each member, pushed back by its heartbeats and commits
	JoinTimer                    // ExpireJoin(Step); one for the group
	SyncTimer                    // ExpireSync(Step); one for the group
)

// Timer is one deadline.
type Timer struct {
	Kind   TimerKind
	Member string
	After  int64  // ms from now
	Step   uint64 // tells this deadline from earlier ones of its kind
}

// Effect is something to be done outside of the machine.
type Effect struct {
	Kind  Kind
	Token uint64
	Join  *JoinResult
	Sync  *SyncResult
	Timer Timer
}

// Protocol is one way of assigning that a member knows, and what it has to say in it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Group is one consumer group. Not safe for concurrent use, except that a Group which is
// no longer given commands may be read (Save, Describe, Fetch, Fork) by several.
type Group struct {
	owner *token // what may be written in place; nil after a Fork
	gen   uint64 // stamp of changes; see Fork
	ver   uint64 // newest stamp of anything in here

	state        State
	afterEmpty   bool // PreparingRebalance: the group was empty before
	generation   int32
	protocolType string
	protocol     string
	leader       string // member id; "" none
	since        int64  // ms at which it became Empty; 0 when it never had members

	members btree.Map[string, *member] // by id
	static  btree.Map[string, string]  // member id by instance id; derived
	pending btree.Map[string, int32]   // session timeout by id that was told and is not used yet
	joining int                        // members whose join waits; derived
	unsync  int                        // members whose sync is to come; derived

	step      uint64 // of the last timer of the group
	timer     Timer  // the one that runs: Step 0 when none does
	initial   int32  // ms by which the first rebalance is put off at a time
	remaining int32  // ms by which it may still be put off
	added     bool   // a member was added since it was

	topics  btree.Map[string, *topic]
	offsets int                    // partitions with an offset; derived
	txns    btree.Map[int64, *txn] // offsets of producers' open transactions
	oldest  int64                  // see NextExpiry; 0: to be found out
	gone    []goneKey              // checkpoint keys that went; see save.go
}

// token is an identity: what a Group made since its last Fork may be written in place.
type token struct{ _ byte }

// member is one member.
type member struct {
	owner     *token
	born, ver uint64

	id, instance           string
	clientID, clientHost   string
	session, rebalance     int32 // timeouts, ms
	order                  uint64
	protocols              []Protocol
	assignment             []byte
	isNew                  bool // its first join is not answered yet
	joinWaits, syncWaits   bool
	joinToken, syncToken   uint64
	syncDue                bool // of this generation
	skipAssignmentAccepted bool // of the join that waits
}

// New returns an empty group.
func New() *Group { return &Group{} }

// own makes what commands write in place ours.
func (g *Group) own() {
	g.oldest = 0
	g.ownOffsets()
}

// ownOffsets is own for commands that change nothing but offsets.
func (g *Group) ownOffsets() {
	g.ver = g.gen
	if g.owner == nil {
		g.owner = new(token)
		g.gone = append([]goneKey(nil), g.gone...)
	}
}

// edit returns the member for writing; nil when there is none of that id.
func (g *Group) edit(id string) *member {
	m, ok := g.members.Get(id)
	if !ok {
		return nil
	}
	if m.owner != g.owner {
		c := *m
		c.owner = g.owner
		m = &c
		g.members.Set(id, m)
	}
	m.ver = g.gen
	return m
}

// each calls f for each member, by id, with leave to write to it.
func (g *Group) each(f func(m *member)) {
	for _, id := range g.members.Keys() {
		f(g.edit(id))
	}
}

// State tells what the group is doing.
func (g *Group) State() State { return g.state }

// Vacant tells whether the group holds nothing: it can be forgotten.
func (g *Group) Vacant() bool {
	return g.state == Dead || g.state == Empty && g.pending.Len() == 0 && g.offsets == 0 && g.txns.Len() == 0
}

// ---- deadlines -----------------------------------------------------------

func arm(eff []Effect, k TimerKind, member string, after int32) []Effect {
	return append(eff, Effect{Kind: Arm, Timer: Timer{Kind: k, Member: member, After: int64(after)}})
}

// start starts the timer of the group, in place of one that runs.
func (g *Group) start(k TimerKind, after int32, eff []Effect) []Effect {
	eff = g.stop(eff)
	g.step++
	g.timer = Timer{Kind: k, After: int64(after), Step: g.step}
	return append(eff, Effect{Kind: Arm, Timer: g.timer})
}

func (g *Group) stop(eff []Effect) []Effect {
	if g.timer.Step != 0 {
		eff = append(eff, Effect{Kind: Disarm, Timer: g.timer})
		g.timer = Timer{}
	}
	return eff
}

// Timers calls f for each deadline that exists: a new leader starts them anew.
func (g *Group) Timers(f func(Timer)) {
	g.members.Scan(func(id string, m *member) bool {
		switch {
		case m.isNew:
			f(Timer{Kind: MemberTimer, Member: id, After: NewMemberTimeout})
		case !m.joinWaits && !m.syncWaits:
			f(Timer{Kind: MemberTimer, Member: id, After: int64(m.session)})
		}
		return true
	})
	g.pending.Scan(func(id string, session int32) bool {
		f(Timer{Kind: MemberTimer, Member: id, After: int64(session)})
		return true
	})
	if g.timer.Step != 0 {
		f(g.timer)
	}
}
