package mqtt

import (
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/record"
)

// ofS lists the values of the records of the stream "s" from the n-th on.
func ofS(t *testing.T, k *kernel.Kernel, n int) (values []string) {
	t.Helper()
	st, _ := k.Stream("/", "s")
	part, err := k.Partition(st.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	end := part.Info().End
	for at := int64(n); at < end; {
		r, err := part.Read(at, 1<<20, "", true)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range r.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Next(raw)
				if err != nil {
					t.Fatal(err)
				}
				raw = rest
				if err := b.Each(func(rec *record.Record) error {
					if rec.Offset >= int64(n) {
						values = append(values, string(rec.Value))
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		at = r.Next
	}
	return values
}

// While its own publishes wait for the disk, a client is heard: its pings are answered, and its
// acknowledgements reach the kernel. When there is room the publishes are acknowledged, in
// order, and are in the stream in that order.
func TestPublishesThatWaitDoNotStopTheReader(t *testing.T) {
	for _, v := range []mqttwire.Version{mqttwire.V311, mqttwire.V5} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
			b := newBrokerOn(t, k, nil)
			connect := mqttwire.Connect{Version: v}
			if v == mqttwire.V5 {
				connect.Properties = none.Uint32(mqttwire.SessionExpiry, 3600)
			}
			c := b.connect("c", connect)
			c.subscribe(0, filter("in", 1))
			b.connect("other", mqttwire.Connect{CleanStart: true}).publish(msg("in", "to be acknowledged", 1))
			var delivery mqttwire.Publish
			if err := delivery.Decode(c.v, c.read(mqttwire.PUBLISH)); err != nil {
				t.Fatal(err)
			}

			slow.Hold()
			n := kerneltest.Crowd(t, k, kerneltest.Nobody{})
			for id, qos := range []byte{1, 2, 1} {
				p := msg("s", fmt.Sprint(id), qos)
				p.PacketID = uint16(100 + id)
				c.send(&p)
			}
			zero := msg("s", "nobody waits for this", 0)
			c.send(&zero)
			c.settled() // PINGREQ is answered, and nothing was before
			if s := b.s.Stats(); s.Parked.Load() != 3 || s.ParkedBytes.Load() == 0 {
				t.Errorf("%d publishes of %d bytes are parked", s.Parked.Load(), s.ParkedBytes.Load())
			}
			if shed := k.Stats().Shed.Load(); shed != 1 {
				t.Errorf("%d publishes of QoS 0 were shed", shed)
			}
			kerneltest.Handed(t, k, "PUBACK", func() { c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: delivery.PacketID}) })

			slow.Release()
			reason := mqttwire.Success
			if v == mqttwire.V5 {
				reason = mqttwire.NoMatchingSubscribers // a stream subscribes to nothing
			}
			c.want(
				&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 100, Reason: reason},
				&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 101, Reason: reason},
				&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 102, Reason: reason},
			)
			if got := fmt.Sprint(ofS(t, k, n)); got != "[0 1 2]" {
				t.Errorf("the stream ends with %s", got)
			}
			if s := b.s.Stats(); s.Parked.Load() != 0 || s.ParkedBytes.Load() != 0 {
				t.Errorf("%d publishes of %d bytes are still parked", s.Parked.Load(), s.ParkedBytes.Load())
			}
		})
	}
}

// What one client may have parked is bounded: beyond that it is disconnected, and its
// publishes are forgotten. Nobody else notices.
func TestClientBeyondWhatItMayParkIsDisconnected(t *testing.T) {
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
	b := newBrokerOn(t, k, nil)
	slow.Hold()
	n := kerneltest.Crowd(t, k, kerneltest.Nobody{})
	other := b.connect("other", mqttwire.Connect{CleanStart: true})
	other.send(&mqttwire.Publish{Topic: []byte("s"), Payload: []byte("patient"), QoS: 1, PacketID: 1})
	for _, v := range []mqttwire.Version{mqttwire.V311, mqttwire.V5} {
		c := b.connect(fmt.Sprint(v), mqttwire.Connect{Version: v, CleanStart: true})
		payload := make([]byte, 1<<20)
		for id := range parkMax/len(payload) + 1 {
			p := mqttwire.Publish{Topic: []byte("s"), Payload: payload, QoS: 1, PacketID: uint16(id + 1)}
			if _, err := c.nc.Write(encode(t, v, &p)); err != nil {
				break // it is gone already
			}
		}
		c.wantDisconnect(mqttwire.QuotaExceeded)
	}
	other.settled()
	kerneltest.Until(t, "only the patient one's is parked", func() bool { return b.s.Stats().Parked.Load() == 1 })
	slow.Release()
	other.want(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1, Reason: mqttwire.NoMatchingSubscribers})
	if got := fmt.Sprint(ofS(t, k, n)); got != "[patient]" {
		t.Errorf("the stream ends with %s", got)
	}
}
