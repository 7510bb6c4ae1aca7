package admin

import (
	"io"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/recording"
)

// What nothing could ever match is no recording that stays empty.
func TestRecordRefuses(t *testing.T) {
	for _, q := range []adminapi.RecordQuery{{Filter: "a/#/b"}, {Filter: "a+"}, {Protocol: "MQTT"}, {Protocol: "http"}} {
		if err := new(Source).Record(t.Context(), q, io.Discard); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// Who records slowly is not waited for: what does not fit is left out, counted where it is missing, and what comes
// once there is room again is not.
func TestRecordBehind(t *testing.T) {
	row := &recordRow{more: make(chan struct{}, 1)}
	big := &recording.Item{Batch: make([]byte, recordBehind/2)}
	small := &recording.Item{Batch: make([]byte, 10)}
	for _, it := range []*recording.Item{big, big, small, small, nil} {
		row.take(it)
	}
	got := row.all()
	if len(got) != 3 || got[0].item != big || got[1].item != big || got[2].item != nil || got[2].left != 3 {
		t.Fatalf("in the row are %+v", got)
	}
	row.take(small)
	row.take(nil)
	if got = row.all(); len(got) != 2 || got[0].item != small || got[1].left != 4 {
		t.Errorf("in the row are then %+v", got)
	}
	if row.bytes != 0 {
		t.Errorf("%d bytes are counted of an empty row", row.bytes)
	}
}
