package kernel

import (
	"testing"

	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/recording"
)

// What waits behind a publish that is not committed is bounded, however small it is: the rest is left out, and counted.
func TestRecordWaitingIsBounded(t *testing.T) {
	var r recorders
	taken, lost := 0, 0
	r.change(func([]*Recorder) []*Recorder {
		return []*Recorder{{
			Meant: func(string, message.Protocol, string) bool { return true },
			Take: func(it *recording.Item) {
				if it == nil {
					lost++
					return
				}
				taken++
			},
		}}
	})
	st := &meta.Stream{}
	one := func() *recorded {
		x := r.ofBatch(st, 0, nil, 1, 0)
		x.placed()
		return x
	}
	stuck := one()
	const others = recordWaiting / recordedEach
	for range others {
		one().end(true)
	}
	if len(r.row) != others || taken+lost > 0 {
		t.Fatalf("%d wait, %d were told", len(r.row), taken+lost)
	}
	stuck.end(false)
	if taken != others-1 || lost != 1 || len(r.row) != 0 || r.bytes != 0 {
		t.Errorf("%d were told of and %d left out; %d are left, of %d bytes", taken, lost, len(r.row), r.bytes)
	}
	if one().end(true); taken != others {
		t.Error("there is no room again")
	}
}
