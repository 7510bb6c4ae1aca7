package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage/filelog"
)

// Member is what a node knows of its cluster before it has read its log: which node it is, and
// where the others are. It is kept in the data directory (docs/format/directory.md).
//
// Where a node is, is told by whoever starts this one, and by log 0. What is newer is believed:
// what this one is started with if it is not what it was started with before, and what log 0 says
// when it says something new.
//
// Safe for concurrent use.
type Member struct {
	path string // of the file; "": it is kept nowhere

	mu   sync.Mutex
	kept memberFile
	gone map[uint64]string // nodes that were removed in this life: they may still have to be told
}

// memberFile is what is kept.
type memberFile struct {
	Cluster string            `json:"cluster,omitempty"` // the cluster's id; "": not known yet
	Node    uint64            `json:"node"`              // this node's
	Rack    string            `json:"rack,omitempty"`
	Began   []uint64          `json:"began"`           // the nodes that the cluster began with
	Nodes   map[uint64]string `json:"nodes"`           // where each is, this one too
	Given   map[uint64]string `json:"given,omitempty"` // where they are as this node was started with last
	Said    map[uint64]string `json:"said,omitempty"`  // where they are as log 0 said last
	Removed bool              `json:"removed,omitempty"`
}

// memberMax is how long the file may be, in bytes.
const memberMax = 4 << 20

// NewMember is a node of those that a cluster begins with. dir is its data directory, which need
// not exist before it is open; "": it keeps nothing.
func NewMember(dir string, self uint64, nodes map[uint64]string) *Member {
	return &Member{path: memberPath(dir), kept: memberFile{Node: self, Began: slices.Sorted(maps.Keys(nodes)), Nodes: maps.Clone(nodes), Given: maps.Clone(nodes)}}
}

// ReadMember returns which node a data directory is of. false: of none.
func ReadMember(dir string) (*Member, bool, error) {
	m := &Member{path: memberPath(dir)}
	if dir == "" {
		return nil, false, nil
	}
	info, err := os.Stat(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case info.Size() > memberMax:
		return nil, false, fmt.Errorf("%s has %d bytes, %d at most", m.path, info.Size(), memberMax)
	}
	b, err := os.ReadFile(m.path)
	if err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(b, &m.kept); err != nil || m.kept.Node == 0 || len(m.kept.Began) == 0 || m.kept.Nodes[m.kept.Node] == "" {
		return nil, false, fault.New(fault.Damaged, "open", m.path, "it does not say which node this is")
	}
	return m, true, nil
}

func memberPath(dir string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, filelog.NodeFile)
}

// Give tells where nodes are as this one was started with, where anything was said of that.
func (m *Member) Give(nodes map[uint64]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(nodes) == 0 || maps.Equal(nodes, m.kept.Given) {
		return
	}
	m.kept.Given = maps.Clone(nodes)
	maps.Copy(m.kept.Nodes, nodes)
}

// Move tells where this node is from now on.
func (m *Member) Move(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept.Nodes[m.kept.Node] = addr
}

// Self is this node's id.
func (m *Member) Self() uint64 { return m.kept.Node }

// Began are the nodes that the cluster began with.
func (m *Member) Began() []uint64 { return m.kept.Began }

// Removed tells whether the node was removed from its cluster: it is nobody any more.
func (m *Member) Removed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept.Removed
}

// expelled notes that the node was removed, as another one says.
func (m *Member) expelled() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept.Removed = true
	return m.keepLocked()
}

// Cluster is the cluster's id; "": it is not known yet.
func (m *Member) Cluster() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept.Cluster
}

// Rack is what fails together with this node. A rack that is given replaces it.
func (m *Member) Rack(given string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if given != "" {
		m.kept.Rack = given
	}
	return m.kept.Rack
}

// Nodes are where all nodes are, this one too.
func (m *Member) Nodes() map[uint64]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.kept.Nodes)
}

// reach is Nodes, and those that were removed in this life.
func (m *Member) reach() map[uint64]string {
	all := m.Nodes()
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(all, m.gone)
	return all
}

// learn takes in log 0's nodes, and keeps what is new.
func (m *Member) learn(cluster string, nodes []kernel.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	said := make(map[uint64]string, len(nodes))
	for _, n := range nodes {
		if n.Peer == "" {
			continue // its own configuration, and ours, say where it is
		}
		said[n.ID] = n.Peer
		if m.kept.Said[n.ID] != n.Peer {
			m.kept.Nodes[n.ID] = n.Peer
		}
	}
	for id := range m.kept.Said {
		if at, ok := m.kept.Nodes[id]; ok && said[id] == "" && id != m.kept.Node {
			if m.gone == nil {
				m.gone = make(map[uint64]string)
			}
			m.gone[id] = at
			delete(m.kept.Nodes, id)
		}
	}
	m.kept.Removed = m.kept.Removed || m.kept.Said[m.kept.Node] != "" && said[m.kept.Node] == ""
	m.kept.Cluster, m.kept.Said = cluster, said
	return m.keepLocked()
}

// Keep leaves the file in a data directory that is to be made. fault.Conflict: it holds something.
func (m *Member) Keep(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := Vacant(dir); err != nil {
		return err
	}
	m.path = memberPath(dir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return m.keepLocked()
}

// Vacant fails with fault.Conflict for a directory that holds anything: no node can join with it.
func Vacant(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range names {
		if e.Name() != "lost+found" {
			return fault.New(fault.Conflict, "join", dir, "it holds %s already, and what a node joins with is empty", e.Name())
		}
	}
	return nil
}

// keepLocked writes the file, if there is one. Caller holds m.mu.
func (m *Member) keepLocked() (err error) {
	if m.path == "" {
		return nil
	}
	b, err := json.MarshalIndent(&m.kept, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.Create(m.path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(m.path+".tmp", m.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(m.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ---- joining

// joinQuestion is what is asked of a cluster (docs/protocol/cluster.md).
type joinQuestion struct {
	Peer    string `json:"peer,omitempty"` // "": it asks only which cluster that is
	Rack    string `json:"rack,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	Node    uint64 `json:"node,omitempty"` // 0: it has none yet; else it has moved to Peer, or asks whether it is one still
}

// joinAnswer is what it says.
type joinAnswer struct {
	Cluster string            `json:"cluster,omitempty"`
	Node    uint64            `json:"node,omitempty"`
	Began   []uint64          `json:"began,omitempty"`
	Nodes   map[uint64]string `json:"nodes,omitempty"`
	Removed bool              `json:"removed,omitempty"` // the node that asks is none any more
	Kind    string            `json:"kind,omitempty"`    // of the error, when there is one
	Error   string            `json:"error,omitempty"`
}

// Join asks a cluster, at the address of any of its nodes, to take in one more node: the one that
// others will find at spec.Peer. It is kept nowhere until Keep.
func Join(ctx context.Context, cfg transport.TCPConfig, addr string, spec kernel.NodeSpec) (*Member, error) {
	a, err := askCluster(ctx, cfg, addr, joinQuestion{Peer: spec.Peer, Rack: spec.Rack})
	if err != nil {
		return nil, err
	}
	if a.Node == 0 || len(a.Began) == 0 || a.Nodes[a.Node] == "" {
		return nil, fault.New(fault.Internal, "join", addr, "its answer lacks something")
	}
	return &Member{kept: memberFile{Cluster: a.Cluster, Node: a.Node, Rack: spec.Rack, Began: a.Began, Nodes: a.Nodes}}, nil
}

// OfCluster makes sure that a node of a data directory is of the cluster at an address. fault.Conflict:
// it is of another one. fault.Unavailable: nobody answers there.
func (m *Member) OfCluster(ctx context.Context, cfg transport.TCPConfig, addr string) error {
	_, err := askCluster(ctx, cfg, addr, joinQuestion{Cluster: m.Cluster()})
	return err
}

// Announce tells the other nodes where this one is, if log 0 has it elsewhere: it cannot tell log 0
// itself, as nobody answers it there. It asks one after another until one has told log 0, or ctx ends.
func (m *Member) Announce(ctx context.Context, cfg transport.TCPConfig) {
	m.mu.Lock()
	self, at, cluster, moved := m.kept.Node, m.kept.Nodes[m.kept.Node], m.kept.Cluster, false
	if was := m.kept.Said[self]; was != "" && was != at {
		moved = true
	}
	m.mu.Unlock()
	for moved {
		for id, addr := range m.Nodes() {
			if id == self {
				continue
			}
			if _, err := askCluster(ctx, cfg, addr, joinQuestion{Peer: at, Cluster: cluster, Node: self}); err == nil || ctx.Err() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(announceAgain):
		}
	}
}

// announceAgain is how long after all others were asked they are asked again.
const announceAgain = time.Second

func askCluster(ctx context.Context, cfg transport.TCPConfig, addr string, q joinQuestion) (a joinAnswer, err error) {
	return askBy(func(asked []byte) ([]byte, error) { return transport.Ask(ctx, cfg, addr, asked) }, addr, q)
}

func askBy(ask func(asked []byte) ([]byte, error), addr string, q joinQuestion) (a joinAnswer, err error) {
	asked, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	answered, err := ask(asked)
	if err != nil {
		kind := fault.Unavailable
		if fe, ok := errors.AsType[*fault.Error](err); ok {
			kind, err = fe.Kind, fe.Err
		}
		return a, &fault.Error{Kind: kind, Op: "join", Target: addr, Err: err}
	}
	if err := json.Unmarshal(answered, &a); err != nil {
		return a, fault.New(fault.Invalid, "join", addr, "its answer is none: %w", err)
	}
	if a.Error != "" {
		kind := fault.Unavailable
		for k := fault.Internal; k <= fault.Damaged; k++ {
			if k.String() == a.Kind {
				kind = k
			}
		}
		return a, fault.New(kind, "join", addr, "%s", a.Error)
	}
	return a, nil
}

// answer answers who asks to become a node of this cluster.
func (b *Broker) answer(ctx context.Context, asked []byte) []byte {
	a, err := b.takeIn(ctx, asked)
	if err != nil {
		a = joinAnswer{Kind: fault.KindOf(err).String(), Error: strings.TrimPrefix(err.Error(), "add node ")}
	}
	out, err := json.Marshal(a)
	if err != nil {
		panic("broker: " + err.Error()) // it is made of strings and numbers
	}
	return out
}

func (b *Broker) takeIn(ctx context.Context, asked []byte) (a joinAnswer, err error) {
	var q joinQuestion
	if err := json.Unmarshal(asked, &q); err != nil {
		return a, fault.New(fault.Invalid, "join", "", "what is asked is no JSON: %w", err)
	}
	m := b.cfg.Cluster.Member
	a = joinAnswer{Cluster: b.kernel.Cluster(), Began: m.Began()}
	if q.Cluster != "" && q.Cluster != a.Cluster {
		return a, fault.New(fault.Conflict, "join", "", "this is cluster %s, and the node is of cluster %s", a.Cluster, q.Cluster)
	}
	if q.Peer == "" {
		n, ok := b.kernel.Node(q.Node)
		a.Nodes, a.Removed = m.Nodes(), ok && n.State == kernel.NodeRemoved
		return a, nil
	}
	if q.Node != 0 {
		a.Node, a.Nodes = q.Node, m.Nodes()
		return a, b.kernel.MoveNode(ctx, q.Node, q.Peer)
	}
	if a.Node, err = b.kernel.AddNode(ctx, kernel.NodeSpec{Peer: q.Peer, Rack: q.Rack}); err != nil {
		return a, err
	}
	a.Nodes = m.Nodes()
	a.Nodes[a.Node] = q.Peer // which learn may not have heard yet
	return a, nil
}

// ---- following log 0

// following has the network know where nodes are, as log 0 says.
type following struct {
	poke chan struct{} // capacity 1
	end  chan struct{}
	done chan struct{}
	once sync.Once

	inquired chan struct{} // closed when inquire has ended
}

// nodesChanged is told by the kernel that log 0 has other nodes.
func (f *following) nodesChanged() {
	select {
	case f.poke <- struct{}{}:
	default: // it will look anyway
	}
}

// follow looks at k's nodes when they have changed, until stop.
func (b *Broker) follow(k *kernel.Kernel) {
	f := &b.following
	f.end, f.done, f.inquired = make(chan struct{}), make(chan struct{}), make(chan struct{})
	go b.inquire(k) // ends with stop
	c := b.cfg.Cluster
	net, _ := c.Network.(interface{ SetPeers(map[uint64]string) })
	look := func() {
		if err := c.Member.learn(k.Cluster(), k.Nodes()); err != nil {
			b.cfg.Log.Error("where the other nodes are is not kept", "err", err)
		}
		if net != nil {
			net.SetPeers(c.Member.reach())
		}
	}
	go func() { // ends with stop
		defer close(f.done)
		for {
			select {
			case <-f.poke:
				look()
			case <-f.end:
				select {
				case <-f.poke: // the last thing that it hears may be that it was removed
					look()
				default:
				}
				return
			}
		}
	}()
}

func (f *following) stop() {
	if f.end != nil {
		f.once.Do(func() { close(f.end) })
		<-f.done
		<-f.inquired
	}
}

// inquireEvery is how often a node that knows of nobody who leads log 0 asks the others whether it is
// still one of them.
const inquireEvery = time.Second

// inquire asks the other nodes whether this one was removed, while it hears nothing of log 0: who was removed
// is told nothing by it any more, and may have been away when it was. It ends when one says so, or with
// stop.
func (b *Broker) inquire(k *kernel.Kernel) {
	defer close(b.following.inquired)
	m := b.cfg.Cluster.Member
	way, ok := b.cfg.Cluster.Network.(interface {
		Ask(ctx context.Context, addr string, asked []byte) ([]byte, error)
	})
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with stop
		<-b.following.end
		cancel()
	}()
	tick := time.NewTicker(inquireEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if b.host.Statuses()[0].Leader != 0 {
			continue
		}
		for id, addr := range m.Nodes() {
			if id == m.Self() {
				continue
			}
			a, err := askBy(func(asked []byte) ([]byte, error) { return way.Ask(ctx, addr, asked) }, addr, joinQuestion{Cluster: m.Cluster(), Node: m.Self()})
			if err != nil || !a.Removed {
				continue
			}
			if err := m.expelled(); err != nil {
				b.cfg.Log.Error("that this node was removed is not kept", "err", err)
			}
			k.Expel()
			return
		}
	}
}
