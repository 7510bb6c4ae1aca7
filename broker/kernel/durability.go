package kernel

import (
	"context"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/storage"
)

// This file is what durability means here: which shards promise what, which of them a
// stream, queue or session goes to, and what there is of each.
//
// A thing lives in a shard of its durability for all its life. What is not named in log 0
// and small, or does not know where it will go, is synced whatever the namespace says:
// groups with their offsets, retained messages, delayed messages.

// Durability is what an acknowledgement has waited for.
type Durability = meta.Durability

const (
	Sync   = meta.Sync
	Async  = meta.Async
	Memory = meta.Memory
)

// class is what a shard promises.
type class uint8

const (
	classSync      class = iota // logged, synced before it is acknowledged
	classAsync                  // logged, handed to the operating system
	classMemory                 // not logged; what it holds is named in log 0
	classTransient              // not logged; what it holds dies with a connection, or with the broker
)

// logged tells whether anything of the shard outlives the process.
func (c class) logged() bool { return c <= classAsync }

func (c class) durability() Durability {
	return [...]Durability{Sync, Async, Memory, Memory}[c]
}

// Shard ids: 0 is log 0; of each durability as many as log 0 says follow from here on.
const (
	firstSync   = storage.ShardID(1)
	firstAsync  = storage.ShardID(1000)
	firstMemory = storage.ShardID(2000) // never on a disk
	localShard  = storage.ShardID(3000) // never on a disk

	// DataShardsMax bounds Config.DataShards.
	DataShardsMax = int(firstAsync - firstSync)
)

// of lists the shards of a durability, in the order of their ids.
func (k *Kernel) of(d Durability) []*shardRun {
	switch d {
	case Async:
		return k.async
	case Memory:
		return k.memory
	default:
		return k.data
	}
}

// slotOf spreads names over some shards.
func slotOf(shards []*shardRun, ns, name string) *shardRun {
	h := fnv.New32a()
	h.Write([]byte(ns))
	h.Write([]byte{0})
	h.Write([]byte(name))
	const slots = 4096
	return shards[h.Sum32()%slots%uint32(len(shards))]
}

// slot is the synced shard of a name.
func (k *Kernel) slot(ns, name string) *shardRun { return slotOf(k.data, ns, name) }

// durabilityIn is what a new stream, queue or session of a namespace gets that asks for want;
// "" asks for the namespace's own.
func (k *Kernel) durabilityIn(ns string, want Durability) Durability {
	if want != "" {
		return want
	}
	if space, ok := k.meta.view.Load().Namespace(ns); ok {
		return space.Durability
	}
	return Sync
}

// DurabilityConfig is the name under which a stream's durability stands among its
// configuration, for those who only know of that.
const DurabilityConfig = "durability"

// decideDurability sets a new stream's durability: what the spec or its configuration says,
// or else its namespace. What capture makes is not worth a sync.
func (k *Kernel) decideDurability(spec *StreamSpec) error {
	if v, ok := spec.Config[DurabilityConfig]; ok {
		if spec.Durability != "" && spec.Durability != Durability(v) {
			return fault.New(fault.Invalid, "create stream", spec.Address, "durability is to be %s, and %s", spec.Durability, v)
		}
		spec.Durability = Durability(v)
		if !spec.Durability.Valid() {
			return fault.New(fault.Invalid, "create stream", spec.Address, "durability %q is none of sync, async, memory", v)
		}
		spec.Config = configBut(spec.Config, DurabilityConfig)
	}
	if spec.Durability != "" && !spec.Durability.Valid() {
		return fault.New(fault.Invalid, "create stream", spec.Address, "durability %q is none of sync, async, memory", spec.Durability)
	}
	given := spec.Durability != ""
	spec.Durability = k.durabilityIn(spec.Namespace, spec.Durability)
	if spec.Captured && !given && spec.Durability == Sync {
		spec.Durability = Async
	}
	if err := compactable(spec, spec.Config); err != nil {
		return err
	}
	if spec.Durability == Memory && spec.Config["retention.bytes"] == "" {
		spec.Config = configBut(spec.Config, "")
		spec.Config["retention.bytes"] = memoryBytes
	}
	return nil
}

// compactable refuses compaction of what is in memory: it is files at rest that are
// compacted.
func compactable(st *meta.Stream, config map[string]string) error {
	if st.Durability == Memory && strings.Contains(config["cleanup.policy"], "compact") {
		return fault.New(fault.Invalid, "configure stream", st.Address, "a stream in memory is not compacted: give it durability sync or async")
	}
	return nil
}

// memoryBytes is what a partition in memory keeps when nothing else was said: what is not
// bounded would end the process.
const memoryBytes = captureBytes

// configBut returns a copy of a configuration that lacks a name.
func configBut(config map[string]string, name string) map[string]string {
	out := make(map[string]string, len(config)+1)
	for k, v := range config {
		if k != name {
			out[k] = v
		}
	}
	return out
}

// keepDurability takes the durability out of a change of configuration: to say again what is
// so changes nothing, and anything else is refused.
func keepDurability(st *meta.Stream, set map[string]string) (map[string]string, error) {
	if err := compactable(st, set); err != nil {
		return nil, err
	}
	v, ok := set[DurabilityConfig]
	if !ok {
		return set, nil
	}
	if Durability(v) != st.Durability {
		return nil, fault.New(fault.Invalid, "configure stream", st.Address,
			"its durability is %s and stays so: create another stream with durability %s, and copy what is to be kept", st.Durability, v)
	}
	return configBut(set, DurabilityConfig), nil
}

// Namespace is a namespace as it stands.
type Namespace = meta.Namespace

// Namespace returns a namespace.
func (k *Kernel) Namespace(ns string) (Namespace, bool) {
	space, ok := k.meta.view.Load().Namespace(ns)
	if !ok {
		return Namespace{}, false
	}
	return *space, true
}

// HasNamespace tells whether a namespace exists.
func (k *Kernel) HasNamespace(ns string) bool {
	_, ok := k.meta.view.Load().Namespace(ns)
	return ok
}

// Namespaces lists them in the order of their names.
func (k *Kernel) Namespaces() []Namespace {
	view := k.meta.view.Load()
	var out []Namespace
	for _, name := range view.Namespaces() {
		space, _ := view.Namespace(name)
		out = append(out, *space)
	}
	return out
}

// CreateNamespace makes a namespace; d "" is Sync. One that exists is left as it is, and
// created is false.
func (k *Kernel) CreateNamespace(ctx context.Context, ns string, d Durability) (space Namespace, created bool, err error) {
	if ns == "" {
		return Namespace{}, false, fault.New(fault.Invalid, "create namespace", "", "empty name")
	}
	return k.putNamespace(ctx, &meta.Command{Op: meta.CreateNamespace, Namespace: ns, Durability: d})
}

// ConfigureNamespace changes what is made in a namespace from now on; what is there stays
// as it is. fault.NotFound.
func (k *Kernel) ConfigureNamespace(ctx context.Context, ns string, d Durability) (Namespace, error) {
	space, _, err := k.putNamespace(ctx, &meta.Command{Op: meta.ConfigureNamespace, Namespace: ns, Durability: d})
	return space, err
}

func (k *Kernel) putNamespace(ctx context.Context, c *meta.Command) (space Namespace, created bool, err error) {
	if c.Durability != "" && !c.Durability.Valid() {
		return Namespace{}, false, fault.New(fault.Invalid, "configure namespace", c.Namespace, "durability %q is none of sync, async, memory", c.Durability)
	}
	r, err := k.meta.do(ctx, c)
	if err != nil {
		return Namespace{}, false, err
	}
	return *r.Space, r.Created, nil
}

// Holding is what there is of one durability.
type Holding struct {
	Durability Durability
	Shards     []uint32
	Streams    int
	Queues     int
	Sessions   int
	Groups     int
	Retained   int
}

// Holdings says what each durability holds, Sync, Async, Memory. What dies with the broker
// counts as Memory, and so does everything when the engine keeps nothing.
func (k *Kernel) Holdings() []Holding {
	all := []Holding{{Durability: Sync}, {Durability: Async}, {Durability: Memory}}
	at := func(c class) *Holding {
		if !k.engine.Durable() {
			return &all[classMemory]
		}
		return &all[min(c, classMemory)]
	}
	for st := range k.meta.view.Load().AllStreams() {
		at(k.shards[st.Logs[0].Shard].class).Streams++
	}
	for _, s := range k.everyShard() {
		h := at(s.class)
		h.Shards = append(h.Shards, uint32(s.id))
		s.readMu.RLock()
		h.Queues += len(s.m.QueueIDs())
		h.Sessions += s.m.SessionCount()
		h.Groups += s.m.GroupCount()
		h.Retained += s.m.Retained().Len()
		s.readMu.RUnlock()
	}
	return slices.Clip(all)
}
