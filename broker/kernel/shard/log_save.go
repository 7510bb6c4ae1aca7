package shard

import (
	"encoding/binary"
	"math"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// A log is saved in pieces, so that a checkpoint writes what has changed and no more: one
// message that is settled in a backlog of millions is one page. Behind 'l' and the log's id,
// in the order of their keys:
//
//	'h'              start, next, epoch: varints; address: a string; deleted: a byte
//	'i' producer id  epoch, last use, count: varints; then first, last and base of each batch
//	'p' page         base and references of each batch: uvarints; the base less the one
//	                 before, or less the page's first offset
//
// Numbers in keys are 8 bytes, big-endian. A page is there when a batch of it is referred to.
const (
	logHead     byte = 'h'
	logProducer byte = 'i'
	logPage     byte = 'p'

	// A page is the batches that begin in a range of so many offsets. At two bytes a batch,
	// one of single messages has 2 KiB, and ten million messages have ten thousand pages.
	livePageBits = 10
	livePageLen  = 1 << livePageBits
)

// logChanges is what changed of a log since the last checkpoint, besides its head.
type logChanges struct {
	producers btree.Set[int64] // ids
	pages     btree.Set[int64] // numbers: base offset >> livePageBits
}

func (l *Log) key(kind byte) []byte {
	return append(codec.Key([]byte{'l'}, l.ID), kind)
}

// save passes the log's pairs to put: all, or the head and what has changed, where nil says
// that the key is gone. It ends when put says so, and returns what that said last.
func (l *Log) save(full bool, put func(k, v []byte) bool) bool {
	ok := put(l.key(logHead), l.encodeHead())
	window := func(id int64) bool {
		var v []byte
		if p, there := l.producers.Get(id); there {
			v = p.encode()
		}
		ok = ok && put(codec.Key(l.key(logProducer), uint64(id)), v)
		return ok
	}
	page := func(n int64) bool {
		ok = ok && put(codec.Key(l.key(logPage), uint64(n)), l.encodePage(n))
		return ok
	}
	if !full {
		l.changed.producers.Scan(window)
		l.changed.pages.Scan(page)
		return ok
	}
	l.producers.Scan(func(id int64, _ *producer) bool { return window(id) })
	for n, more := l.pageFrom(0); more && page(n); {
		n, more = l.pageFrom((n + 1) << livePageBits)
	}
	return ok
}

// pageFrom is the page of the first batch at or behind an offset that something refers to.
func (l *Log) pageFrom(offset int64) (n int64, ok bool) {
	l.live.Ascend(offset, func(base int64, _ int32) bool {
		n, ok = base>>livePageBits, true
		return false
	})
	return n, ok
}

func (l *Log) encodeHead() []byte {
	d := codec.Int(nil, l.Start)
	d = codec.Int(d, l.Next)
	d = codec.Int(d, int64(l.Epoch))
	d = codec.String(d, l.Address)
	return codec.Bool(d, l.Deleted)
}

func (p *producer) encode() []byte {
	d := codec.Int(nil, int64(p.epoch))
	d = codec.Int(d, p.lastUse)
	d = codec.Uint(d, uint64(p.n))
	for _, w := range p.batches[:p.n] {
		d = codec.Int(codec.Int(codec.Int(d, int64(w.first)), int64(w.last)), w.base)
	}
	return d
}

// encodePage returns a page's batches, or nil when it has none.
func (l *Log) encodePage(n int64) (d []byte) {
	prev := n << livePageBits
	l.live.Ascend(prev, func(base int64, refs int32) bool {
		if base>>livePageBits != n {
			return false
		}
		d = codec.Uint(codec.Uint(d, uint64(base-prev)), uint64(refs))
		prev = base
		return true
	})
	return d
}

// restoreLog reads one piece of a log. Its head comes first.
func (m *Machine) restoreLog(k, v []byte) error {
	if len(k) < 9 {
		return codec.ErrShort
	}
	id, kind, rest := binary.BigEndian.Uint64(k), k[8], k[9:]
	if kind == logHead && len(rest) == 0 {
		l, err := decodeLogHead(id, v)
		if err == nil {
			l.gen = m.gen
			m.logs.Set(id, l)
		}
		return err
	}
	l, there := m.logs.Get(id)
	if !there || len(rest) != 8 {
		return codec.ErrShort
	}
	switch n := int64(binary.BigEndian.Uint64(rest)); kind {
	case logProducer:
		p, err := decodeProducer(v)
		if err == nil {
			l.producers.Set(n, p)
		}
		return err
	case logPage:
		return l.decodePage(n, v)
	}
	return codec.ErrShort
}

func decodeLogHead(id uint64, v []byte) (*Log, error) {
	r := codec.NewReader(v)
	l := &Log{ID: id, Start: r.Int(), Next: r.Int(), Epoch: int32(r.Int()), Address: r.String(), Deleted: r.Bool()}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return l, canonical(l.encodeHead(), v)
}

func decodeProducer(v []byte) (*producer, error) {
	r := codec.NewReader(v)
	p := &producer{epoch: int16(r.Int()), lastUse: r.Int(), n: r.Count()}
	if p.n < 1 || p.n > producerBatches {
		return nil, codec.ErrShort
	}
	for i := range p.n {
		p.batches[i] = producedBatch{int32(r.Int()), int32(r.Int()), r.Int()}
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return p, canonical(p.encode(), v)
}

func (l *Log) decodePage(n int64, v []byte) error {
	if n < 0 || n > math.MaxInt64>>livePageBits || len(v) == 0 {
		return codec.ErrShort
	}
	r := codec.NewReader(v)
	for base := n << livePageBits; r.Len() > 0; {
		step, refs := r.Uint(), int32(r.Uint())
		if step >= livePageLen || refs < 1 {
			return codec.ErrShort
		}
		base += int64(step)
		l.live.Load(base, refs) // pages come in order, and so do their batches
	}
	if err := r.Done(); err != nil {
		return err
	}
	return canonical(l.encodePage(n), v)
}

// canonical refuses what no machine has written: equal states have equal checkpoints.
func canonical(again, v []byte) error {
	if string(again) != string(v) {
		return codec.ErrShort
	}
	return nil
}
