package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/cli/decode"
)

// on runs f on the fixture's broker, on a small terminal, after three seconds.
func on(t *testing.T, f func(t *testing.T, d *driver)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{}, 80, 24)
		d.pass(3)
		f(t, d)
	})
}

func TestReconnects(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("2")
		d.pass(2)
		found := d.found
		d.lose()
		d.pass(3)
		d.sees("○ LOST for 2s, again in", "STALE since 00:00:06: no answer from", "orders/eu") // the rows stay
		d.fake.Update(func(f *adminapitest.Fake) {
			f.Fail = nil
			f.T = f.T[:1]
			f.S.Started = f.S.Started.Add(4 * time.Hour)
		})
		d.pass(5)
		d.sees("● up", " 1 topic ", "the broker was started again")
		d.misses("STALE", "LOST", "orders/eu")
		if d.found == found {
			t.Error("the way to the broker was not taken anew")
		}
		d.keys("k")
		d.misses("started again") // said once
	})
}

// Live messages go on after the broker was away.
func TestLiveGoesOn(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("9")
		d.publish()
		d.sees("5 messages", "following")
		d.lose()
		d.pass(3)
		d.sees("LOST", "orders/order/9/paid") // what there is stays in sight
		d.fake.Update(func(f *adminapitest.Fake) { f.Fail = nil })
		d.pass(5)
		d.publish()
		d.sees("10 messages", "● up")
	})
}

func TestNoBrokerAtFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		fake.Fail = &adminapi.Error{Code: adminapi.CodeUnreachable, Category: adminapi.CategoryUnavailable, Message: "no answer from http://x: refused"}
		d := drive(t, fake, Options{}, 80, 24)
		d.wait(time.Second)
		d.sees("○ no broker", "no answer from http://x: refused")
		fake.Update(func(f *adminapitest.Fake) { f.Fail = nil })
		d.pass(3)
		d.sees("● up", "messages in, per second")
	})
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct{ screen, filter, says string }{
		{"", "", ""}, {"groups", "lag>100", ""}, {"messages", "fleet/# !x", ""},
		{"overview", "x", "nothing to filter"}, {"topics", "lagg:1", "no column lagg"}, {"messages", "a/# b/#", "one filter of addresses"},
	} {
		if err := Check(tt.screen, tt.filter, decode.Options{}); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %q: %v", tt.screen, tt.filter, err)
		}
	}
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{Screen: "groups", Filter: "lag>100"}, 80, 24)
		d.wait(time.Second)
		d.sees("2 of 4 groups", "filter lag>100")
	})
}

// Who is not let in is told so, by the error of the program.
func TestDenied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		fake.Fail = &adminapi.Error{Code: "unauthorized", Category: adminapi.CategoryAuth, Message: "wrong password"}
		d := drive(t, fake, Options{}, 80, 24)
		if !d.quit || d.m.failed == nil || d.m.failed.Error() != "wrong password" {
			t.Errorf("quit %v, %v", d.quit, d.m.failed)
		}
	})
}

// A broker that stops letting us in is there, and says why it tells nothing more.
func TestDeniedLater(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("2")
		d.pass(1)
		d.fake.Update(func(f *adminapitest.Fake) {
			f.Fail = &adminapi.Error{Code: "unauthorized", Category: adminapi.CategoryAuth, Message: "log in first"}
		})
		d.pass(2)
		d.sees("log in first", "orders/eu", "● up")
		d.keys("1")
		d.sees("log in first", "messages in, per second")
	})
}

func TestPause(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("5", "p")
		d.sees("‖ PAUSED at 00:00:03")
		before := d.frame()
		d.pass(5)
		if after := d.frame(); after != before {
			t.Errorf("it moved while paused:\n%s\n%s", before, after)
		}
		d.keys("p")
		d.pass(1)
		d.misses("PAUSED")
		d.sees("00:00:09")
	})
}

// Messages that come while paused are counted, not shown.
func TestPauseMessages(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("9")
		d.publish()
		d.keys("space")
		_, x := load(t)
		d.fake.Emit(adminapi.LiveEvent{Message: &x.Live[0]})
		d.fake.Emit(adminapi.LiveEvent{Message: &x.Live[1]})
		d.wait(time.Second)
		d.sees("5 messages", "2 while paused")
	})
}

// A screen that is first looked at while paused is filled once, and stands still then.
func TestPauseThenLook(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("p", "3")
		d.sees("5 queues")
		d.keys("j", "j", "enter")
		d.sees("order.*.paid")
		d.fake.Update(func(f *adminapitest.Fake) { f.Q = nil })
		d.pass(5)
		d.misses("gone:")
	})
}

// Who looks away from the messages is told, on return, what that left out.
func TestGap(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("9")
		d.publish()
		d.misses("gap")
		d.keys("1")
		d.pass(5)
		d.keys("9")
		d.publish()
		d.sees("10 messages", "2600 sampled out", "24 dropped", "gap until 00:00:08")
		d.keys("c")
		d.publish() // with the same totals of the stream as before
		d.sees("5 messages")
		d.misses("gap", "sampled", "dropped")
	})
}

func TestCountdown(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("5")
		d.wait(100 * time.Millisecond)
		d.sees("old-phone       offline    1m3s      in 2s")
		d.pass(1)
		d.sees("in 1s")
		d.pass(1)
		d.sees("    now ")
	})
}

// The countdown is by the broker's clock, which need not be ours.
func TestBrokerClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		time.Sleep(time.Hour) //nolint:forbidigo // the bubble's time: ours is fast
		fake, _ := load(t)    // says that it is midnight
		d := drive(t, fake, Options{Find: func() (adminapi.Source, string, error) { return fake, "test", nil }}, 80, 24)
		d.keys("5")
		d.wait(100 * time.Millisecond)
		d.sees("in 5s", "  00:00:00")
	})
}

func TestSelectionFollowsItem(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("3", "j", "j")
		d.sees("›invoices ")
		d.fake.Update(func(f *adminapitest.Fake) {
			f.Q = append(f.Q, adminapi.Queue{QueueSpec: adminapi.QueueSpec{Namespace: "/", Name: "aaa"}})
		})
		d.pass(2)
		d.sees("›invoices ", "\n aaa ")
		d.keys("s") // by ready, the most at first
		d.sees("READY↓", "›invoices ")
		if got := strings.Join(d.rows(), " "); !strings.HasPrefix(got, "audit-log invoices.dead invoices ") {
			t.Errorf("sorted: %s", got)
		}
		d.keys("S")
		d.sees("READY↑", "›invoices ")
	})
}

// An item that goes while it is looked at stays in sight, and is said to be gone.
func TestGoneWhileOpen(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("3", "j", "enter")
		d.sees("queue audit-log")
		d.fake.Update(func(f *adminapitest.Fake) { f.Q = nil })
		d.pass(2)
		d.sees("queue audit-log", "gone: ", "no such queue")
		d.keys("esc")
		d.pass(1)
		d.sees("no queues yet; this makes one")
	})
}

func TestStepThroughDetails(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("3", "enter", "n", "n")
		d.sees("queue invoices\n", "order.*.paid")
		d.keys("N")
		d.sees("queue audit-log")
		d.keys("esc")
		d.sees("›audit-log")
	})
}

func TestFilterHistory(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("2", "/")
		d.typed("orders")
		d.sees(" / orders", "orders/us")
		d.misses("payments")
		d.keys("enter")
		d.sees("2 of 7 topics", "filter orders")
		d.keys("/", "ctrl+u")
		d.typed("pay")
		d.keys("enter")
		d.sees("1 of 7 topics")
		d.keys("esc")
		d.sees("7 topics")
		d.keys("3", "/", "up")
		d.sees(" / pay")
		d.keys("up")
		d.sees(" / orders")
		d.keys("down", "down")
		d.sees(" /\n")
		d.keys("esc")
		d.sees("5 queues")
	})
}

// A letter in the prompt is a letter, whatever it does elsewhere.
func TestPromptTakesLetters(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("2", "/")
		d.typed("qp?s/19")
		d.keys("space")
		d.sees(" / qp?s/19")
		if d.quit || d.m.help || !d.m.paused.IsZero() {
			t.Error("a letter did something else")
		}
		d.keys("ctrl+c")
		if !d.quit {
			t.Error("ctrl+c does not quit")
		}
	})
}

func TestFilterLive(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("9", "/")
		d.typed("fleet/# !alarm")
		if d.m.messages().query.Filter != "" {
			t.Error("a stream was begun before the filter was there")
		}
		d.keys("enter")
		if q := d.m.messages().query; q.Filter != "fleet/#" {
			t.Errorf("the broker is asked for %+v", q)
		}
		d.publish() // the fake filters nothing
		d.sees("4 messages", "1 filtered", "filter fleet/# !alarm")
		d.keys("esc")
		d.wait(200 * time.Millisecond)
		d.misses("filter fleet")
		if q := d.m.messages().query; q.Filter != "" {
			t.Errorf("the broker is asked for %+v", q)
		}
	})
}

func TestFollow(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("9")
		emit := func(from, n int) {
			for i := range n {
				d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "mqtt", Address: fmt.Sprintf("n/%d", from+i), Time: time.Now()}})
			}
			d.wait(300 * time.Millisecond)
		}
		emit(0, 30)
		d.sees("n/29", "following")
		d.keys("k")
		d.misses("following")
		emit(30, 30)
		d.sees("n/29", "30 newer ↓")
		if !strings.HasPrefix(d.line(-3), "›") || !strings.Contains(d.line(-3), "n/28") {
			t.Errorf("the cursor left its message: %s", d.line(-3))
		}
		d.keys("G")
		d.sees("n/59", "following")
		for i := range 5 {
			emit(60+500*i, 500)
		}
		d.sees("2000 messages", "560 older let go")
		d.keys("g", "enter")
		d.sees("message n/560")
		emit(5000, 100)
		d.sees("message n/560") // what is looked at does not go
		d.keys("N")
		d.sees("message n/560") // there is none before it any more
		d.keys("n")
		d.sees("message n/660") // the oldest there is
	})
}

func TestCopy(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("2", "j", "y")
		if d.clip != "fleet" {
			t.Errorf("copied %q", d.clip)
		}
		d.sees("copied topic, 5 B")
		d.keys("9")
		d.publish()
		d.keys("k", "enter", "y")
		if d.clip != "over\x1b[31mheated\nnow" {
			t.Errorf("copied %q", d.clip)
		}
	})
}

// A key tells a node of this machine something when it is pressed twice, and says what has come of it.
func TestTellNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		var told []string
		d := drive(t, fake, Options{Tell: func(_ context.Context, node, verb string) (string, error) {
			told = append(told, verb+" "+node)
			if verb == "pause" {
				return "", errors.New("node 2 does not run")
			}
			return "node " + node + " is down", nil
		}}, 100, 30)
		d.keys("0", "j", "K")
		d.sees("K once more: kill node 2")
		d.keys("k", "K") // another node: that is asked again
		d.sees("K once more: kill node 1")
		d.keys("Z")
		d.sees("Z once more: pause node 1")
		if told != nil {
			t.Fatalf("told %v", told)
		}
		d.keys("j", "K", "K")
		d.sees("node 2 is down")
		d.keys("Z", "Z")
		d.sees("node 2 does not run")
		d.keys("R", "R", "U", "U")
		if want := []string{"kill 2", "pause 2", "restart 2", "resume 2"}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		d.keys("1", "K", "K")
		if len(told) != 4 {
			t.Error("a node was killed from another screen")
		}
	})
}

// Whatever the size, at whatever moment, the frame fills the terminal: check looks at
// each.
func TestResize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{Color: true}, 80, 24)
		d.pass(3)
		sizes := [][2]int{{80, 24}, {40, 10}, {39, 10}, {1, 1}, {200, 50}, {41, 60}, {300, 12}, {79, 23}, {110, 30}, {109, 30}, {400, 120}}
		at := func(what func()) {
			what()
			for _, s := range sizes {
				d.send(tea.WindowSizeMsg{Width: s[0], Height: s[1]})
			}
			d.settle()
		}
		for i := range places {
			at(func() { d.keys("esc"); d.say(places[i].name) })
			if i == liveAt {
				d.publish()
			}
			at(func() { d.keys("G", "enter") })
			at(func() { d.keys("x", "G", "d", "esc") })
			at(func() { d.keys("esc", "esc", "t", "v", "G", "z") })
			at(func() { d.keys("?") })
			at(func() { d.keys("?", "esc", "/"); d.typed("très long filtre 長い名前 " + strings.Repeat("x", 90)) })
			d.keys("esc")
		}
		d.lose()
		at(func() { d.pass(2) })
	})
}

// The footer offers what works: every key that it shows does something, on every screen.
func TestFooterKeysWork(t *testing.T) {
	views := [][]string{{}, {"2"}, {"2", "enter"}, {"3"}, {"4", "enter"}, {"5"}, {"6"}, {"7"}, {"8", "j", "enter"}, {"9"}, {"9", "k", "enter"}, {"9", "v"}, {"4", "t"}, {"6", "t"}, {"8", "t", "g"}, {"0"}, {"0", "enter"}, {"2", "/"}, {"2", "?"}}
	for _, view := range views {
		on(t, func(t *testing.T, d *driver) {
			for _, k := range view {
				d.keys(k)
				d.wait(200 * time.Millisecond)
				if k == "9" {
					d.publish()
				}
			}
			for i := range keymap {
				b := &keymap[i]
				if b.typed != d.m.typing || b.short == "" || !d.m.can(b.verb) {
					continue
				}
				if got := bound(b.keys[0], d.m.typing, d.m.can); got != b.verb {
					t.Errorf("%v: %s is offered to %s and does %d", view, b.keys[0], b.short, got)
				}
			}
			line := d.line(-1)
			for _, s := range []string{"help", "quit"} {
				if !d.m.typing && !strings.Contains(line, s) {
					t.Errorf("%v: no %s in %q", view, s, line)
				}
			}
		})
	}
}

// No key is bound to two things that can both be done at one moment, but by the order of
// the keymap; and every verb of the keymap has words for the help.
func TestKeymap(t *testing.T) {
	for i := range keymap {
		b := &keymap[i]
		if b.long == "" || b.shown == "" || len(b.keys) == 0 {
			t.Errorf("line %d of the keymap has no words", i)
		}
		for _, o := range keymap[i+1:] {
			if o.verb == b.verb {
				t.Errorf("%s is in the keymap twice", b.long)
			}
			for _, k := range b.keys {
				for _, ok := range o.keys {
					if k == ok && o.typed == b.typed {
						t.Errorf("%s is both %s and %s", k, b.long, o.long)
					}
				}
			}
		}
	}
}

// Update answers at once however many items there are; drawing looks at those in sight.
func BenchmarkFrameOf100kTopics(b *testing.B) {
	fake := adminapitest.New()
	for i := range 100_000 {
		n := fmt.Sprintf("topic/%06d", i)
		fake.T = append(fake.T, adminapi.Topic{Name: n, Names: adminapi.Names{Kafka: n}, Partitions: []adminapi.Partition{{End: int64(i)}}, Records: int64(i)})
	}
	m := modelOf(b, fake, 200, 50)
	m.Update(press("2"))
	m.screens[1].answer(fake.T, time.Now())
	m.rearrange()
	down, up := press("pgdown"), press("pgup")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 < 50 {
			m.Update(down)
		} else {
			m.Update(up)
		}
		_ = m.View()
	}
}

func BenchmarkArrange100kTopics(b *testing.B) {
	fake := adminapitest.New()
	for i := range 100_000 {
		n := fmt.Sprintf("topic/%06d", i)
		fake.T = append(fake.T, adminapi.Topic{Name: n, Partitions: []adminapi.Partition{{End: int64(i)}}, Records: int64(i * 7919 % 100_003)})
	}
	m := modelOf(b, fake, 200, 50)
	m.Update(press("2"))
	b.ReportAllocs()
	for b.Loop() {
		m.screens[1].answer(fake.T, time.Now())
		m.rearrange()
	}
}

// TestProgram runs the whole program, keys read from a terminal's bytes and frames
// written to one.
func TestProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, _ := load(t)
		begun := time.Now()
		in, out := newPipe(), &screenshot{}
		done := make(chan error, 1)
		go func() {
			done <- run(t.Context(), Options{
				Find: func() (adminapi.Source, string, error) { return fake, "test", nil }, Zone: time.UTC, Color: true,
				In: in, Out: out, Environ: []string{"TERM=xterm-256color"},
			}, tea.WithWindowSize(80, 24))
		}()
		out.await(t, "messages in")
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("the first frame took %v of the program's own waiting", took)
		}
		in.write("2")
		out.await(t, "payments")
		in.write("/pay\r")
		out.await(t, "1 of 7")
		in.write("\x1b[B") // down: there is only one row
		in.write("q")
		if err := <-done; err != nil {
			t.Error(err)
		}
		in.close()
	})
}
