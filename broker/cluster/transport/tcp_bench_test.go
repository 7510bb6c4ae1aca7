package transport

import (
	"context"
	"fmt"
	"testing"
)

// pair joins two nodes, and gives what arrives at the second on ChanRaft to r.
func pair(tb testing.TB, r Receiver) (one, two *TCP) {
	tb.Helper()
	listen := func(id uint64) *TCP {
		t, err := Listen(TCPConfig{Self: id, Cluster: "bench", Token: testToken, Addr: "127.0.0.1:0"})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = t.Close(context.Background()) })
		return t
	}
	one, two = listen(1), listen(2)
	two.Handle(ChanRaft, r)
	peers := map[uint64]string{1: one.Addr().String(), 2: two.Addr().String()}
	one.SetPeers(peers)
	two.SetPeers(peers)
	return one, two
}

// BenchmarkSend: frames a second one way, as many as fit waiting.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{100, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			window := min(256, waitingDefault/2/size)
			room := make(chan struct{}, window)
			one, _ := pair(b, func(uint64, []byte) error { <-room; return nil })
			to, frame := one.Channel(ChanRaft), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				room <- struct{}{}
				to.Send(2, frame)
			}
			for range window { // all have arrived
				room <- struct{}{}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// BenchmarkRoundTrip: a frame there, and its receiver's answer back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{100, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frame := make([]byte, size)
			var back *Channel
			one, two := pair(b, func(from uint64, _ []byte) error { back.Send(from, frame); return nil })
			back = two.Channel(ChanRaft)
			done := make(chan struct{})
			one.Handle(ChanRaft, func(uint64, []byte) error { done <- struct{}{}; return nil })
			to := one.Channel(ChanRaft)
			b.SetBytes(2 * int64(size))
			b.ReportAllocs()
			for b.Loop() {
				to.Send(2, frame)
				<-done
			}
		})
	}
}
