package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"

	"github.com/robustmq/rmq/broker/storage"
)

// An Inspector reads checkpoints.db for somebody who wants to know what is in it, and what
// is wrong with it. It goes by bbolt's file format and not by bbolt, for three reasons:
// bbolt locks the file, so that it cannot be read beside the broker that has it open; it
// panics over a damaged page, part of that on goroutines of its own; and it maps the file
// into memory, where one that gets shorter ends the process.
//
// The file is pages of equal size. Two meta pages, of which the newer one with a right
// checksum counts, lead to the root of a tree of buckets:
//
//	page   id u64 · flags u16 · count u16 · overflow u32: so many pages more belong to it
//	meta   magic u32 · version u32 · page size u32 · flags u32 · root u64 · sequence u64 ·
//	       freelist u64 · pages u64 · transaction u64 · FNV-1a of what is before
//	branch count × { position u32 · key length u32 · page u64 }
//	leaf   count × { flags u32 · position u32 · key length u32 · value length u32 }
//
// Positions are relative to the element. Flags of 1 mean a bucket: its value is root u64 and
// sequence u64, and when the root is 0 a page stands right behind. Integers are the
// machine's; little-endian on all that rmq runs on.
//
// Nothing is locked. While a broker saves, what is read may change: Changed tells.
type Inspector struct {
	file io.ReaderAt
	size int64
	at   boltMeta
	err  error // no meta page is whole, or the format is not ours
}

const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeaderLen   = 16
	branchElemLen   = 16
	leafElemLen     = 16
	bucketHeaderLen = 16
	metaLen         = 64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
	flagBucket   = 0x01 // of a leaf element

	noFreelist = 1<<64 - 1 // in place of its page: there is none

	// pageBytesMax bounds one page with what overflows from it: the largest value and the
	// keys beside it.
	pageBytesMax = storage.EntryBytesMax + 1<<20
	// depthMax bounds the height of a tree.
	depthMax = 64
)

type boltMeta struct {
	pageSize       int64
	root, freelist uint64
	pages, txid    uint64
}

// Inspect opens a file for inspection. The error is of reading; damage is told by Check and
// by the walks.
func Inspect(file io.ReaderAt, size int64) (*Inspector, error) {
	x := &Inspector{file: file, size: size}
	var err error
	if x.at, err = x.newest(); errors.Is(err, storage.ErrCorrupt) {
		x.err, err = err, nil
	}
	return x, err
}

// newest returns the meta page that counts.
func (x *Inspector) newest() (best boltMeta, err error) {
	// The second lies one page behind the first, whose size it may have to tell itself.
	found := false
	for _, at := range [...]int64{0, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		b := make([]byte, pageHeaderLen+metaLen)
		if at+int64(len(b)) > x.size {
			break
		}
		if n, err := x.file.ReadAt(b, at); n < len(b) {
			return best, err
		}
		m, ok := decodeMeta(b[pageHeaderLen:])
		if ok && (at == 0 || at == m.pageSize) && (!found || m.txid > best.txid) {
			best, found = m, true
		}
	}
	if !found {
		return best, fmt.Errorf("%w: neither of the two root pages is whole", storage.ErrCorrupt)
	}
	return best, nil
}

func decodeMeta(b []byte) (m boltMeta, ok bool) {
	le := binary.LittleEndian
	h := fnv.New64a()
	h.Write(b[:metaLen-8])
	if le.Uint32(b) != boltMagic || le.Uint32(b[4:]) != boltVersion || le.Uint64(b[56:]) != h.Sum64() {
		return m, false
	}
	m = boltMeta{
		pageSize: int64(le.Uint32(b[8:])), root: le.Uint64(b[16:]), freelist: le.Uint64(b[32:]),
		pages: le.Uint64(b[40:]), txid: le.Uint64(b[48:]),
	}
	return m, m.pageSize >= 512 && m.pageSize <= 64<<10 && m.pageSize&(m.pageSize-1) == 0
}

// Changed tells whether a transaction was committed since Inspect: what was read may then
// be of both sides of it.
func (x *Inspector) Changed() bool {
	now, err := x.newest()
	return err != nil || now.txid != x.at.txid
}

// Transaction is the number of the last transaction; PageSize and Pages are the file's.
func (x *Inspector) Transaction() uint64 { return x.at.txid }
func (x *Inspector) PageSize() int64     { return x.at.pageSize }
func (x *Inspector) Pages() uint64       { return x.at.pages }

// page reads a page with what overflows from it.
func (x *Inspector) page(id uint64) ([]byte, error) {
	if id >= x.at.pages || int64(id) > x.size/x.at.pageSize {
		return nil, fmt.Errorf("%w: page %d of %d", storage.ErrCorrupt, id, x.at.pages)
	}
	at := int64(id) * x.at.pageSize
	head := make([]byte, pageHeaderLen)
	if at+pageHeaderLen > x.size {
		return nil, fmt.Errorf("%w: page %d lies behind the end of the file", storage.ErrCorrupt, id)
	}
	if n, err := x.file.ReadAt(head, at); n < len(head) {
		return nil, err
	}
	le := binary.LittleEndian
	n := (int64(le.Uint32(head[12:])) + 1) * x.at.pageSize
	if le.Uint64(head) != id || n > pageBytesMax || at+n > x.size {
		return nil, fmt.Errorf("%w: page %d has a damaged head", storage.ErrCorrupt, id)
	}
	b := make([]byte, n)
	if got, err := x.file.ReadAt(b, at); got < len(b) {
		return nil, err
	}
	return b, nil
}

// element is one of a leaf page.
type element struct {
	bucket     bool
	key, value []byte
}

// node is a page taken apart: either leads to pages or holds elements.
type node struct {
	overflow uint32
	children []uint64
	keys     [][]byte // first key of each child
	elements []element
}

func decodeNode(b []byte) (n node, err error) {
	le := binary.LittleEndian
	if len(b) < pageHeaderLen {
		return n, fmt.Errorf("%w: page of %d bytes", storage.ErrCorrupt, len(b))
	}
	flags, count := le.Uint16(b[8:]), int(le.Uint16(b[10:]))
	n.overflow = le.Uint32(b[12:])
	room := uint64(len(b)) // elements do not overlap
	part := func(elem, pos, length uint64) ([]byte, bool) {
		from := elem + pos
		if from > uint64(len(b)) || length > uint64(len(b))-from || length > room {
			return nil, false
		}
		room -= length
		return b[from : from+length : from+length], true
	}
	bad := fmt.Errorf("%w: page %d has a damaged element", storage.ErrCorrupt, le.Uint64(b))
	switch flags {
	case flagBranch:
		if count == 0 || pageHeaderLen+count*branchElemLen > len(b) {
			return n, bad
		}
		for i := range count {
			at := pageHeaderLen + i*branchElemLen
			key, ok := part(uint64(at), uint64(le.Uint32(b[at:])), uint64(le.Uint32(b[at+4:])))
			if !ok {
				return n, bad
			}
			n.keys, n.children = append(n.keys, key), append(n.children, le.Uint64(b[at+8:]))
		}
	case flagLeaf:
		if pageHeaderLen+count*leafElemLen > len(b) {
			return n, bad
		}
		n.elements = make([]element, 0, count)
		for i := range count {
			at := pageHeaderLen + i*leafElemLen
			klen, vlen := uint64(le.Uint32(b[at+8:])), uint64(le.Uint32(b[at+12:]))
			kv, ok := part(uint64(at), uint64(le.Uint32(b[at+4:])), klen+vlen)
			if !ok {
				return n, bad
			}
			n.elements = append(n.elements, element{bucket: le.Uint32(b[at:])&flagBucket != 0, key: kv[:klen:klen], value: kv[klen:]})
		}
	default:
		return n, fmt.Errorf("%w: page %d is of kind %#x", storage.ErrCorrupt, le.Uint64(b), flags)
	}
	return n, nil
}

// tree is a bucket: a page with all below it, or one that stands within its parent's.
type tree struct {
	root   uint64
	inline []byte
}

func (e *element) tree() (tree, error) {
	if !e.bucket || len(e.value) < bucketHeaderLen {
		return tree{}, fmt.Errorf("%w: %q is not a bucket", storage.ErrCorrupt, e.key)
	}
	t := tree{root: binary.LittleEndian.Uint64(e.value)}
	if t.root == 0 {
		t.inline = e.value[bucketHeaderLen:]
	}
	return t, nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// walk calls f for the elements of a bucket in order, and damaged for each page that
// cannot be read, when it is given; without, that ends the walk. seen is told every page.
func (x *Inspector) walk(t tree, seen func(id uint64, overflow uint32) error, damaged func(error) error, f func(*element) error) error {
	if t.inline != nil {
		n, err := decodeNode(t.inline)
		if err != nil {
			return err
		}
		return each(n.elements, f)
	}
	if seen == nil { // no page is there twice
		left := x.size / x.at.pageSize
		seen = func(id uint64, _ uint32) error {
			if left--; left < 0 {
				return fmt.Errorf("%w: page %d leads back to itself", storage.ErrCorrupt, id)
			}
			return nil
		}
	}
	return x.walkPage(t.root, 0, seen, damaged, f)
}

func each(elements []element, f func(*element) error) error {
	for i := range elements {
		if err := f(&elements[i]); err != nil {
			return err
		}
	}
	return nil
}

func (x *Inspector) walkPage(id uint64, depth int, seen func(uint64, uint32) error, damaged func(error) error, f func(*element) error) error {
	b, err := x.page(id)
	var n node
	if err == nil {
		n, err = decodeNode(b)
	}
	if err == nil && depth > depthMax {
		err = fmt.Errorf("%w: page %d leads back to itself", storage.ErrCorrupt, id)
	}
	if err == nil && seen != nil {
		err = seen(id, n.overflow)
	}
	if err != nil {
		if damaged != nil && errors.Is(err, storage.ErrCorrupt) {
			return damaged(err)
		}
		return err
	}
	for _, c := range n.children {
		if err := x.walkPage(c, depth+1, seen, damaged, f); err != nil {
			return err
		}
	}
	return each(n.elements, f)
}

// find returns the element of a bucket with a key, or nil.
func (x *Inspector) find(t tree, key []byte) (found *element, err error) {
	err = x.walk(t, nil, nil, func(e *element) error {
		if bytes.Equal(e.key, key) {
			found = &element{e.bucket, bytes.Clone(e.key), bytes.Clone(e.value)}
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return found, err
}

// bucket finds a bucket by its path from the root.
func (x *Inspector) bucket(path ...[]byte) (t tree, ok bool, err error) {
	if x.err != nil {
		return t, false, x.err
	}
	t = tree{root: x.at.root}
	for _, name := range path {
		e, err := x.find(t, name)
		if err != nil || e == nil {
			return t, false, err
		}
		if t, err = e.tree(); err != nil {
			return t, false, err
		}
	}
	return t, true, nil
}

// Checkpoint is one shard's, as its description has it.
type Checkpoint struct {
	Shard storage.ShardID
	storage.CheckpointMeta
	Keys       uint32 // modulo 2³²
	Generation uint64
	Staged     bool  // changes wait to be folded in
	Err        error // the description is damaged or missing
}

// Checkpoints lists the shards that have one, or should.
func (x *Inspector) Checkpoints() ([]Checkpoint, error) {
	root, ok, err := x.bucket(rootBucket)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: no format", storage.ErrCorrupt)
	}
	var listed []storage.ShardID
	for _, key := range [...][]byte{formatKey, listKey} {
		e, err := x.find(root, key)
		switch {
		case err != nil:
			return nil, err
		case e == nil:
			return nil, fmt.Errorf("%w: no %s", storage.ErrCorrupt, key)
		case string(key) == string(formatKey) && len(e.value) >= 4 && binary.LittleEndian.Uint32(e.value) > format:
			return nil, fmt.Errorf("%w: format %d, this release reads up to %d", storage.ErrVersion, binary.LittleEndian.Uint32(e.value), format)
		case string(key) == string(listKey):
			if listed, err = decodeList(e.value); err != nil {
				return nil, err
			}
		}
	}
	shards, ok, err := x.bucket(shardsBucket)
	if err != nil || !ok {
		return nil, errors.Join(err, fmt.Errorf("%w: no shards", storage.ErrCorrupt))
	}
	var out []Checkpoint
	err = x.walk(shards, nil, nil, func(e *element) error {
		if len(e.key) != 4 || len(out) > shardsMax {
			return fmt.Errorf("%w: %q is not a shard", storage.ErrCorrupt, e.key)
		}
		c := Checkpoint{Shard: storage.ShardID(binary.BigEndian.Uint32(e.key))}
		t, err := e.tree()
		var about *element
		if err == nil {
			about, err = x.find(t, aboutKey)
		}
		_, isListed := slices.BinarySearch(listed, c.Shard)
		switch {
		case err != nil:
			c.Err = err
		case about == nil && !isListed: // its first checkpoint was being written
			return nil
		case about == nil:
			c.Err = fmt.Errorf("%w: the checkpoint is gone", storage.ErrCorrupt)
		default:
			d, err := decodeDescription(about.value)
			if c.CheckpointMeta, c.Keys, c.Generation, c.Staged = d.CheckpointMeta, d.keys, d.generation, d.staged; err != nil {
				c.Err = fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
			}
		}
		out = append(out, c)
		return nil
	})
	if err != nil {
		return out, err
	}
	for _, id := range listed {
		if !slices.ContainsFunc(out, func(c Checkpoint) bool { return c.Shard == id }) {
			out = append(out, Checkpoint{Shard: id, Err: fmt.Errorf("%w: the checkpoint is gone", storage.ErrCorrupt)})
		}
	}
	return out, nil
}

// shardsMax bounds the checkpoints that are listed.
const shardsMax = 1 << 16

// Key is one key of a checkpoint.
type Key struct {
	Key, Value []byte // valid until the next
	Staged     bool   // it is a change that waits to be folded in; a nil Value deletes the key
	Err        error  // the value does not have the checksum that it should have
}

// Keys calls f for the keys of a shard's checkpoint, in order: those of the current bucket,
// then staged ones. The error is why it ended early, or storage.ErrCorrupt when keys are
// missing or others than were written.
func (x *Inspector) Keys(shard storage.ShardID, f func(Key) bool) error {
	b, ok, err := x.bucket(shardsBucket, shardName(shard))
	if err != nil || !ok {
		return err
	}
	about, err := x.find(b, aboutKey)
	if err != nil {
		return err
	}
	if about == nil {
		return nil
	}
	d, err := decodeDescription(about.value)
	if err != nil {
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	var keys uint32
	var sum uint64
	var last []byte
	read := func(name []byte, staged bool) error {
		t, ok, err := x.bucket(shardsBucket, shardName(shard), name)
		if err != nil {
			return err
		}
		if !ok && (staged || d.generation == 0) {
			return nil
		}
		if !ok {
			return fmt.Errorf("%w: generation %d is missing", storage.ErrCorrupt, d.generation)
		}
		last = nil
		return x.walk(t, nil, nil, func(e *element) error {
			k := Key{Key: e.key, Staged: staged}
			if !staged || len(e.value) > 0 {
				k.Value, k.Err = decodeValue(e.key, e.value)
			}
			if last != nil && bytes.Compare(last, e.key) >= 0 {
				k.Err = fmt.Errorf("%w: out of order", storage.ErrCorrupt)
			}
			last = append(last[:0], e.key...)
			if !staged && len(e.value) >= crcLen {
				keys++
				sum += uint64(binary.LittleEndian.Uint32(e.value))
			}
			if !f(k) {
				return errStop
			}
			return nil
		})
	}
	err = read(dataName(d.generation), false)
	if err == nil && (keys != d.keys || sum != d.sum) {
		err = fmt.Errorf("%w: checkpoint of %d keys has %d, or others", storage.ErrCorrupt, d.keys, keys)
	}
	if err == nil && d.staged {
		err = read(stageBucket, true)
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return err
}

// Check looks at every page that the file is made of. It calls problem for each that is
// damaged, is used twice, or is neither used nor free, and for keys out of order; at most
// problemsMax times. The error is of reading.
func (x *Inspector) Check(problem func(error)) error {
	if x.err != nil {
		problem(x.err)
		return nil
	}
	told := 0
	say := func(err error) error {
		if told++; told > problemsMax {
			return errStop
		}
		problem(err)
		return nil
	}
	used := make(pageSet, min(x.at.pages, uint64(x.size/x.at.pageSize)+1)/64+1)
	if int64(x.at.pages) > x.size/x.at.pageSize || x.at.pages > 1<<40 {
		if err := say(fmt.Errorf("%w: %d pages of %d bytes in a file of %d", storage.ErrCorrupt, x.at.pages, x.at.pageSize, x.size)); err != nil {
			return nil
		}
	}
	use := func(id uint64, overflow uint32) error {
		for p := id; p <= id+uint64(overflow); p++ {
			if !used.add(p) {
				return fmt.Errorf("%w: page %d is used twice", storage.ErrCorrupt, p)
			}
		}
		return nil
	}
	_, _ = used.add(0), used.add(1)
	err := x.checkTree(tree{root: x.at.root}, 0, use, say)
	if err == nil {
		err = x.checkFree(used, say)
	}
	if err == nil {
		err = x.checkLost(used, say)
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// problemsMax bounds what Check tells.
const problemsMax = 100

func (x *Inspector) checkTree(t tree, depth int, use func(uint64, uint32) error, say func(error) error) error {
	if depth > 8 { // ours are three deep
		return say(fmt.Errorf("%w: buckets within buckets without end", storage.ErrCorrupt))
	}
	var last []byte
	return x.walk(t, use, say, func(e *element) error {
		if last != nil && bytes.Compare(last, e.key) >= 0 {
			if err := say(fmt.Errorf("%w: key %q is out of order", storage.ErrCorrupt, e.key[:min(len(e.key), 40)])); err != nil {
				return err
			}
		}
		last = append(last[:0], e.key...)
		if !e.bucket {
			return nil
		}
		sub, err := e.tree()
		if err == nil && t.inline != nil {
			err = fmt.Errorf("%w: a bucket within one that has no page", storage.ErrCorrupt)
		}
		if err != nil {
			return say(err)
		}
		err = x.checkTree(sub, depth+1, use, say)
		if errors.Is(err, storage.ErrCorrupt) { // within the parent's page
			err = say(err)
		}
		return err
	})
}

// checkFree compares the list of free pages with those that are used.
func (x *Inspector) checkFree(used pageSet, say func(error) error) error {
	if x.at.freelist == noFreelist {
		return nil
	}
	b, err := x.page(x.at.freelist)
	if err == nil && binary.LittleEndian.Uint16(b[8:]) != flagFreelist {
		err = fmt.Errorf("%w: page %d is not the list of free pages", storage.ErrCorrupt, x.at.freelist)
	}
	if err != nil {
		if errors.Is(err, storage.ErrCorrupt) {
			return say(err)
		}
		return err
	}
	le := binary.LittleEndian
	for i := range uint64(le.Uint32(b[12:])) + 1 {
		used.add(x.at.freelist + i)
	}
	count, list := uint64(le.Uint16(b[10:])), b[pageHeaderLen:]
	if count == 0xFFFF && len(list) >= 8 { // more than fit the field: the first is their number
		count, list = le.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		return say(fmt.Errorf("%w: the list of free pages is cut short", storage.ErrCorrupt))
	}
	for i := range count {
		if id := le.Uint64(list[8*i:]); id >= x.at.pages || !used.add(id) {
			if err := say(fmt.Errorf("%w: page %d is free, and used", storage.ErrCorrupt, id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLost looks for pages that are neither used nor free.
func (x *Inspector) checkLost(used pageSet, say func(error) error) error {
	if x.at.freelist == noFreelist {
		return nil
	}
	lost := 0
	for id := uint64(2); id < min(x.at.pages, uint64(len(used))*64); id++ {
		if used[id/64]&(1<<(id%64)) == 0 {
			lost++
		}
	}
	if lost > 0 {
		return say(fmt.Errorf("%w: %d pages are neither used nor free", storage.ErrCorrupt, lost))
	}
	return nil
}

// pageSet is a set of page numbers.
type pageSet []uint64

// add puts a page in; false: it was there, or is none.
func (s pageSet) add(id uint64) bool {
	if id/64 >= uint64(len(s)) || s[id/64]&(1<<(id%64)) != 0 {
		return false
	}
	s[id/64] |= 1 << (id % 64)
	return true
}
