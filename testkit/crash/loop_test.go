package crash

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

var (
	kills = flag.Int("kills", 5, "how often TestKillLoop kills the broker")
	seed  = flag.Uint64("seed", 0, "seed of the moments at which a broker is killed; 0: drawn")
)

// chance is the source of a test's moments. Its seed is printed when the test fails: it
// gives the same moments again, to clients that are never quite the same.
func chance(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-seed %d", s)
		}
	})
	return rand.New(rand.NewPCG(s, 0))
}

// fixedPort is a free port that the system does not give to those who ask for any: clients
// that try to reach a broker which is gone would else find themselves there.
func fixedPort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 15000 + rand.IntN(15000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			check(t, l.Close())
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// recovery is how long restarts took.
type recovery struct{ accepting, first []time.Duration }

// measure sends a message to itself through a broker that has just come up.
func (r *recovery) measure(t *testing.T, p *process, started, ready time.Time) {
	t.Helper()
	r.accepting = append(r.accepting, ready.Sub(started))
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker(p.urls.MQTT).SetAutoReconnect(false).SetConnectTimeout(patience))
	wait(t, c.Connect())
	got := make(chan struct{}, 1)
	wait(t, c.Subscribe("first", 1, func(paho3.Client, paho3.Message) { got <- struct{}{} }))
	wait(t, c.Publish("first", 1, false, "message"))
	next(t, got, "the first message")
	r.first = append(r.first, time.Since(started))
	c.Disconnect(0)
}

func (r *recovery) String() string {
	line := func(what string, of []time.Duration) string {
		if len(of) == 0 {
			return ""
		}
		s := slices.Sorted(slices.Values(of))
		ms := func(i int) time.Duration { return s[i].Round(100 * time.Microsecond) }
		var all strings.Builder
		for _, d := range of {
			fmt.Fprintf(&all, " %d", d.Milliseconds())
		}
		return fmt.Sprintf("exec to %s: min %v, median %v, p99 %v, max %v; in ms:%s", what, ms(0), ms(len(s)/2), ms((len(s)*99-1)/100), ms(len(s)-1), &all)
	}
	return fmt.Sprintf("%d restarts measured\n  %s\n  %s", len(r.first), line("accepting", r.accepting), line("first message", r.first))
}

// A broker under the traffic of all three protocols is killed again and again, stopped and
// continued meanwhile, and killed while it recovers. Nothing that was acknowledged is lost,
// comes twice where that is promised, or goes back.
func TestKillLoop(t *testing.T) {
	random := chance(t)
	data, port := t.TempDir(), strconv.Itoa(fixedPort(t))
	args := []string{"--port", port, "--data", data}
	p := up(t, args...)
	l := newLoad(t, net.JoinHostPort("127.0.0.1", port))
	began := time.Now()
	var times recovery
	pauses, early := 0, 0
	moment := func(most time.Duration) { <-time.After(time.Duration(random.Int64N(int64(most)))) }
	for range *kills {
		moment(time.Second)
		if random.IntN(3) == 0 { // out of breath, as on a machine that swaps
			pauses++
			check(t, p.cmd.Process.Signal(syscall.SIGSTOP))
			moment(300 * time.Millisecond)
			check(t, p.cmd.Process.Signal(syscall.SIGCONT))
			moment(200 * time.Millisecond)
		}
		p.kill()
		for random.IntN(4) == 0 { // again, before or shortly after it is up
			early++
			p = launch(t, args...)
			moment(100 * time.Millisecond)
			p.kill()
		}
		started := time.Now()
		p = launch(t, args...)
		check(t, p.ready())
		times.measure(t, p, started, time.Now())
		l.check(patient(t), t)
		if l.faulty() {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.finish(ctx, t)
	l.report(t)
	t.Logf("%d kills in %v, %d more during recovery, %d pauses; %v\nacknowledged: %s", *kills, time.Since(began).Round(time.Second), early, pauses, &times, l.summary())
}
