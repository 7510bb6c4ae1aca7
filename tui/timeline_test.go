package tui

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// failedTest is a bundle.
func failedTest(t testing.TB) *Bundle {
	t.Helper()
	b, err := ReadBundle("./TestOrders-1.rmq", map[string]string{
		"test": "TestOrders\n", "seed": "7\n", "faults": "seed: 7\nrules:\n    - name: lost acks\n      at: mqtt/PUBACK\n      do: drop\n",
		"state": "what happened:\n  …\nwhat there is now:\n  topic    orders: 1 records in 1 partitions\n",
		"events": `{"after":1250000,"what":"log","text":"info mqtt client connected client=till-1 remote=127.0.0.1:50312"}
{"after":2250000,"what":"mqtt","text":"publish orders/new \"{\\\"id\\\":9}\" qos 1","message":{"protocol":"mqtt","namespace":"/","address":"orders/new","topic":"orders/new","value":"{\"id\":9}","qos":1,"size":8}}
{"after":2300000,"what":"fault","text":"drop mqtt/out/PUBACK of till-1 (rule lost acks, fired 1)"}
{"after":2400000,"what":"clock","text":"advance 24h0m0s"}
{"after":1002400000,"what":"test","text":"wanted topic orders with 2 records within 1s; it has 1"}
{"after":1002500000,"what":"test","text":"failed"}
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What led to a failure is gone through event by event, and a message is opened.
func TestTimelineIsSteppedThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{Bundle: failedTest(t), Screen: "timeline"}, 100, 30)
		d.sees("TestOrders failed", "0.001250s", "client connected", "drop mqtt/out/PUBACK of till-1", "advance 24h", "wanted topic orders with 2 records")
		d.keys("enter")
		d.sees("chance begins at 7")
		d.keys("n")
		d.sees("the planned faults", "mqtt/PUBACK")
		d.keys("n", "n")
		d.sees("orders/new", "json, 8 B", `"id": 9`)
		d.keys("N")
		d.sees("client=till-1")
		d.keys("esc", "G", "enter")
		d.sees("topic    orders: 1 records")
		d.keys("esc")
		d.say("timeline what:fault")
		d.misses("client connected")
		d.keys("Y")
		if want := "rmq snapshot show ./TestOrders-1.rmq --note timeline"; d.clip != want {
			t.Errorf("copied %q, want %q", d.clip, want)
		}
	})
}

// A snapshot that is not of a test has no timeline, and the screen says what has one.
func TestTimelineOfNoTest(t *testing.T) {
	if b, err := ReadBundle("x", map[string]string{"test": "T"}); b != nil || err != nil {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := ReadBundle("x", map[string]string{adminapi.NoteEvents: "{"}); err == nil {
		t.Error("half an event is read")
	}
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{}, 100, 30)
		d.say("timeline")
		d.wait(time.Second)
		d.sees("rmq tui --replay FILE")
	})
}
