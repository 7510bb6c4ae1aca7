package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/message"
)

func newLive(q adminapi.LiveQuery) *live {
	l := &live{q: q, ns: "/", ch: make(chan adminapi.Message, liveWaiting), now: time.Now}
	l.leave.Store(int64(q.RateMax))
	return l
}

// A burst is shown whole; of a flood each step shows a part, and over a second as much as was asked for.
// What is not shown is counted.
func TestLiveLeave(t *testing.T) {
	for _, rate := range []int{1, 3, 10, 25, 1000} {
		l := newLive(adminapi.LiveQuery{RateMax: rate})
		m := &message.Message{Address: "a", Source: message.MQTT}
		flood := func(n int) (shown int) {
			before := l.shown.Load()
			for range n {
				l.see("/", m)
				for len(l.ch) > 0 {
					<-l.ch
				}
			}
			return int(l.shown.Load() - before)
		}
		if got := flood(2 * rate); got != rate {
			t.Errorf("%d of a burst were shown at a rate of %d", got, rate)
		}
		second, most := 0, 0
		for step := range liveSteps {
			l.give(step)
			got := flood(5000)
			second, most = second+got, max(most, got)
		}
		if second != rate || most > rate/liveSteps+1 {
			t.Errorf("a rate of %d showed %d in a second, %d in one step", rate, second, most)
		}
		if !l.spare("/", "a", 7) || l.spare("/elsewhere", "a", 7) != true {
			t.Error("records are taken apart with no leave to show one")
		}
		st := l.stats()
		if want := uint64(2*rate + 50_000 + 7); st.Matched != want || st.Shown != uint64(2*rate) || st.Sampled != want-st.Shown || st.Dropped != 0 {
			t.Errorf("counted %+v, of %d", st, want)
		}
		for step := range 3 * liveSteps { // nothing comes for long: one second's leave is kept
			l.give(step)
		}
		if got := flood(3 * rate); got != rate {
			t.Errorf("%d were shown after a pause, at a rate of %d", got, rate)
		}
	}
	looks := newLive(adminapi.LiveQuery{Contains: "x"})
	if looks.spare("/", "a", 7) {
		t.Error("records are not looked at for a text")
	}
}

// What a message costs its publisher that is sampled out: a flood of 100,000 a second at 10 ns each is a
// thousandth of one processor.
func BenchmarkLiveSampledOut(b *testing.B) {
	l := newLive(adminapi.LiveQuery{RateMax: 1})
	l.leave.Store(0)
	m := &message.Message{Address: "fleet/berlin/temp", Source: message.MQTT, Value: []byte(`{"temp":21.5}`)}
	b.ReportAllocs()
	for b.Loop() {
		l.see("/", m)
	}
}

// What one costs that is shown: at most RateMax of a second do.
func BenchmarkLiveShown(b *testing.B) {
	l := newLive(adminapi.LiveQuery{RateMax: 1000, BodyMax: adminapi.LiveBodyMax})
	m := &message.Message{Address: "fleet/berlin/temp", Source: message.MQTT, Value: fmt.Appendf(nil, `{"temp":%d}`, 21)}
	b.ReportAllocs()
	for b.Loop() {
		l.leave.Store(1)
		l.see("/", m)
		<-l.ch
	}
}
