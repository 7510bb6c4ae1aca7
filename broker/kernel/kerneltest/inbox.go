package kerneltest

import (
	"context"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/kernel"
)

// Inbox is the sink of a consumer that takes what has come when it likes: it never refuses.
type Inbox struct {
	mu   sync.Mutex
	got  []Arrived
	some chan struct{} // capacity 1
}

// Arrived is one delivery.
type Arrived struct {
	ID          string // its value up to the first space: the rest fills it up
	No          uint64
	Packet      uint16 // of a session's delivery
	Redelivered bool
}

func NewInbox() *Inbox { return &Inbox{some: make(chan struct{}, 1)} }

// Deliver implements kernel.Sink.
func (i *Inbox) Deliver(d *kernel.Delivery) bool {
	id, _, _ := strings.Cut(string(d.Msg.Value), " ")
	i.mu.Lock()
	i.got = append(i.got, Arrived{id, d.No, d.PacketID, d.Redelivered})
	i.mu.Unlock()
	select {
	case i.some <- struct{}{}:
	default:
	}
	return true
}

// Gone implements kernel.Sink.
func (i *Inbox) Gone(kernel.GoneReason) {}

// Poll takes the oldest delivery; false: there is none now.
func (i *Inbox) Poll() (Arrived, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.got) == 0 {
		return Arrived{}, false
	}
	d := i.got[0]
	i.got = i.got[1:]
	return d, true
}

// Next waits for the oldest delivery.
func (i *Inbox) Next(ctx context.Context) (Arrived, error) {
	for {
		if d, ok := i.Poll(); ok {
			return d, nil
		}
		select {
		case <-i.some:
		case <-ctx.Done():
			return Arrived{}, ctx.Err()
		}
	}
}
