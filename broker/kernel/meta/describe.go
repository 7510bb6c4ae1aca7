package meta

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

var opNames = [...]string{
	CreateNamespace: "create-namespace", CreateStream: "create-stream", DeleteStream: "delete-stream", AddPartitions: "add-partitions",
	ConfigureStream: "configure-stream", CreateQueue: "create-queue", DeleteQueue: "delete-queue", DeclareExchange: "declare-exchange",
	DeleteExchange: "delete-exchange", Bind: "bind", Unbind: "unbind", PutUser: "put-user", DeleteUser: "delete-user",
	AllocateProducers: "allocate-producers", StartNode: "start-node", ConfigureNamespace: "configure-namespace",
	MarkNode: "mark-node", Pass: "pass", AnnounceNode: "announce-node", PutViews: "put-views",
	AddNode: "add-node", SetNode: "set-node", PlaceShards: "place-shards", MoveNode: "move-node",
	PutRules: "put-rules", DeleteRules: "delete-rules",
	TakeClaim: "take-claim", EndClaim: "end-claim",
	PutItems: "put-items", DeleteItems: "delete-items",
}

// String is the command's name.
func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return fmt.Sprintf("command %d", uint8(o))
}

// An entry of log 0 is who proposes it, which of its commands it is, and the command as JSON.
//
//	0               8               16
//	┌───────────────┬───────────────┬─────────
//	│ origin        │ number        │ command…
//	│ u64, LE       │ u64, LE       │ JSON
//	└───────────────┴───────────────┴─────────
const entryHeadLen = 16

// AppendEntry appends an entry; command is in JSON.
func AppendEntry(dst []byte, origin, number uint64, command []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, origin)
	dst = binary.LittleEndian.AppendUint64(dst, number)
	return append(dst, command...)
}

// ParseEntry takes an entry apart.
func ParseEntry(entry []byte) (origin, number uint64, c Command, err error) {
	if len(entry) < entryHeadLen {
		return 0, 0, c, fmt.Errorf("entry of %d bytes", len(entry))
	}
	if err := json.Unmarshal(entry[entryHeadLen:], &c); err != nil {
		return 0, 0, c, err
	}
	if !c.whole() {
		return 0, 0, c, fmt.Errorf("command %d lacks what it is about", c.Op)
	}
	return binary.LittleEndian.Uint64(entry), binary.LittleEndian.Uint64(entry[8:]), c, nil
}

// whole tells whether a command has what it is about: of one that was damaged on the way that cannot be
// taken for granted.
func (c *Command) whole() bool {
	switch c.Op {
	case CreateStream:
		return c.Stream != nil
	case CreateQueue:
		return c.Queue != nil && len(c.Shards) > 0
	case DeclareExchange:
		return c.Exchange != nil
	case Bind, Unbind:
		return c.Binding != nil
	case PutUser:
		return c.User != nil
	case StartNode, MarkNode, AnnounceNode, AddNode, SetNode, MoveNode:
		return c.Node != nil
	case TakeClaim, EndClaim:
		return c.Claim != nil
	}
	return true
}

// Describe is ParseEntry for a person: hashes of passwords are left out, and what is secret.
func Describe(entry []byte) (origin, number uint64, c Command, err error) {
	origin, number, c, err = ParseEntry(entry)
	if c.User != nil {
		c.User.Hash, c.User.SCRAM = nil, nil
	}
	for i := range c.Items {
		if c.Items[i].Secret {
			c.Items[i].Value = nil
		}
	}
	return origin, number, c, err
}

// Shown tells whether what stands under a key of log 0's checkpoint, of a kind as DescribeKey tells, is for
// whoever looks: a user's is the hash of a password.
func Shown(kind string, value []byte) bool {
	switch kind {
	case "user":
		return false
	case "item":
		var x Item
		return json.Unmarshal(value, &x) == nil && !x.Secret
	}
	return true
}

// DescribeKey says what a key of log 0's checkpoint is: the kind of thing, and its name
// with the namespace, "/" left out. false: it is none.
func DescribeKey(k []byte) (kind, name string, ok bool) {
	if len(k) == 0 {
		return "", "", false
	}
	kind, ok = map[byte]string{
		'a': "rule", 'b': "binding", 'c': "counters", 'e': "claim", 'i': "item", 'm': "node", 'n': "namespace", 'o': "origin", 'p': "placement", 'q': "queue", 's': "stream", 'u': "user", 'v': "view", 'x': "exchange",
	}[k[0]]
	name = string(k[1:])
	if ns, rest, paired := strings.Cut(name, "\x00"); paired && ns == "/" {
		name = rest
	}
	return kind, strings.ReplaceAll(name, "\x00", " "), ok
}
