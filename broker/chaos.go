package broker

import (
	"io"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/vfs"
)

// This file has the plan of faults reach the disk and the other nodes. Without rules for them, a file operation and a
// frame pay a load.

// disk is the file system, which fails as the plan says.
func (b *Broker) disk() vfs.FS {
	inner := b.cfg.FS
	if inner == nil {
		inner = vfs.OS{}
	}
	fs := vfs.NewFaulty(inner, nil)
	var one sync.Mutex // two changes at once: the later sees what both made
	heed := func(s chaos.Seam) {
		one.Lock()
		defer one.Unlock()
		switch {
		case s != chaos.Disk:
		case b.chaos.On(chaos.Disk):
			fs.SetHook(b.disturbFile)
		default:
			fs.SetHook(nil)
		}
	}
	b.chaos.OnChange(heed)
	heed(chaos.Disk)
	return fs
}

// disturbFile asks about a file operation.
func (b *Broker) disturbFile(op vfs.Op) error {
	act, ok := b.chaos.Ask(chaos.Ask{Seam: chaos.Disk, What: op.Kind.String(), Grow: op.Grow})
	if !ok {
		return nil
	}
	switch act.Do {
	case chaos.Delay:
		return &vfs.Hold{Wait: func() { b.chaos.Wait(act, b.stopping, nil) }}
	case chaos.Full:
		return syscall.ENOSPC
	case chaos.Tear:
		return &vfs.Short{Bytes: op.Size / 2, Err: io.ErrShortWrite}
	}
	return syscall.EIO
}

// channel is the way to the other nodes in one channel, on which frames get lost as the plan says.
func (b *Broker) channel(n byte) transport.Sender {
	return lossy{b, b.cfg.Cluster.Network.Channel(n)}
}

type lossy struct {
	b  *Broker
	to transport.Sender
}

func (l lossy) Send(to uint64, frame []byte) {
	_ = l.b.pass(to, frame, func(frame []byte) error { // a transport may lose frames
		l.to.Send(to, frame)
		return nil
	})
}

// disturbed is a receiver whose frames get lost as the plan says.
func (b *Broker) disturbed(r transport.Receiver) transport.Receiver {
	return func(from uint64, frame []byte) error {
		return b.pass(from, frame, func(frame []byte) error { return r(from, frame) })
	}
}

// pass asks about a frame from or to another node, and hands it on.
func (b *Broker) pass(node uint64, frame []byte, on func([]byte) error) error {
	if !b.chaos.On(chaos.Node) {
		return on(frame)
	}
	act, ok := b.chaos.Ask(chaos.Ask{Seam: chaos.Node, What: strconv.FormatUint(node, 10)})
	switch {
	case !ok:
	case act.Do == chaos.Drop:
		return nil
	case act.Do == chaos.Duplicate:
		again := slices.Clone(frame)
		_ = on(frame) // the second tells
		return on(again)
	default:
		later := slices.Clone(frame)
		b.chaos.After(act, func() {
			select {
			case <-b.stopping:
			default:
				_ = on(later) // nobody is there any more to be told
			}
		})
		return nil
	}
	return on(frame)
}
