package broker

import (
	"github.com/robustmq/rmq/broker/admin"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// traffic is what the protocol servers have counted, in the order of the API.
func (b *Broker) traffic() []adminapi.Traffic {
	m, k, a := b.mqtt.Stats(), &b.kafka.Stats, b.amqp.Stats()
	mt := adminapi.Traffic{
		Protocol: "mqtt", Connections: int(m.Connections.Load()), Waiting: m.Parked.Load(), WaitingBytes: m.ParkedBytes.Load(),
		Counters: adminapi.Counters{
			MessagesIn: m.MessagesIn.Load(), MessagesOut: m.MessagesOut.Load(), BytesIn: m.BytesIn.Load(), BytesOut: m.BytesOut.Load(),
			Accepted: m.Connects.Load(), Dropped: m.Dropped(), Throttled: m.Slowed.Load(),
		},
		ErrorsBy: make(map[string]uint64),
	}
	m.EndedBy(func(r mqttwire.Reason, n uint64) {
		mt.ErrorsBy[r.String()] = n
		mt.Errors += n
	})
	kt := adminapi.Traffic{
		Protocol: "kafka", Connections: int(k.Connections.Load()), Waiting: k.Held.Load(), WaitingBytes: k.HeldBytes.Load(),
		Counters: adminapi.Counters{
			MessagesIn: k.Produced.Load(), MessagesOut: k.Fetched.Load(), BytesIn: k.BytesIn.Load(), BytesOut: k.BytesOut.Load(), Accepted: k.Accepted.Load(),
			Throttled: k.Throttled.Load(),
		},
		ErrorsBy: make(map[string]uint64),
	}
	for i := range k.Closed {
		r := kafka.Reason(i)
		if n := k.Closed[i].Load(); n > 0 && r > kafka.ByServer && r != kafka.Idle {
			kt.ErrorsBy[r.String()] = n
			kt.Errors += n
		}
	}
	at := adminapi.Traffic{
		Protocol: "amqp", Connections: int(a.Connections.Load()), Waiting: a.Waiting.Load(), WaitingBytes: a.WaitingBytes.Load(),
		Counters: adminapi.Counters{
			MessagesIn: a.Published.Load(), MessagesOut: a.Delivered.Load(), BytesIn: a.PublishedBytes.Load(), BytesOut: a.DeliveredBytes.Load(),
			Accepted: a.Accepted.Load(),
		},
		ErrorsBy: make(map[string]uint64),
	}
	for name, n := range map[string]uint64{
		"channel errors": a.ChannelErrors.Load(), "connection errors": a.ConnectionErrors.Load(), "wrong password": a.AuthFailures.Load(),
		"handshake timeout": a.HandshakeTimeout.Load(), "missed heartbeats": a.HeartbeatsMissed.Load(), "too slow": a.TooSlow.Load(),
	} {
		if n > 0 {
			at.ErrorsBy[name] = n
			at.Errors += n
		}
	}
	return []adminapi.Traffic{mt, kt, at}
}

// slow lists the clients of MQTT that were slow to take messages.
func (b *Broker) slow() (all []adminapi.Slow) {
	list, _ := b.mqtt.Slow()
	for i := range list {
		x := &list[i]
		all = append(all, adminapi.Slow{
			ClientID: x.ClientID, Topic: x.Topic, QoS: x.QoS, Latency: x.Latency.Seconds(), At: x.At.UTC(), Count: x.Count, Node: b.self(),
		})
	}
	return all
}

// clientsOf describes the connections behind sessions, going once through those there are.
func (b *Broker) clientsOf(ids ...string) map[string]admin.Client {
	wanted := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		wanted[id] = struct{}{}
	}
	out := make(map[string]admin.Client, len(ids))
	for _, c := range b.mqtt.Clients() {
		if _, ok := wanted[c.ClientID]; ok {
			out[c.ClientID] = admin.Client{
				User: c.User, Version: c.Version.String(), Remote: c.Remote.String(), Transport: c.Transport, Since: c.Since,
				KeepAlive: int(c.KeepAlive.Seconds()), Aliases: c.Aliases, AliasMax: c.AliasMax,
			}
		}
	}
	return out
}
