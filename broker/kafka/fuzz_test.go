package kafka_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hasty is a clock on which nothing takes any time.
type hasty struct{ clock.Wall }

func (hasty) AfterFunc(_ time.Duration, f func()) clock.Timer {
	return clock.Wall{}.AfterFunc(0, f)
}

// FuzzRequest sends one request of any bytes, and then one that must be answered unless
// the first closed the connection.
func FuzzRequest(f *testing.F) {
	b := start(f, kafka.Config{Link: hasty{}, NoAutoCreate: true, Authenticator: alice})
	b.topic("t", 2, nil)
	r := &raw{t: f}
	for _, a := range ask[*kmsg.ApiVersionsResponse](b.dial(), kmsg.NewPtrApiVersionsRequest(), 0).ApiKeys {
		for v := a.MinVersion; v <= a.MaxVersion; v++ {
			q := kmsg.RequestForKey(a.ApiKey)
			q.SetVersion(v)
			f.Add(r.request(q)[4:])
		}
	}
	for _, v := range []int16{3, 9, 12} {
		f.Add(r.request(produceOf(v, "t", 0, batchOf("x", "y")))[4:])
		f.Add(r.request(fetchOf(max(v, 4), "t", 0, 0))[4:])
	}
	var session = fetchOf(12, "t", 0, 0)
	session.SessionEpoch = 0
	f.Add(r.request(session)[4:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) >= 2 {
			switch binary.BigEndian.Uint16(body) {
			case 19, 20, 37:
				return // they would fill, or empty, the broker that all runs share
			}
		}
		here, there := net.Pipe()
		served := make(chan error)
		go func() { served <- b.srv.ServeConn(there) }()
		read := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(here)
			read <- all
		}()
		frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		_, err := here.Write(frame)
		last := &raw{t: t, Conn: here, next: 41}
		if err == nil {
			_, _ = here.Write(last.request(kmsg.NewPtrApiVersionsRequest()))
		}
		// The peer says that it is done, and reads on.
		_ = here.SetWriteDeadline(time.Unix(1, 0))
		go func() { _ = there.SetReadDeadline(time.Unix(1, 0)) }()
		<-served
		_ = here.Close()
		for all := <-read; len(all) > 0; { // whole frames
			if len(all) < 4 || int(binary.BigEndian.Uint32(all)) > len(all)-4 {
				t.Fatalf("the answers end in half a frame: %x", all)
			}
			all = all[4+binary.BigEndian.Uint32(all):]
		}
	})
}
