package kernel

import (
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// noSegment is the segment of a log that is in memory alone: it holds nothing, and is never
// written to, since nothing of such a shard is ever flushed.
type noSegment struct{}

var _ storage.Segment = noSegment{}

func (noSegment) Append(...[]byte) error {
	return fault.New(fault.Internal, "append", "segment", "the log is in memory")
}
func (noSegment) Sync() error                     { return nil }
func (noSegment) Read(int64, int) ([]byte, error) { return nil, nil }
func (noSegment) SizeFrom(int64) (int64, error)   { return 0, nil }
func (noSegment) LastBytes(int64) (int64, error)  { return 0, nil }
func (noSegment) Start() int64                    { return 0 }
func (noSegment) End() int64                      { return 0 }
func (noSegment) Size() int64                     { return 0 }
func (noSegment) TruncateTo(int64) error          { return nil }
func (noSegment) DropBefore(int64) error          { return nil }
func (noSegment) SetFileBytes(int64)              {}
func (noSegment) Roll() error                     { return nil }
func (noSegment) Bounds() []int64                 { return nil }
func (noSegment) Close() error                    { return nil }
func (noSegment) OffsetForTime(_, _ int64) (base, latest int64, ok bool, err error) {
	return 0, 0, false, nil
}
func (noSegment) Rewrite(_, _ int64, _ func([]byte) ([]byte, error)) (bool, error) {
	return false, nil
}
