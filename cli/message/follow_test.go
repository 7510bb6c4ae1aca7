package message

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/trace"
)

// The steps of one message are those with its mark, and those of the place where it rests; without a mark
// those of the first that came in.
func TestStepsOfOneMessage(t *testing.T) {
	n := 0
	at := func(e trace.Event) step {
		n++
		e.At = time.Unix(int64(n), 0)
		return step{Event: e}
	}
	rests := func(offset int64) *trace.Place {
		return &trace.Place{Shard: 2, Log: 7, Offset: offset, Stream: "s", Entry: 40}
	}
	found := func(offset int64) *trace.Place { return &trace.Place{Shard: 2, Log: 7, Offset: offset} }
	all := []step{
		at(trace.Event{What: trace.Out, Place: found(4), Text: "before"}),
		at(trace.Event{What: trace.In, Message: "1-1", Mark: "m", Text: "mine"}),
		at(trace.Event{What: trace.In, Message: "1-2", Text: "another"}),
		at(trace.Event{What: trace.Route, Message: "1-1", Mark: "m", Text: "mine"}),
		at(trace.Event{What: trace.Log, Message: "1-1", Mark: "m", Place: rests(5), Text: "mine"}),
		at(trace.Event{What: trace.Log, Message: "1-2", Place: rests(6), Text: "another"}),
		at(trace.Event{What: trace.Out, Node: 2, Place: found(5), Text: "mine"}), // of another node
		at(trace.Event{What: trace.Out, Place: found(6), Text: "another"}),
		at(trace.Event{What: trace.Ack, Place: &trace.Place{Stream: "s", Offset: 5}, Text: "a commit before it"}),
		at(trace.Event{What: trace.Ack, Place: &trace.Place{Stream: "s", Offset: 7}, Text: "mine"}),
		at(trace.Event{What: trace.Ack, Place: &trace.Place{Stream: "other", Offset: 7}, Text: "another"}),
	}
	all = append(all, all[1]) // told twice
	for _, mark := range []string{"m", ""} {
		got := mineOf(all, mark)
		if len(got) != 5 {
			t.Errorf("mark %q: %d steps: %+v", mark, len(got), got)
		}
		for i := range got {
			if got[i].Text != "mine" {
				t.Errorf("mark %q: %+v is among them", mark, got[i])
			}
		}
	}
	if got := mineOf(all, "nobody's"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
