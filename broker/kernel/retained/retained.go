// Package retained remembers the last retained message of each address.
//
// A Store maps (namespace, address) to where the message rests, and answers which
// addresses match an MQTT filter. It is state of a shard's machine: it reads no clock,
// has one owner at a time, and forks in constant time by copy on write. The messages
// themselves are in the shard's logs; who owns the Store counts the references that
// Set, Delete and Expire hand back.
//
// Addresses are kept in byte order in one tree. A filter is answered by leaping: from an
// address that does not match to the first one after it that could, so that a/+/temp
// over a million addresses below a/ visits two per device, not all of them. Every scan is
// bounded in what it returns and in what it visits, and goes on from a cursor.
package retained

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
)

// Max bounds the retained messages of one shard; beyond it Set is refused with
// fault.Exhausted.
const Max = 10_000_000

// Ref says where a retained message rests and until when it holds.
type Ref struct {
	Log       uint64
	Offset    int64
	ExpiresAt int64 // ms; 0: never
}

// Store holds the retained messages of one shard. Not safe for concurrent use; forks are
// independent of each other.
type Store struct {
	refs   btree.Map[string, Ref]
	expiry btree.Set[string] // 8 bytes of time, big-endian, then the key, of those that expire
	dirty  btree.Set[string] // keys changed since the last Changes
	limit  int
}

// New returns an empty store.
func New() *Store { return &Store{limit: Max} }

// Fork returns an independent copy, in constant time. What has changed stays with s.
func (s *Store) Fork() *Store {
	return &Store{refs: *s.refs.Copy(), expiry: *s.expiry.Copy(), limit: s.limit}
}

// keyOf joins namespace and address. Neither holds a NUL.
func keyOf(ns, address string) string { return ns + "\x00" + address }

// Len is the number of retained messages.
func (s *Store) Len() int { return s.refs.Len() }

// Get returns the retained message of an address.
func (s *Store) Get(ns, address string) (Ref, bool) { return s.refs.Get(keyOf(ns, address)) }

// Set makes a message the retained one of an address, and returns the one that it
// replaces.
func (s *Store) Set(ns, address string, log uint64, offset, expiresAt int64) (old Ref, had bool, err error) {
	key := keyOf(ns, address)
	if s.refs.Len() >= s.limit {
		if _, ok := s.refs.Get(key); !ok {
			return Ref{}, false, fault.New(fault.Exhausted, "retain", address, "the shard retains %d messages", s.limit)
		}
	}
	old, had = s.put(key, Ref{log, offset, expiresAt})
	s.dirty.Insert(key)
	return old, had, nil
}

func (s *Store) put(key string, r Ref) (old Ref, had bool) {
	old, had = s.refs.Set(key, r)
	if had && old.ExpiresAt != 0 && old.ExpiresAt != r.ExpiresAt {
		s.expiry.Delete(deadline(old.ExpiresAt, key))
	}
	if r.ExpiresAt != 0 {
		s.expiry.Insert(deadline(r.ExpiresAt, key))
	}
	return old, had
}

// Delete forgets the retained message of an address, and returns it.
func (s *Store) Delete(ns, address string) (old Ref, had bool) {
	return s.remove(keyOf(ns, address))
}

func (s *Store) remove(key string) (old Ref, had bool) {
	if old, had = s.refs.Delete(key); had {
		s.dirty.Insert(key)
		if old.ExpiresAt != 0 {
			s.expiry.Delete(deadline(old.ExpiresAt, key))
		}
	}
	return old, had
}

// ---- expiry ----

func deadline(at int64, key string) string {
	b := make([]byte, 0, 8+len(key))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	return string(append(b, key...))
}

// NextExpiry is when the next message expires, in ms; 0: none will.
func (s *Store) NextExpiry() int64 {
	first, ok := s.expiry.Min()
	if !ok {
		return 0
	}
	return int64(binary.BigEndian.Uint64([]byte(first)))
}

// Next is the address of the next message that expires; "" when none will.
func (s *Store) Next() (ns, address string) {
	first, ok := s.expiry.Min()
	if !ok {
		return "", ""
	}
	ns, address, _ = strings.Cut(first[8:], "\x00")
	return ns, address
}

// Expiring is how many messages expire at some time.
func (s *Store) Expiring() int { return s.expiry.Len() }

// Expire forgets at most limit messages that expire at now or before, in the order of
// their times, tells gone of each, and returns how many they were.
func (s *Store) Expire(now int64, limit int, gone func(ns, address string, old Ref)) int {
	n := 0
	for ; n < limit; n++ {
		first, ok := s.expiry.Min()
		if !ok || int64(binary.BigEndian.Uint64([]byte(first))) > now {
			break
		}
		key := first[8:]
		old, _ := s.remove(key)
		ns, address, _ := strings.Cut(key, "\x00")
		gone(ns, address, old)
	}
	return n
}

// ---- scan ----

// VisitMax bounds the addresses that one Scan looks at.
const VisitMax = 10_000

// Scan yields, in byte order, the addresses of a namespace after the address after (""
// from the first) that match an MQTT filter: at most limit of them. more says that it
// stopped before the end, at the address next, which is to be handed in as after. It may
// have found nothing and yet stopped, since it looks at no more than VisitMax addresses.
//
// A wildcard at the first level does not match an address under a $-root (MQTT5-4.7.2-1). "", which is no filter,
// matches all.
func (s *Store) Scan(ns, filter, after string, limit int, yield func(address string, r Ref) bool) (next string, more bool) {
	root := keyOf(ns, "")
	levels := strings.Split(filter, "/")
	it := s.refs.Iter()
	start := root + after
	if after != "" {
		start += "\x00" // the first string after it
	}
	ok := it.Seek(start)
	for visits := 0; ok; visits++ {
		key := it.Key()
		if len(key) < len(root) || key[:len(root)] != root {
			return "", false
		}
		address := key[len(root):]
		if limit == 0 || visits == VisitMax {
			return next, true
		}
		next = address
		matches, leap := true, ""
		if filter != "" {
			matches, leap = examine(levels, address)
		}
		if matches {
			limit--
			if !yield(address, it.Value()) {
				return next, true
			}
		}
		switch leap {
		case "":
			ok = it.Next()
		case pastAll:
			return "", false
		default:
			ok = it.Seek(root + leap)
		}
	}
	return "", false
}

// pastAll is after every address.
const pastAll = "\xff"

// afterSlash and afterDollar are the characters after those two: P+"0" is the first
// string after all that begin with P+"/".
const (
	afterSlash  = "0"
	afterDollar = "%"
)

// examine tells whether an address matches a filter and, when it can tell, the first
// string after it that an address that matches can be; "" when that is the next one.
func examine(filter []string, address string) (matches bool, leap string) {
	pos := 0 // where the level begins; beyond the end when there is none
	for i, want := range filter {
		if i == 0 && (want == "+" || want == "#") && strings.HasPrefix(address, "$") {
			return false, afterDollar
		}
		if want == "#" {
			return true, ""
		}
		if pos > len(address) {
			return false, ""
		}
		end := len(address)
		if n := strings.IndexByte(address[pos:], '/'); n >= 0 {
			end = pos + n
		}
		if want != "+" && address[pos:end] != want {
			return false, leapTo(address[:pos], want, address)
		}
		pos = end + 1
	}
	if pos > len(address) {
		return true, ""
	}
	return false, address[:pos-1] + afterSlash // deeper than the filter
}

// leapTo finds where below prefix, which ends a level or is empty, an address could have
// want as its next level, after address, which has another.
func leapTo(prefix, want, address string) string {
	at := prefix + want
	switch {
	case address < at:
		return at
	case address < at+"/":
		return at + "/" // at itself is behind us, what is below it is not
	case prefix == "":
		return pastAll
	}
	return prefix[:len(prefix)-1] + afterSlash
}

// ---- checkpoints ----

// Changes returns the keys set or deleted since the last call, in order, and forgets them.
func (s *Store) Changes() []string {
	keys := s.dirty.Keys()
	s.dirty = btree.Set[string]{}
	return keys
}

// Encode yields the checkpoint pairs of keys; a nil value says that the key is gone. With
// nil keys it yields everything: the canonical encoding of the state.
func (s *Store) Encode(keys []string) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		if keys == nil {
			s.refs.Scan(func(key string, r Ref) bool { return yield([]byte(key), r.encode()) })
			return
		}
		for _, key := range keys {
			var value []byte
			if r, ok := s.refs.Get(key); ok {
				value = r.encode()
			}
			if !yield([]byte(key), value) {
				return
			}
		}
	}
}

func (r Ref) encode() []byte {
	b := codec.Uint(make([]byte, 0, 24), r.Log)
	return codec.Int(codec.Int(b, r.Offset), r.ExpiresAt)
}

// Restore reads one pair of a checkpoint into a store that is being filled.
func (s *Store) Restore(key, value []byte) error {
	r := codec.NewReader(value)
	ref := Ref{r.Uint(), r.Int(), r.Int()}
	if err := r.Done(); err != nil {
		return fault.New(fault.Internal, "restore", "retained", "key %q: %w", key, err)
	}
	s.put(string(key), ref)
	return nil
}
