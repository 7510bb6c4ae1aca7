package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/robustmq/rmq/broker/storage"
)

// Load reads the shard's entries from where Open found them. Files that hold them stay
// until they are released, so they are all there.
func (w *wal) Load(id storage.ShardID) (storage.Loaded, error) {
	w.mu.Lock()
	r, known := w.recovered[id]
	closed := w.closed
	w.mu.Unlock()
	switch {
	case closed:
		return storage.Loaded{}, storage.ErrClosed
	case !known:
		return storage.Loaded{}, nil
	case r == nil:
		return storage.Loaded{}, fmt.Errorf("filelog: shard %d loaded after its first append", id)
	}
	entries := make([]storage.Entry, 0, len(r.entries))
	for places := r.entries; len(places) > 0; {
		n := slices.IndexFunc(places, func(p place) bool { return p.file != places[0].file })
		if n < 0 {
			n = len(places)
		}
		var err error
		if entries, err = w.loadFrom(places[0].file, places[:n], entries); err != nil {
			return storage.Loaded{}, err
		}
		places = places[n:]
	}
	return storage.Loaded{Hard: r.hard, Entries: entries, Once: r.once}, nil
}

// loadFrom appends the entries at places, all in one file.
func (w *wal) loadFrom(f *walFile, places []place, entries []storage.Entry) (_ []storage.Entry, err error) {
	file, err := w.fs.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	s := newScanner(file, f.size)
	for _, p := range places {
		b, err := s.Bytes(p.off, int(p.length))
		if err != nil {
			return nil, err
		}
		le := binary.LittleEndian
		if op(b[12]) != opEntry || le.Uint64(b[16:]) != p.index {
			return nil, fmt.Errorf("%w: entry %d at byte %d of %s has changed since open", storage.ErrCorrupt, p.index, p.off, f.path)
		}
		entries = append(entries, storage.Entry{
			Index: p.index, Term: le.Uint64(b[24:]), Kind: b[13],
			Data: append([]byte{}, b[recordLen:]...),
		})
	}
	return entries, nil
}
