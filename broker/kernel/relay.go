package kernel

import (
	"slices"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// What is delivered at QoS 0 is in no log, so it is relayed to the nodes that hold a
// connection which is to have it: once to each, whatever it has there. A frame that is lost is
// as a delivery that is.
//
//	kind (1: relay), namespace, client id of the publisher, QoS, then one batch of one record

// Kinds of frames between kernels: the first byte of each.
const (
	relayFrame    = 1 // this file's
	askFrame      = 2 // everywhere.go's
	toldFrame     = 3
	wantFrame     = 4 // transfer.go's
	pieceFrame    = 5
	handOverFrame = 6 // leader.go's
)

// elsewhere adds the node that holds a session's connection, if another one does.
func (k *Kernel) elsewhere(nodes []uint64, r *sessionRoute) []uint64 {
	if !k.Clustered() {
		return nodes
	}
	holder := life(r.holder.Load())
	if holder == 0 || holder == k.incarnation {
		return nodes
	}
	for n := range k.meta.view.Load().AllNodes() {
		if n.Incarnation == holder && !n.Down && !slices.Contains(nodes, n.ID) {
			nodes = append(nodes, n.ID)
		}
	}
	return nodes
}

// relay sends a message to nodes, for those that are connected there.
func (k *Kernel) relay(nodes []uint64, ns, from string, m *message.Message) {
	head := []byte{relayFrame}
	head = codec.String(head, ns)
	head = codec.String(head, from)
	head = append(head, m.QoS)
	frame := append(head, alone(m, k.nowMs())...)
	for i, node := range nodes {
		f := frame
		if i < len(nodes)-1 {
			f = slices.Clone(frame) // a frame is its receiver's
		}
		k.cfg.Peers.Send(node, f)
	}
}

// Receive takes in a frame of another node, as its Peers.Send was given it. It does not block,
// and keeps nothing of the frame. fault.Invalid: it is not one.
func (k *Kernel) Receive(from uint64, frame []byte) error {
	switch {
	case len(frame) == 0:
		return fault.New(fault.Invalid, "receive", "frame", "of no bytes")
	case frame[0] == askFrame || frame[0] == toldFrame:
		return k.asked(from, frame)
	case frame[0] == wantFrame || frame[0] == pieceFrame:
		return k.receiveTransfer(from, frame)
	case frame[0] != relayFrame && frame[0] != handOverFrame:
		return fault.New(fault.Unsupported, "receive", "frame", "of kind %d, which this release does not know", frame[0])
	case !k.opened.Load():
		return nil // nobody is connected here, and nothing is led
	case frame[0] == handOverFrame:
		return k.receiveHandOver(from, frame)
	}
	r := codec.NewReader(frame[1:])
	ns, client, qos := r.String(), r.String(), r.Byte()
	if r.Err() != nil || qos > 2 {
		return fault.New(fault.Invalid, "receive", "frame", "a malformed relay from node %d", from)
	}
	b, _, err := record.Check(frame[len(frame)-r.Len():], MessageMax)
	if err != nil {
		return fault.New(fault.Invalid, "receive", "frame", "a relay from node %d: %w", from, err)
	}
	return b.Each(func(rec *record.Record) error {
		m := message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, "", true)
		m.QoS = qos
		p := &Publish{Namespace: ns, Msg: m, relayed: true, relayedFrom: client}
		var res PublishResult
		k.deliverLive(p, k.byAddress(k.topo.space(ns), m.Address, m.Headers), &res)
		return nil
	})
}
