package tui

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
)

// The broker's time is moved from its screen, and what was due falls due there.
func TestClockIsMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, x := load(t)
		fake.Time = x.Clock
		d := drive(t, fake, Options{}, 100, 24)
		clock := func() (c adminapi.Clock) {
			fake.Update(func(f *adminapitest.Fake) { c = f.Time })
			return c
		}
		d.say("clock")
		d.sees("stands still", "a delayed message is published", "later", "in 12s")
		d.keys("a")
		d.typed("36h")
		d.keys("enter")
		if got := clock().Now.Sub(x.Clock.Now); got != 36*time.Hour {
			t.Errorf("it was advanced by %v", got)
		}
		d.sees("2000-01-02 21:30:00.000 UTC; the clock stands still, 1d21h ahead")
		d.keys("f")
		if clock().Frozen {
			t.Error("it stands still")
		}
		d.sees("runs with the machine's")
		d.say("clock set 2030-01-01")
		if want := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC); !clock().Now.Equal(want) {
			t.Errorf("it was set to %v", clock().Now)
		}
		d.say("clock freeze")
		if !clock().Frozen {
			t.Error("it goes on")
		}
		for _, wrong := range []string{"clock advance", "clock advance never", "clock set 30", "clock advance -3h"} {
			d.say(wrong)
			d.sees("clock ", ", as ")
			d.keys("esc")
		}
		d.say("clock will")
		d.sees("a will is published")
		d.misses("a session ends")
	})
}

// The machine's clock cannot be moved, and the screen says what can.
func TestClockOfTheMachine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		fake.Time = adminapi.Clock{Kind: adminapi.ClockReal, Now: time.Now()}
		d := drive(t, fake, Options{}, 100, 24)
		d.say("clock")
		d.sees("is the machine's", "rmq up --memory --clock virtual")
		d.misses(" f freeze", " a add")
	})
}

// Rules are added as they are typed, and taken back; each has to be asked for twice.
func TestFaultsArePlanned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{}, 120, 24)
		names := func() (all []string) {
			_, rules := fake.Faults.List()
			for _, r := range rules {
				all = append(all, r.Name)
			}
			return all
		}
		d.say("chaos")
		d.sees("lost acks", "far away", "kafka/Produce")
		d.keys("a")
		d.typed("mqtt/CONNACK answer code=0x88 rule=shy client=dev* times=3")
		d.keys("enter")
		if len(names()) != 3 {
			t.Fatal("it was added before it was asked for twice")
		}
		d.sees("enter once more: it adds this rule")
		d.keys("enter")
		if got := names(); len(got) != 4 || got[3] != "shy" {
			t.Fatalf("rules are %v", got)
		}
		d.sees("added rule shy")
		d.wait(time.Second)
		d.sees("mqtt/CONNACK")

		d.keys("g", "D", "j")
		d.keys("D") // of another one
		d.sees("D once more: take rule far away back")
		if len(names()) != 4 {
			t.Error("a rule was taken back that was asked for once")
		}
		d.keys("D")
		if got := names(); len(got) != 3 {
			t.Errorf("rules are %v", got)
		}
		d.keys("X", "X")
		if got := names(); len(got) != 0 {
			t.Errorf("rules are %v", got)
		}
		for _, tt := range []struct{ src, want string }{
			{"chaos add mqtt/PUBACK", "AT EFFECT NAME=VALUE"},
			{"chaos add mqtt/PUBAK drop", "did you mean"},
			{"chaos add conn hang tims=3", "did you mean times?"},
			{"chaos add conn hang ;=3", "NAME=VALUE, as times=3"},
			{"chaos remove", "chaos remove RULE"},
		} {
			d.say(tt.src)
			d.sees(tt.want)
			d.keys("esc")
		}
	})
}

// What may be typed behind :chaos add is completed word by word.
func TestFaultsAreCompleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{}, 120, 24)
		d.keys(":")
		for _, step := range []struct{ typed, want string }{
			{"cha", "chaos"}, {" a", "chaos add "}, {"mqtt/PUBA", "chaos add mqtt/PUBACK "}, {"dr", "chaos add mqtt/PUBACK drop "}, {"ti", "chaos add mqtt/PUBACK drop times="},
		} {
			d.typed(step.typed)
			d.keys("tab")
			if got := d.m.prompt.value(); got != step.want {
				t.Errorf("after %q: %q, want %q", step.typed, got, step.want)
			}
		}
		d.keys("esc", ":")
		d.typed("chaos remove l")
		d.keys("tab")
		d.sees("chaos remove")
	})
}

// What counts down does so by the broker's clock, and stands still while that does.
func TestTimeIsTheBrokers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		fake.Time = adminapi.Clock{Kind: adminapi.ClockVirtual, Now: time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC), Frozen: true}
		fake.C = []adminapi.Session{{ClientID: "away", Expiry: 7200, ExpiresAt: time.Date(2000, 1, 1, 14, 0, 0, 0, time.UTC)}}
		d := drive(t, fake, Options{}, 100, 24)
		d.keys("5")
		d.pass(3)
		d.sees("frozen at 2000-01-01 12:00:00", "in 2h")
		fake.Update(func(f *adminapitest.Fake) { f.Time.Now, f.Time.Frozen = f.Time.Now.Add(time.Hour), false })
		d.pass(2)
		d.sees("in 1h")
		d.misses("frozen")
	})
}
