package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
)

func TestParse(t *testing.T) {
	p, err := Parse([]byte(`
seed: 7
rules:
  - name: lost acks
    at: mqtt/puback
    do: drop
    client: dev*
    after: 2
    times: 3
  - at: kafka/Produce
    topic: orders
    do: fail
    code: NOT_LEADER_OR_FOLLOWER
    from: 1m
    for: 30s
  - {at: conn/amqp, do: slow, bytes: 64KiB}
`))
	if err != nil || p.Seed != 7 || len(p.Rules) != 3 || time.Duration(p.Rules[1].For) != 30*time.Second || p.Rules[2].Bytes != 64<<10 {
		t.Fatalf("%+v, %v", p, err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse(text); err != nil || !slices.Equal(again.Rules, p.Rules) {
		t.Errorf("as JSON it is another plan: %s, %v", text, err)
	}
}

// What is wrong with a rule is said with what to write instead.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ plan, want string }{
		{"rules: [{at: mqt/PUBACK, do: drop}]", "one of conn, mqtt, kafka, amqp, disk, node"},
		{"rules: [{at: mqtt/PUBAK, do: drop}]", `mqtt has no "PUBAK"`},
		{"rules: [{at: kafka/Prod, do: reset}]", "did you mean Produce?"},
		{"rules:\n- {at: conn, do: reset, tims: 3}", `line 2: a plan has no "tims"; did you mean times?`},
		{"rules: 7", "line 1: `7` cannot stand there"},
		{"rules: [{at: mqtt/PUBACK, do: nack}]", "one of drop, delay, duplicate, answer, disconnect, reset"},
		{"rules: [{at: mqtt/PUBACK, do: answer}]", "answer needs one"},
		{"rules: [{at: mqtt/PUBACK, do: answer, code: 0x8B}]", `"server shutting down" cannot be in PUBACK`},
		{"rules: [{at: mqtt/PINGRESP, do: answer, code: 0x80}]", "answer is for CONNACK"},
		{"rules: [{at: mqtt/PUBACK, do: drop, code: 1}]", "drop takes none"},
		{"rules: [{at: mqtt/PUBACK, do: delay}]", "delay needs to know for how long"},
		{"rules: [{at: mqtt/PUBACK, do: drop, topic: a}]", "what is at mqtt/PUBACK has none"},
		{"rules: [{at: mqtt/in/PUBLISH, do: duplicate}]", "packets that the broker sends"},
		{"rules: [{at: kafka/Produce, do: fail, code: NO_SUCH}]", "no error code of Kafka"},
		{"rules: [{at: kafka/in/Produce, do: reset}]", "kafka is without in and out"},
		{"rules: [{at: amqp/queue.declare, do: close, code: 541}]", "INTERNAL_ERROR ends a connection"},
		{"rules: [{at: amqp/queue.declare, do: nack}]", "amqp/basic.publish"},
		{"rules: [{at: amqp/basic.deliver, do: delay, delay: 1s}]", "methods that clients send"},
		{"rules: [{at: disk/write, do: full}]", "disk as a whole"},
		{"rules: [{at: disk, do: fail, client: a}]", "disk has no clients"},
		{"rules: [{at: node/x, do: drop}]", "not the id of a node"},
		{"rules: [{at: conn, do: slow}]", "how many pass each second"},
		{"rules: [{at: conn, do: hang, chance: 1.5}]", "between 0 and 1"},
		{"rules: [{at: conn, do: hang, times: -1}]", "not negative"},
		{"rules: [{at: conn, do: hang, for: 5}]", "not a duration"},
		{"rules: [{name: a, at: conn, do: hang}, {name: a, at: conn, do: hang}]", `two rules have the name "a"`},
		{"rules: [{at: conn, do: hang, often: 3}]", "often"},
		{"- 1", "line 1: a list cannot stand there"},
	} {
		_, err := Parse([]byte(tt.plan))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v\nwant %s", tt.plan, err, tt.want)
		}
	}
	if _, err := Parse(nil); err != nil {
		t.Errorf("an empty plan: %v", err)
	}
}

func add(t *testing.T, e *Engine, plan string) {
	t.Helper()
	p, err := Parse([]byte(plan))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Rules {
		if _, err := e.Add(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhich(t *testing.T) {
	for _, tt := range []struct {
		rule string
		q    Ask
		want bool
	}{
		{"{at: mqtt, do: drop}", Ask{Seam: MQTT, What: "PUBACK"}, true},
		{"{at: mqtt, do: drop}", Ask{Seam: MQTT, What: "PUBACK", In: true}, true},
		{"{at: mqtt, do: drop}", Ask{Seam: AMQP, What: "basic.ack"}, false},
		{"{at: mqtt/PUBACK, do: drop}", Ask{Seam: MQTT, What: "PUBACK"}, true},
		{"{at: mqtt/PUBACK, do: drop}", Ask{Seam: MQTT, What: "PUBACK", In: true}, false},
		{"{at: mqtt/in/PUBACK, do: drop}", Ask{Seam: MQTT, What: "PUBACK", In: true}, true},
		{"{at: mqtt/in, do: drop}", Ask{Seam: MQTT, What: "PUBLISH"}, false},
		{"{at: mqtt/CONNACK, do: answer, code: banned}", Ask{Seam: MQTT, What: "CONNECT", In: true}, true},
		{"{at: mqtt, do: drop, client: dev1}", Ask{Seam: MQTT, Client: "dev1"}, true},
		{"{at: mqtt, do: drop, client: dev1}", Ask{Seam: MQTT, Client: "dev10"}, false},
		{"{at: mqtt, do: drop, client: dev1}", Ask{Seam: MQTT}, false},
		{"{at: mqtt, do: drop, client: 'dev*'}", Ask{Seam: MQTT, Client: "dev10"}, true},
		{"{at: mqtt, do: drop, client: '*a*b'}", Ask{Seam: MQTT, Client: "xaxb"}, true},
		{"{at: mqtt, do: drop, client: '*a*b'}", Ask{Seam: MQTT, Client: "xbxa"}, false},
		{"{at: mqtt, do: drop, client: 'a*a'}", Ask{Seam: MQTT, Client: "a"}, false},
		{"{at: kafka/Produce, do: drop, topic: a}", Ask{Seam: Kafka, What: "Produce", Topic: "a", Part: true}, true},
		{"{at: kafka/Produce, do: drop, topic: a}", Ask{Seam: Kafka, What: "Produce"}, false},
		{"{at: kafka/Produce, do: drop}", Ask{Seam: Kafka, What: "Produce", Topic: "a", Part: true}, false},
		{"{at: conn, do: refuse, listener: '*:1883'}", Ask{Seam: Conn, Listener: "mqtt://127.0.0.1:1883"}, true},
	} {
		e := New(nil, nil)
		add(t, e, "rules: ["+tt.rule+"]")
		if _, ok := e.Ask(tt.q); ok != tt.want {
			t.Errorf("%s fires for %+v: %v", tt.rule, tt.q, ok)
		}
	}
}

func TestWhen(t *testing.T) {
	c := clock.NewVirtual(time.Unix(0, 0))
	var told []string
	e := New(c, func(f Firing) { told = append(told, f.String()) })
	fires := func() (s string) {
		for range 6 {
			mark := "."
			if _, ok := e.Ask(Ask{Seam: MQTT, What: "PUBACK", Client: "dev1"}); ok {
				mark = "x"
			}
			s += mark
		}
		return s
	}
	add(t, e, "rules: [{name: a, at: mqtt/PUBACK, do: drop, after: 2, times: 3}]")
	if got := fires(); got != "..xxx." {
		t.Errorf("after 2, 3 times: %s", got)
	}
	if e.On(MQTT) {
		t.Error("a rule that is over still costs something")
	}
	if want := "drop mqtt/out/PUBACK of dev1 (rule a, fired 3)"; len(told) != 3 || told[2] != want {
		t.Errorf("told %q, want %s", told, want)
	}
	if _, all := e.List(); len(all) != 1 || all[0].Fired != 3 || all[0].Seen != 5 || !all[0].Over {
		t.Errorf("it stands at %+v", all)
	}

	add(t, e, "rules: [{name: b, at: mqtt/PUBACK, do: drop, from: 10s, for: 5s}]")
	var at []string
	for _, step := range []time.Duration{0, 10 * time.Second, 4 * time.Second, time.Second} {
		c.Advance(step)
		at = append(at, fires()[:1])
	}
	if got := strings.Join(at, ""); got != ".xx." {
		t.Errorf("from 10 s for 5 s: %s at 0, 10, 14 and 15 s", got)
	}
	if err := e.Remove("b"); err != nil {
		t.Error(err)
	}
	if err := e.Remove("b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := e.Add(Rule{Name: "a", At: "conn", Do: Hang}); !fault.Is(err, fault.Exists) {
		t.Errorf("added twice: %v", err)
	}
}

// The same seed has the same things happen, whatever other rules there are.
func TestSeed(t *testing.T) {
	run := func(seed uint64, more string) (s string) {
		e := New(nil, nil)
		p, err := Parse(fmt.Appendf(nil, "seed: %d\nrules: [{name: a, at: mqtt/PUBACK, do: delay, chance: 0.5, delay: 1ms, jitter: 1s}%s]", seed, more))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Run(p); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			act, _ := e.Ask(Ask{Seam: MQTT, What: "PUBACK"})
			e.Ask(Ask{Seam: MQTT, What: "PUBREC"})
			s += fmt.Sprint(act.Delay, " ")
		}
		return s
	}
	one, again, other := run(1, ""), run(1, ", {at: mqtt/PUBREC, do: drop, chance: 0.5}"), run(2, "")
	if one != again {
		t.Errorf("seed 1:\n%s\n%s", one, again)
	}
	if one == other {
		t.Error("another seed does the same")
	}
}

func TestOff(t *testing.T) {
	var none *Engine
	if none.On(MQTT) {
		t.Error("no engine is on")
	}
	e := New(nil, nil)
	add(t, e, "rules: [{at: kafka/Produce, do: reset, client: x}]")
	if e.On(MQTT) || !e.On(Kafka) {
		t.Error("a rule counts for another seam")
	}
	q := Ask{Seam: Kafka, What: "Produce", Client: "c"}
	if n := testing.AllocsPerRun(100, func() { e.Ask(q) }); n != 0 {
		t.Errorf("%v allocations for what does not happen", n)
	}
	e.Stop()
	if e.On(Kafka) {
		t.Error("stopped rules count")
	}
}

// A code may be a number, in YAML and in JSON.
func TestCodeIsANumber(t *testing.T) {
	var r Rule
	if err := json.Unmarshal([]byte(`{"at": "amqp/queue.declare", "do": "close", "code": 403}`), &r); err != nil || r.Code != "403" {
		t.Errorf("code %q, %v", r.Code, err)
	}
	if err := json.Unmarshal([]byte(`{"code": true}`), &r); err == nil {
		t.Error("true is a code")
	}
	if p, err := Parse([]byte("rules: [{at: amqp/queue.declare, do: close, code: 403}]")); err != nil || p.Rules[0] != (Rule{At: "amqp/queue.declare", Do: Close, Code: "403"}) {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("seed: 7\nrules: [{at: mqtt/PUBACK, do: drop, client: 'd*', times: 1}]"))
	f.Add([]byte(`{"rules": [{"at": "kafka/Produce", "do": "fail", "code": "6", "for": "1d"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		e := New(nil, nil)
		if err := e.Run(p); err != nil {
			t.Fatalf("a plan that is right cannot be run: %v", err)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(b); err != nil || !slices.Equal(again.Rules, p.Rules) {
			t.Fatalf("as JSON it is another plan: %s, %v", b, err)
		}
	})
}

// What a rule holds back goes on when it is taken back, however that is done.
func TestTakenBack(t *testing.T) {
	for name, back := range map[string]func(*Engine) error{
		"remove": func(e *Engine) error { return e.Remove("late") },
		"run":    func(e *Engine) error { return e.Run(Plan{}) },
		"stop":   func(e *Engine) error { e.Stop(); return nil },
		"close":  func(e *Engine) error { e.Close(); return nil },
	} {
		e := New(clock.NewVirtual(time.Unix(0, 0)), nil)
		if _, err := e.Add(Rule{Name: "late", At: "mqtt/PUBACK", Do: Delay, Delay: grammar.Duration(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		act, ok := e.Ask(Ask{Seam: MQTT, What: "PUBACK"})
		if !ok {
			t.Fatal("it did not fire")
		}
		later, never := make(chan struct{}), make(chan struct{})
		e.After(act, func() { close(later) })
		cancel := e.After(act, func() { close(never) })
		cancel()
		if err := back(e); err != nil {
			t.Fatal(err)
		}
		if !e.Wait(act, nil, nil) {
			t.Errorf("%s: it waits still", name)
		}
		<-later
		select {
		case <-never:
			t.Errorf("%s: what was cancelled was called", name)
		default:
		}
	}
}

// A connection remembers of the rules that it was asked about those alone that there are.
func TestAskedForgets(t *testing.T) {
	e, asked := New(clock.NewVirtual(time.Unix(0, 0)), nil), make(Asked)
	for range 10 {
		r, err := e.Add(Rule{At: "conn", Do: Slow, Bytes: 1})
		if err != nil || len(e.AskAll(Ask{Seam: Conn}, asked)) != 1 || len(e.AskAll(Ask{Seam: Conn}, asked)) != 0 {
			t.Fatalf("a rule is asked once: %v", err)
		}
		if err := e.Remove(r.Name); err != nil {
			t.Fatal(err)
		}
	}
	if e.AskAll(Ask{Seam: Conn}, asked); len(asked) != 0 {
		t.Errorf("%d rules that are gone are remembered", len(asked))
	}
}
