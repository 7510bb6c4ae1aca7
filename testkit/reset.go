package testkit

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Reset takes away what clients have made and what is to go wrong by plan, for the next test: topics, queues, exchanges,
// bindings, sessions, groups, retained and delayed messages. MQTT clients are disconnected; those of the other
// protocols find nothing any more. Users, settings and the clock stay. It takes a broker in memory.
//
// Restore puts back what a Snapshot holds instead, and ends every connection.
func (b *Broker) Reset() adminapi.Reset {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settleMax)
	defer cancel()
	b.events.add("test", "reset")
	gone, err := b.Admin().Reset(ctx)
	if err != nil {
		b.t.Fatalf("testkit: reset: %v", err)
	}
	return gone
}
