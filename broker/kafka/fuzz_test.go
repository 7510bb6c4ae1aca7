package kafka_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hasty is a clock on which nothing takes any time.
type hasty struct{ clock.Wall }

func (hasty) AfterFunc(_ time.Duration, f func()) clock.Timer {
	return clock.Wall{}.AfterFunc(0, f)
}

// canned is a peer that has sent everything, and listens.
type canned struct {
	in  bytes.Reader
	out bytes.Buffer // of one writer, who has ended when ServeConn returns
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *canned) Close() error                     { return nil }
func (c *canned) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092} }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// FuzzRequest sends one request of any bytes, and then one that must be answered unless
// the first closed the connection.
func FuzzRequest(f *testing.F) {
	k := kerneltest.Open(f, kerneltest.Options{NoCapture: true, Link: hasty{}})
	b := startOn(f, k, kafka.Config{Link: hasty{}, NoAutoCreate: true, Authenticator: alice})
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
		last := &raw{t: t, next: 41}
		c := &canned{in: *bytes.NewReader(slices.Concat(
			binary.BigEndian.AppendUint32(nil, uint32(len(body))), body, last.request(kmsg.NewPtrApiVersionsRequest()),
		))}
		_ = b.srv.ServeConn(c)
		for all := c.out.Bytes(); len(all) > 0; { // whole frames
			if len(all) < 4 || int(binary.BigEndian.Uint32(all)) > len(all)-4 {
				t.Fatalf("the answers end in half a frame: %x", all)
			}
			all = all[4+binary.BigEndian.Uint32(all):]
		}
	})
}
