package telemetry

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWriteText(t *testing.T) {
	var r Registry
	var in atomic.Uint64
	in.Store(1 << 40)
	r.Register("rmq_messages_in_total", "Messages published\nby clients.", Counter, func(emit Emit) {
		emit(float64(in.Load()), "protocol", "mqtt")
		emit(2, "protocol", "a\"b\\c\nd\xff", "kind", "x")
	})
	r.Register("rmq_heap_bytes", "Heap.", Gauge, func(emit Emit) { emit(1.5) })
	h := r.Histogram("rmq_publish_seconds", "Publish to ack.")
	h.Observe(3 * time.Microsecond)
	h.Observe(time.Hour)
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"# HELP rmq_heap_bytes Heap.\n# TYPE rmq_heap_bytes gauge\nrmq_heap_bytes 1.5\n# HELP rmq_messages_in_total Messages published\\nby clients.\n",
		"# TYPE rmq_messages_in_total counter\n",
		"rmq_messages_in_total{protocol=\"mqtt\"} 1099511627776\n",
		"rmq_messages_in_total{protocol=\"a\\\"b\\\\c\\nd\uFFFD\",kind=\"x\"} 2\n",
		"# TYPE rmq_publish_seconds histogram\n",
		"rmq_publish_seconds_bucket{le=\"2e-06\"} 0\nrmq_publish_seconds_bucket{le=\"4e-06\"} 1\n",
		"rmq_publish_seconds_bucket{le=\"+Inf\"} 2\nrmq_publish_seconds_sum 3600.000003\nrmq_publish_seconds_count 2\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	for _, name := range []string{"", "Upper", "1st", "a-b", "taken"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was registered", name)
				}
			}()
			var r Registry
			r.Register("taken", "", Gauge, nil)
			r.Register(name, "", Gauge, nil)
		}()
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := 1; i <= 100; i++ {
		h.Observe(time.Duration(i) * time.Millisecond)
	}
	h.Observe(-time.Second)
	if n := h.Count(); n != 101 {
		t.Errorf("%d observed", n)
	}
	for _, tt := range []struct {
		q     float64
		exact time.Duration
	}{{0.5, 50 * time.Millisecond}, {0.99, 99 * time.Millisecond}, {1, 100 * time.Millisecond}} {
		if got := h.Quantile(tt.q); got < tt.exact || got > 2*tt.exact {
			t.Errorf("quantile %v: %v, truly %v", tt.q, got, tt.exact)
		}
	}
	// A bucket's bound belongs to it.
	var edge Histogram
	edge.Observe(4 * time.Microsecond)
	if got := edge.Quantile(1); got != 4*time.Microsecond {
		t.Errorf("4µs is in the bucket to %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWindow(t *testing.T) {
	at := time.Unix(1000, 0)
	second := func(n int) time.Time { return at.Add(time.Duration(n) * time.Second) }
	w := NewWindow(4, 2)
	if _, ok := w.Rate(0, time.Minute); ok {
		t.Error("a rate of nothing")
	}
	w.Add(second(0), 0, 100)
	if _, ok := w.Rate(0, time.Minute); ok {
		t.Error("a rate of one reading")
	}
	for i, v := range []uint64{10, 30, 60, 100} {
		w.Add(second(i+1), v, 100)
	}
	for _, tt := range []struct {
		i    int
		span time.Duration
		want float64
	}{
		{0, time.Second, 40}, {0, 2 * time.Second, 35}, {0, time.Minute, 30}, {0, 0, 40}, {1, time.Minute, 0},
	} {
		if got, ok := w.Rate(tt.i, tt.span); !ok || got != tt.want {
			t.Errorf("rate of %d over %v: %v, want %v", tt.i, tt.span, got, tt.want)
		}
	}
	if got := w.AppendRates(nil, 0); !slices.Equal(got, []float64{20, 30, 40}) {
		t.Errorf("rates %v", got)
	}
	w.Add(second(5), 5, 100) // the broker restarted
	if _, ok := w.Rate(0, time.Minute); ok {
		t.Error("a rate across a restart")
	}
	w.Add(second(6), 7, 101)
	if got, _ := w.Rate(0, time.Minute); got != 2 {
		t.Errorf("after a restart: %v", got)
	}
}
