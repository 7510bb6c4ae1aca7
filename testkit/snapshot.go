package testkit

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// Snapshot is all that a broker held at one moment: topics with their records and offsets, queues with
// what is ready and what consumers had, sessions with what is on its way to them and what waits,
// retained messages, groups, transactions and producers, users and settings; and broker time, if that is
// virtual. It never changes, may be used as often as wanted, by brokers at once, and outlives the broker
// that it is of.
//
// It holds what outlives a restart. So what has durability memory is not in it, nor what dies with a
// connection: sessions that do not outlive theirs, exclusive queues. The clients of the moment are
// gone: what a consumer had and did not acknowledge is ready again, sessions are away.
type Snapshot struct {
	image *memlog.Image
	at    time.Time // of a virtual clock; zero: the machine's
}

// snapshotMax bounds how long a snapshot may take.
const snapshotMax = time.Minute

// Snapshot takes a snapshot. All that the broker has acknowledged is in it. Nothing of the bytes of
// records is copied, however many there are; clients do not notice.
func (b *Broker) Snapshot() *Snapshot {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), snapshotMax)
	defer cancel()
	image, err := b.broker.Image(ctx)
	if err != nil {
		b.t.Fatalf("testkit: snapshot: %v", err)
	}
	s := &Snapshot{image: image}
	if h := b.cfg.broker.Hands; h != nil {
		s.at = h.Time().Now()
	}
	b.events.add("test", "snapshot")
	return s
}

// From begins a broker with what a snapshot holds. Any number may begin with one, and none of them sees
// what another does. A clock that was virtual is, and stands where it stood; Virtual and VirtualAt behind
// From say otherwise.
func From(s *Snapshot) Option {
	return func(c *config) {
		c.from = s
		if !s.at.IsZero() {
			c.broker.Hands = clock.NewHands(s.at)
		}
	}
}

// Restore has the broker hold again what it held as a snapshot was taken, be it of this broker or of
// another. It is a restart: connections end, and clients that connect again find the same ports. A
// virtual clock goes back to where it stood.
func (b *Broker) Restore(s *Snapshot) {
	b.t.Helper()
	if b.cfg.broker.DataDir != "" {
		b.t.Fatalf("testkit: a data directory is not put back: leave DataDir out")
	}
	if b.cfg.broker.Cluster != nil {
		b.t.Fatalf("testkit: a node of a cluster is not put back: the others would have what it lacks")
	}
	if err := b.Close(); err != nil {
		b.t.Fatalf("testkit: close: %v", err)
	}
	b.cfg.broker.Ports = b.broker.Ports()
	b.cfg.from, b.cfg.users = s, nil // they are in it
	if h := b.cfg.broker.Hands; h != nil {
		at := s.at
		if at.IsZero() {
			at = h.Time().Now()
		}
		b.cfg.broker.Hands = clock.NewHands(at)
	}
	b.events.add("test", "restore")
	if err := b.open(); err != nil {
		b.t.Fatalf("testkit: restore: %v", err)
	}
}
