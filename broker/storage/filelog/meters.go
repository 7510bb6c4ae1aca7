package filelog

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/telemetry"
)

// meters count what the engine does, for LogStats. Each is an addition or two for a group,
// a sync or a segment's append; none is for a message.
type meters struct {
	syncTime     telemetry.Histogram
	groupBytes   telemetry.Sizes
	groupEntries telemetry.Sizes
	segments     atomic.Uint64 // bytes
	pins         atomic.Pointer[[]storage.Pin]
}

// pin notes who needs which files. Caller is run, or open before it.
func (w *wal) pin() {
	var pins []storage.Pin
	for id, s := range w.shards {
		p := storage.Pin{Shard: id}
		for _, f := range w.files[:len(w.files)-1] { // the one that is written is needed anyway
			if last, holds := f.last[id]; p.Files > 0 || holds && last > s.released {
				p.Files++
				p.Bytes += uint64(f.size)
			}
		}
		if p.Files > 0 {
			pins = append(pins, p)
		}
	}
	slices.SortFunc(pins, func(a, b storage.Pin) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Shard, b.Shard))
	})
	w.meters.pins.Store(&pins)
}

// fill adds what the meters say.
func (m *meters) fill(s *storage.LogStats) {
	s.SyncTime, s.GroupBytes, s.GroupEntries = m.syncTime.Snapshot(), m.groupBytes.Snapshot(), m.groupEntries.Snapshot()
	s.SegmentBytes = m.segments.Load()
	if pins := m.pins.Load(); pins != nil {
		s.Pins = *pins
	}
}
