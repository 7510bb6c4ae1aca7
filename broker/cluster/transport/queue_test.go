package transport

import (
	"bytes"
	"testing"
)

// A frame that is pushed while a big one of another channel is on its way has to wait for no
// more than one write, and a chunk.
func TestQueueTakesTurns(t *testing.T) {
	var q queue
	q.push(ChanRaft, make([]byte, 10<<20), waitingDefault)
	q.take(nil)
	q.push(ChanBeat, []byte("beat"), waitingDefault)
	before := 0
	for _, c := range q.take(nil) {
		if c.channel == ChanBeat {
			if before > chunkMax {
				t.Errorf("%d bytes were before it", before)
			}
			return
		}
		before += len(c.body)
	}
	t.Error("it was not in the next write")
}

// Many small frames of one channel do not hold those of another back either.
func TestQueueOfManySmall(t *testing.T) {
	var q queue
	for range 100_000 {
		q.push(ChanRelay, []byte("0123456789"), waitingDefault)
	}
	q.push(ChanBeat, []byte("beat"), waitingDefault)
	batch := q.take(nil)
	total, found := 0, false
	for _, c := range batch {
		total += chunkHeader + len(c.body)
		found = found || c.channel == ChanBeat
	}
	if !found {
		t.Error("the beat was not in the first write")
	}
	if total > batchTarget+chunkMax {
		t.Errorf("a write of %d bytes", total)
	}
}

// What is beyond the bound is not taken, in its channel alone; one frame always is.
func TestQueueBound(t *testing.T) {
	const most = 1000
	var q queue
	if !q.push(ChanRaft, make([]byte, 5000), most) {
		t.Error("an empty channel did not take a frame")
	}
	if q.push(ChanRaft, nil, most) {
		t.Error("a full channel took a frame")
	}
	n := 0
	for q.push(ChanBeat, make([]byte, 36), most) {
		n++
	}
	if n != most/(36+frameCost) {
		t.Errorf("%d frames", n)
	}
	if got := q.clear(); got != n+1 || q.frames != 0 || q.bytes != 0 {
		t.Errorf("cleared %d, left %d of %d bytes", got, q.frames, q.bytes)
	}
}

// A queue that never runs empty does not grow.
func TestQueueRoom(t *testing.T) {
	var q queue
	frame := bytes.Repeat([]byte("x"), chunkMax)
	var batch []chunk
	for range 10 {
		q.push(ChanRaft, frame, waitingDefault)
	}
	for range 10_000 {
		for range 3 {
			q.push(ChanRaft, frame, waitingDefault)
		}
		for batch = q.take(batch[:0]); q.frames > 10; batch = q.take(batch[:0]) {
		}
	}
	if got := cap(q.lanes[ChanRaft].frames); got > 64 {
		t.Errorf("room for %d frames, at most 13 waited", got)
	}
}
