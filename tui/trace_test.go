package tui

import (
	"testing"
	"time"
)

// A trace shows what is seen of a client, filters it, and says when it has ended.
func TestTrace(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.happen()
		d.say("trace client dashboard")
		d.sees("client dashboard  5 events", "ended, by its time; r goes on", "PUBLISH", "alarms/berlin", "queue is full", "keep alive timeout")
		d.keys("k", "k", "k", "k", "enter")
		d.sees("event client dashboard", "fields", "packet  7", "payload", `"level": 3`)
		d.keys("esc", "/")
		d.typed("what:drop")
		d.sees("keep alive timeout") // nothing is let go while it is typed
		d.keys("enter")
		d.sees("1 event ", "filter what:drop", "queue is full")
		d.keys("esc", "r")
		d.wait(200 * time.Millisecond)
		d.sees("6 events") // another run of it
		d.keys("Y")
		if d.clip != "rmq trace client dashboard" {
			t.Errorf("copied %q", d.clip)
		}
		d.keys("8", "T")
		d.wait(200 * time.Millisecond)
		d.sees("topic fleet/berlin/status  5 events")
	})
}
