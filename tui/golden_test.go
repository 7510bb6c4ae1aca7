package tui

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/trace"
)

var update = flag.Bool("update", false, "write the golden frames anew")

// golden compares what is seen with a file under testdata/frames. With attributes, an
// escape is written as ␛, so that the file can be read.
func (d *driver) golden(name string, attributes bool) {
	d.t.Helper()
	got := d.frame()
	if attributes {
		got = strings.ReplaceAll(d.m.View().Content, "\x1b", "␛") + "\n"
	}
	path := filepath.Join("testdata", "frames", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			d.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			d.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatalf("%v (go test ./tui -update writes it)", err)
	}
	if got != string(want) {
		d.t.Errorf("%s differs\n got:\n%s\nwant:\n%s", name, got, want)
	}
}

// scene is a sequence of keys that leads to a frame worth keeping.
type scene struct {
	name string
	play func(d *driver)
}

func keys(names ...string) func(*driver) {
	return func(d *driver) {
		for _, n := range names {
			d.keys(n)
			d.wait(200 * time.Millisecond)
		}
	}
}

var scenes = []scene{
	{"overview", keys()},
	{"topics", func(d *driver) { keys("2")(d); d.pass(5) }},
	{"topics-sorted", func(d *driver) { keys("2", "s", "s", "s")(d); d.pass(5) }},
	{"topics-filter-typed", func(d *driver) { d.keys("2", "/"); d.typed("orders !us") }},
	{"topics-filter-wrong", func(d *driver) { d.keys("2", "/"); d.typed("lagg:1") }},
	{"topic", keys("2", "j", "j", "enter")},
	{"queues", keys("3")},
	{"queue", keys("3", "j", "j", "enter")},
	{"exchanges", keys("4")},
	{"exchange", keys("4", "G", "enter")},
	{"sessions", keys("5")},
	{"session", keys("5", "enter")},
	{"session-away", keys("5", "j", "j", "enter")},
	{"session-will", keys("5", "j", "enter")},
	{"subscriptions", keys("6")},
	{"groups", func(d *driver) { keys("7")(d); d.pass(5) }},
	{"group", keys("7", "j", "enter")},
	{"retained", keys("8")},
	{"retained-json", keys("8", "j", "enter")},
	{"retained-bytes", keys("8", "j", "j", "j", "enter")},
	{"messages", func(d *driver) { keys("9")(d); d.publish() }},
	{"message", func(d *driver) { keys("9")(d); d.publish(); keys("k", "k", "enter")(d) }},
	{"message-hex", func(d *driver) { keys("9")(d); d.publish(); keys("k", "k", "k", "enter", "x", "x")(d) }},
	{"message-closed", func(d *driver) {
		keys("9")(d)
		d.publish()
		keys("k", "k", "enter", "j", "j", "j", "enter")(d)
	}},
	{"message-diff", func(d *driver) { keys("9")(d); d.measure(40); keys("k", "k", "m", "j", "j", "d")(d) }},
	{"plot", func(d *driver) { keys("9")(d); d.measure(40); keys("v")(d) }},
	{"exchanges-tree", keys("4", "t")},
	{"subscriptions-tree", keys("6", "t", "j", "j")},
	{"retained-tree", keys("8", "t")},
	{"who", func(d *driver) { d.keys("6", "w"); d.typed("fleet/berlin/temp"); keys("enter")(d) }},
	{"trace-nothing", func(d *driver) { d.say("trace") }},
	{"trace", func(d *driver) { d.happen(); keys("5", "T")(d) }},
	{"trace-event", func(d *driver) { d.happen(); keys("5", "T", "k", "k", "enter")(d) }},
	{"nodes", keys("0")},
	{"node", keys("0", "enter")},
	{"partitions", func(d *driver) { d.say("partitions"); d.pass(5) }},
	{"partition", func(d *driver) { d.say("partition orders/eu/2") }},
	{"clock", func(d *driver) { d.virtual(); d.say("clock") }},
	{"clock-typed", func(d *driver) { d.virtual(); d.say("clock"); d.keys("a"); d.typed("36h liveness") }},
	{"clock-due", func(d *driver) { d.virtual(); d.say("clock"); keys("j", "enter")(d) }},
	{"chaos", func(d *driver) { d.fire(); d.say("chaos"); d.pass(2) }},
	{"chaos-rule", func(d *driver) { d.fire(); d.say("chaos"); keys("j", "enter")(d) }},
	{"chaos-add", func(d *driver) {
		d.say("chaos")
		d.keys("a")
		d.typed("mqtt/PUBACK drop client=dev* times=3")
		d.keys("enter")
	}},
	{"chaos-remove", func(d *driver) { d.say("chaos"); keys("j", "D")(d) }},
	{"timeline", func(d *driver) { d.say("timeline") }},
	{"timeline-message", func(d *driver) { d.say("timeline publish"); keys("enter")(d) }},
	{"timeline-end", func(d *driver) { d.say("timeline"); keys("G", "k", "enter")(d) }},
	{"errors", func(d *driver) { d.say("errors"); d.pass(3) }},
	{"error", func(d *driver) { d.say("error malformed packet") }},
	{"bans", func(d *driver) { d.say("bans") }},
	{"bridges", func(d *driver) { d.say("bridges") }},
	{"bridge", func(d *driver) { d.say("bridge lab") }},
	{"quotas", func(d *driver) { d.say("quotas") }},
	{"settings", func(d *driver) { d.say("settings") }},
	{"setting", func(d *driver) { d.say("setting mqtt.flapping.connections") }},
	{"command", func(d *driver) { d.keys("2", ":"); d.typed("que") }},
	{"help", keys("2", "?")},
	{"help-messages", keys("9", "?")},
	{"paused", func(d *driver) { keys("p")(d); d.pass(5) }},
	{"lost", func(d *driver) {
		keys("7")(d)
		d.lose()
		d.pass(12)
	}},
}

// virtual has the broker go by the fixture's clock, and the screens know it.
func (d *driver) virtual() {
	_, x := load(d.t)
	d.fake.Update(func(f *adminapitest.Fake) { f.Time = x.Clock })
	d.pass(statusEvery)
}

// fire has rules of the fixture's plan fire.
func (d *driver) fire() {
	for range 3 {
		d.fake.Faults.Ask(chaos.Ask{Seam: chaos.MQTT, What: "PUBACK", Client: "dashboard", Topic: "alarms/berlin"})
	}
	d.fake.Faults.Ask(chaos.Ask{Seam: chaos.Kafka, What: "Produce", Topic: "orders"})
}

// publish lets the fixture's messages go by.
func (d *driver) publish() {
	d.t.Helper()
	d.settle() // somebody listens
	_, x := load(d.t)
	for i := range x.Live {
		d.fake.Emit(adminapi.LiveEvent{Message: &x.Live[i]})
	}
	d.fake.Emit(adminapi.LiveEvent{Stats: &adminapi.LiveStats{Matched: 1317, Shown: 5, Sampled: 1300, Dropped: 12}})
	d.wait(300 * time.Millisecond)
}

// measure lets n readings of two devices go by, one each a second.
func (d *driver) measure(n int) {
	d.t.Helper()
	d.settle() // somebody listens
	for i := range n {
		at := time.Now().Add(time.Duration(i) * time.Second)
		temp := 20 + 6*math.Sin(float64(i)/5)
		value := fmt.Appendf(nil, `{"temp":%.2f,"unit":"C","pos":{"lat":52.5,"lon":%.3f}}`, temp, 13.4+float64(i)/100)
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{
			Protocol: "mqtt", Address: "fleet/berlin/temp", Time: at, Headers: []adminapi.Header{{Name: "seq", Value: fmt.Append(nil, i)}}, Value: value, Size: len(value),
		}})
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "mqtt", Address: "fleet/paris/temp", Time: at, Value: []byte("19.5")}})
	}
	d.wait(300 * time.Millisecond)
	d.keys("k") // to Berlin
}

// happen has the broker see what a trace tells.
func (d *driver) happen() {
	at := time.Date(2000, 1, 1, 0, 0, 19, 250e6, time.UTC)
	event := func(what, packet, topic, text string, fields ...trace.Field) trace.Event {
		at = at.Add(1250 * time.Microsecond)
		return trace.Event{At: at, Node: 1, Protocol: "mqtt", Client: "dashboard", User: "ann", Remote: "10.1.2.3:50312", What: what, Packet: packet, Topic: topic, Text: text, Fields: fields}
	}
	in := event(trace.In, "PUBLISH", "alarms/berlin", "", trace.Field{Name: "qos", Value: "1"}, trace.Field{Name: "packet", Value: "7"})
	in.Carry([]byte(`{"level":3,"text":"over\u001bheated"}`))
	seen := []trace.Event{
		in, event(trace.Route, "", "alarms/berlin", "", trace.Field{Name: "stream", Value: "alarms"}, trace.Field{Name: "session", Value: "dashboard QoS 1, here"}),
		event(trace.Drop, "", "alarms/berlin", "the session's queue is full"), event(trace.Out, "PUBACK", "", "", trace.Field{Name: "packet", Value: "7"}),
		event(trace.End, "", "", "keep alive timeout"),
	}
	d.fake.Update(func(f *adminapitest.Fake) { f.Seen = seen })
}

// lose takes the broker away.
func (d *driver) lose() {
	d.fake.Update(func(f *adminapitest.Fake) {
		f.Fail = &adminapi.Error{Code: adminapi.CodeUnreachable, Category: adminapi.CategoryUnavailable, Retryable: true, Message: "no answer from http://127.0.0.1:15672: connect: connection refused"}
	})
}

// TestGoldenFrames compares every screen with the frames that were looked at and found
// right: on the smallest terminal and on a wide one, without attributes of any kind.
func TestGoldenFrames(t *testing.T) {
	for _, size := range []struct {
		name string
		w, h int
	}{{"80x24", 80, 24}, {"200x50", 200, 50}} {
		if testing.Short() && size.w > 80 {
			continue
		}
		shown := map[string]bool{}
		for _, s := range scenes {
			t.Run(size.name+"/"+s.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					fake, _ := load(t)
					d := drive(t, fake, Options{Bundle: failedTest(t)}, size.w, size.h)
					d.pass(20)
					s.play(d)
					d.golden(size.name+"/"+s.name+".txt", false)
					shown[places[d.m.at].name] = true
				})
			})
		}
		for _, name := range Screens() {
			if !shown[name] && !strings.Contains(flag.Lookup("test.run").Value.String(), "/") { // some scenes alone were asked for
				t.Errorf("there is no frame of the screen %s at %s", name, size.name)
			}
		}
	}
}

// TestGoldenAttributes compares some of them with their attributes: in colour, and as
// NO_COLOR has them, where bold, faint and reverse must be enough.
func TestGoldenAttributes(t *testing.T) {
	for _, color := range []bool{true, false} {
		dir := map[bool]string{true: "color", false: "no-color"}[color]
		for _, s := range scenes {
			if !slices.Contains([]string{"overview", "queues", "sessions", "groups", "message", "lost", "help", "topics-filter-wrong"}, s.name) {
				continue
			}
			t.Run(dir+"/"+s.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					fake, _ := load(t)
					d := drive(t, fake, Options{Color: color}, 80, 24)
					d.pass(20)
					s.play(d)
					d.golden(dir+"/"+s.name+".txt", true)
					if !color {
						noColors(t, d.m.View())
					}
				})
			})
		}
	}
}

// noColors wants attributes but no colours.
func noColors(t *testing.T, v tea.View) {
	t.Helper()
	for part := range strings.SplitSeq(v.Content, "\x1b[") {
		code, _, ok := strings.Cut(part, "m")
		if !ok || strings.Trim(code, "0123456789;") != "" {
			continue
		}
		for n := range strings.SplitSeq(code, ";") {
			if n != "" && n != "0" && n != "1" && n != "2" && n != "7" && n != "22" && n != "27" {
				t.Errorf("attribute %s is a colour", n)
			}
		}
	}
}
