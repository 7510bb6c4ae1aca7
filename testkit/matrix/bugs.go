package matrix

import (
	"path/filepath"
	"strings"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// Bug is a mistake that a storage engine, or a kernel, could make. It is put into the seams
// between them and nowhere into either.
type Bug struct {
	Name string
	Options
}

// Bugs are those that the crash matrix must see.
func Bugs() []Bug {
	return []Bug{
		{"an acknowledgement before the sync", Options{Wrap: func(e storage.Engine) storage.Engine {
			return engine{Engine: e, log: hasty{e.Log()}}
		}}},
		{"a sync of the log left out", Options{Skip: butFirst(func(op vfs.Op) bool {
			return op.Kind == vfs.OpSync && inDir(op.Path, "wal")
		})}},
		{"a sync of the log's directory left out", Options{Skip: func(op vfs.Op) bool {
			return op.Kind == vfs.OpSyncDir && filepath.Base(op.Path) == "wal"
		}}},
		{"a sync of segments' directories left out", Options{Skip: func(op vfs.Op) bool {
			return op.Kind == vfs.OpSyncDir && inDir(op.Path+"/", "segments")
		}}},
		{"the log let go of before segments are synced", Options{Wrap: func(e storage.Engine) storage.Engine {
			return engine{Engine: e, log: e.Log(), segments: lazy{e.Segments()}}
		}}},
		{"the log let go of before the checkpoint", Options{Wrap: func(e storage.Engine) storage.Engine {
			return engine{Engine: e, log: &forgetful{Log: e.Log()}}
		}}},
	}
}

// butFirst lets the first sync of a file pass: that of its header.
func butFirst(skip func(vfs.Op) bool) func(vfs.Op) bool {
	seen := make(map[string]bool)
	return func(op vfs.Op) bool {
		if !skip(op) {
			return false
		}
		again := seen[op.Path]
		seen[op.Path] = true
		return again
	}
}

func inDir(path, dir string) bool { return strings.Contains(filepath.ToSlash(path), "/"+dir+"/") }

// engine is an engine with parts replaced.
type engine struct {
	storage.Engine
	log      storage.Log
	segments storage.Segments // nil: the engine's own
}

func (e engine) Log() storage.Log { return e.log }

func (e engine) Segments() storage.Segments {
	if e.segments != nil {
		return e.segments
	}
	return e.Engine.Segments()
}

// hasty says that a write is done when it has only been handed over.
type hasty struct{ storage.Log }

func (h hasty) Append(w storage.Write) error {
	done := w.Done
	w.Done = nil
	err := h.Log.Append(w)
	if err == nil && done != nil {
		done(nil)
	}
	return err
}

// lazy syncs no segment.
type lazy struct{ storage.Segments }

func (l lazy) Open(id storage.LogID) (storage.Segment, error) {
	s, err := l.Segments.Open(id)
	if err != nil {
		return nil, err
	}
	return lazySegment{s}, nil
}

type lazySegment struct{ storage.Segment }

func (lazySegment) Sync() error { return nil }

// forgetful lets go of entries as soon as they are written.
type forgetful struct{ storage.Log }

func (f *forgetful) Append(w storage.Write) error {
	done := w.Done
	if n := len(w.Entries); n > 0 && done != nil {
		last := w.Entries[n-1].Index
		w.Done = func(err error) {
			f.Log.Release(w.Shard, last)
			done(err)
		}
	}
	return f.Log.Append(w)
}
