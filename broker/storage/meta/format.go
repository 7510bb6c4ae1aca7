package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/robustmq/rmq/broker/storage"
)

// In the file, integers big-endian where they are keys, so that they sort, and
// little-endian elsewhere:
//
//	rmq/                  bucket
//	  format              u32: the format of all the rest, read first. 1, and 2 from the first
//	                      description on that a reader of 1 would not understand
//	  store               u64, crc-ed as a value is: of which data directory the file is. Not
//	                      there in files of early releases
//	  shards              crc u32, and the u32 of each shard that has a checkpoint, in
//	                      order: so one that vanished is noticed
//	shards/               bucket
//	  SHARD u32/          bucket, one per shard
//	    about             what the checkpoint is: see description
//	    d GENERATION u64/ bucket: the checkpoint's keys; each value is crc u32 and the
//	                      value, where crc is CRC-32C over key and value
//	    s/                bucket: staged changes, in the same form; an empty value
//	                      deletes the key
const (
	formatVoters  = 1 // descriptions name voters alone
	formatMembers = 2
	format        = formatMembers // the newest
)

var (
	rootBucket   = []byte("rmq")
	formatKey    = []byte("format")
	listKey      = []byte("shards")
	storeKey     = []byte("store")
	shardsBucket = []byte("shards")
	aboutKey     = []byte("about")
	stageBucket  = []byte("s")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

const crcLen = 4

func writeFormat(tx *bbolt.Tx, store uint64) error {
	root, err := tx.CreateBucket(rootBucket)
	if err != nil {
		return err
	}
	if store != 0 {
		if err := root.Put(storeKey, encodeValue(storeKey, binary.LittleEndian.AppendUint64(nil, store))); err != nil {
			return err
		}
	}
	if _, err := tx.CreateBucket(shardsBucket); err != nil {
		return err
	}
	if err := root.Put(listKey, encodeList(nil)); err != nil {
		return err
	}
	return root.Put(formatKey, binary.LittleEndian.AppendUint32(nil, formatVoters))
}

func checkFormat(tx *bbolt.Tx) error {
	root := tx.Bucket(rootBucket)
	if root == nil {
		return fmt.Errorf("%w: no format", storage.ErrCorrupt)
	}
	b := root.Get(formatKey)
	if len(b) < 4 {
		return fmt.Errorf("%w: no format", storage.ErrCorrupt)
	}
	switch v := binary.LittleEndian.Uint32(b); {
	case v > format:
		return fmt.Errorf("%w: format %d, this release reads up to %d", storage.ErrVersion, v, format)
	case v == 0 || tx.Bucket(shardsBucket) == nil:
		return fmt.Errorf("%w: format %d without shards", storage.ErrCorrupt, v)
	}
	return nil
}

// description is what a checkpoint is, besides its keys: 48 bytes and 8 for each voter, and behind
// those, if there are members of another kind, 12 bytes and 8 for each of them.
//
//	0       4       8               16              24              32              40      44     48
//	┌───────┬───────┬───────────────┬───────────────┬───────────────┬───────────────┬───────┬──────┬─ ─ ─
//	│ crc   │ keys  │ sum           │ generation    │ index         │ term          │staged │voters│ u64…
//	│ u32   │ (low) │ u64           │ u64           │ u64           │ u64           │ u32   │ u32  │
//	└───────┴───────┴───────────────┴───────────────┴───────────────┴───────────────┴───────┴──────┴─ ─ ─
//
//	voters u64… │ outgoing u32 │ learners u32 │ next u32 │ outgoing u64… │ learners u64… │ next u64…
//
// crc is CRC-32C over the rest. sum is the sum of all values' crcs, and keys their number
// modulo 2³²: a key that vanished is noticed. staged is 1 while changes in the bucket s
// belong to the checkpoint.
type description struct {
	storage.CheckpointMeta
	keys       uint32
	sum        uint64
	generation uint64 // of the current data bucket; 0: there is none
	staged     bool
}

const descriptionLen = 48

func (d *description) encode() []byte {
	m := &d.Members
	b := make([]byte, descriptionLen, descriptionLen+8*len(m.Voters))
	le := binary.LittleEndian
	le.PutUint32(b[4:], d.keys)
	le.PutUint64(b[8:], d.sum)
	le.PutUint64(b[16:], d.generation)
	le.PutUint64(b[24:], d.Index)
	le.PutUint64(b[32:], d.Term)
	if d.staged {
		le.PutUint32(b[40:], 1)
	}
	le.PutUint32(b[44:], uint32(len(m.Voters)))
	b = appendNodes(b, m.Voters)
	if d.format() == formatMembers {
		for _, set := range [...][]uint64{m.Outgoing, m.Learners, m.Next} {
			b = le.AppendUint32(b, uint32(len(set)))
		}
		b = appendNodes(appendNodes(appendNodes(b, m.Outgoing), m.Learners), m.Next)
	}
	le.PutUint32(b, crc32.Checksum(b[crcLen:], castagnoli))
	return b
}

// format is the first one that says all of the description.
func (d *description) format() uint32 {
	if m := &d.Members; len(m.Outgoing)+len(m.Learners)+len(m.Next) > 0 {
		return formatMembers
	}
	return formatVoters
}

func appendNodes(b []byte, nodes []uint64) []byte {
	for _, n := range nodes {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// takeNodes takes as many nodes as n says off the front of b; false: there are not so many.
func takeNodes(b *[]byte, n uint32) (nodes []uint64, ok bool) {
	if uint64(n)*8 > uint64(len(*b)) {
		return nil, false
	}
	for range n {
		nodes = append(nodes, binary.LittleEndian.Uint64(*b))
		*b = (*b)[8:]
	}
	return nodes, true
}

var errDescription = errors.New("damaged description")

func decodeDescription(b []byte) (d description, err error) {
	le := binary.LittleEndian
	if len(b) < descriptionLen || crc32.Checksum(b[crcLen:], castagnoli) != le.Uint32(b) {
		return d, errDescription
	}
	d.keys, d.sum, d.generation = le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:])
	d.Index, d.Term = le.Uint64(b[24:]), le.Uint64(b[32:])
	d.staged = le.Uint32(b[40:]) == 1
	m, rest := &d.Members, b[descriptionLen:]
	ok := false
	if m.Voters, ok = takeNodes(&rest, le.Uint32(b[44:])); !ok {
		return d, errDescription
	}
	if len(rest) == 0 {
		return d, nil
	}
	if len(rest) < 3*4 {
		return d, errDescription
	}
	counts := rest
	rest = rest[3*4:]
	for i, set := range [...]*[]uint64{&m.Outgoing, &m.Learners, &m.Next} {
		if *set, ok = takeNodes(&rest, le.Uint32(counts[4*i:])); !ok {
			return d, errDescription
		}
	}
	if len(rest) > 0 {
		return d, errDescription
	}
	return d, nil
}

// apply changes a key of the current data bucket, and the sums. v is encoded; empty
// deletes.
func (d *description) apply(b *bbolt.Bucket, key, v []byte) error {
	if old := b.Get(key); old != nil {
		if len(old) < crcLen {
			return fmt.Errorf("%w: value of %d bytes", storage.ErrCorrupt, len(old))
		}
		d.keys--
		d.sum -= uint64(binary.LittleEndian.Uint32(old))
	}
	if len(v) == 0 {
		return b.Delete(key)
	}
	d.keys++
	d.sum += uint64(binary.LittleEndian.Uint32(v))
	return b.Put(key, v)
}

func valueCRC(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// encodeValue returns what is stored for a key; empty for a nil value, which deletes.
func encodeValue(key, value []byte) []byte {
	if value == nil {
		return nil
	}
	b := make([]byte, crcLen, crcLen+len(value))
	binary.LittleEndian.PutUint32(b, valueCRC(key, value))
	return append(b, value...)
}

// decodeValue returns the value within v. It aliases v.
func decodeValue(key, v []byte) ([]byte, error) {
	if len(v) < crcLen || valueCRC(key, v[crcLen:]) != binary.LittleEndian.Uint32(v) {
		return nil, fmt.Errorf("%w: checkpoint key %q: bad checksum", storage.ErrCorrupt, key[:min(len(key), 40)])
	}
	return v[crcLen:], nil
}

func shardName(id storage.ShardID) []byte { return binary.BigEndian.AppendUint32(nil, uint32(id)) }

func dataName(generation uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'d'}, generation)
}

// shardBucket returns the shard's bucket, or nil, and its description.
func shardBucket(tx *bbolt.Tx, id storage.ShardID) (*bbolt.Bucket, description, error) {
	list, err := readList(tx)
	all := tx.Bucket(shardsBucket)
	if err == nil && all == nil {
		err = fmt.Errorf("%w: no shards", storage.ErrCorrupt)
	}
	if err != nil {
		return nil, description{}, err
	}
	var about []byte
	b := all.Bucket(shardName(id))
	if b != nil {
		about = b.Get(aboutKey)
	}
	_, listed := slices.BinarySearch(list, id)
	switch {
	case listed && about == nil:
		return nil, description{}, fmt.Errorf("%w: the checkpoint of shard %d is gone", storage.ErrCorrupt, id)
	case about == nil: // none; or the first one was being written in chunks
		return b, description{}, nil
	}
	d, err := decodeDescription(about)
	if err != nil {
		return nil, d, fmt.Errorf("%w: shard %d: %w", storage.ErrCorrupt, id, err)
	}
	return b, d, nil
}

// describe writes the description, and lists the shard. The file is of the description's format
// from then on, if that is newer.
func describe(tx *bbolt.Tx, id storage.ShardID, b *bbolt.Bucket, d description) error {
	list, err := readList(tx)
	if err != nil {
		return err
	}
	if i, listed := slices.BinarySearch(list, id); !listed {
		if err := tx.Bucket(rootBucket).Put(listKey, encodeList(slices.Insert(list, i, id))); err != nil {
			return err
		}
	}
	if d.format() > formatVoters { // who reads no more than that is to say so, and not that it is damaged
		if err := tx.Bucket(rootBucket).Put(formatKey, binary.LittleEndian.AppendUint32(nil, d.format())); err != nil {
			return err
		}
	}
	return b.Put(aboutKey, d.encode())
}

func readList(tx *bbolt.Tx) ([]storage.ShardID, error) {
	var b []byte
	if root := tx.Bucket(rootBucket); root != nil {
		b = root.Get(listKey)
	}
	return decodeList(b)
}

func decodeList(b []byte) ([]storage.ShardID, error) {
	if len(b)%4 != 0 || len(b) < crcLen || crc32.Checksum(b[crcLen:], castagnoli) != binary.LittleEndian.Uint32(b) {
		return nil, fmt.Errorf("%w: damaged list of shards", storage.ErrCorrupt)
	}
	var list []storage.ShardID
	for b = b[crcLen:]; len(b) > 0; b = b[4:] {
		list = append(list, storage.ShardID(binary.LittleEndian.Uint32(b)))
	}
	return list, nil
}

func encodeList(list []storage.ShardID) []byte {
	b := make([]byte, crcLen)
	for _, id := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[crcLen:], castagnoli))
	return b
}

// data returns the current data bucket.
func (d *description) data(b *bbolt.Bucket) (*bbolt.Bucket, error) {
	data := b.Bucket(dataName(d.generation))
	if data == nil {
		return nil, fmt.Errorf("%w: generation %d is missing", storage.ErrCorrupt, d.generation)
	}
	return data, nil
}
