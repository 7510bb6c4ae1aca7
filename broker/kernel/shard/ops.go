package shard

import (
	"fmt"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
)

// op carries out one command. Its fields are read by the function of its kind, which
// stands beside the Builder method that writes them.
func (m *Machine) op(o Op, r *codec.Reader, out *Outcome) error {
	var res OpResult
	switch o {
	case OpRoute:
		res = m.route(r, out)
	case OpRetain:
		res = m.retain(r, out)
	case OpCreateLog:
		res = m.createLog(r, out)
	case OpDeleteLog:
		res = m.deleteLog(r, out)
	case OpTrim:
		res = m.trim(r, out)
	case OpCreateQueue:
		res = m.createQueue(r, out)
	case OpDeleteQueue:
		res = m.deleteQueue(r, out)
	case OpPurge:
		res = m.purge(r, out)
	case OpAttach:
		res = m.attach(r, out)
	case OpDetach:
		res = m.detach(r, out)
	case OpCancel:
		res = m.cancel(r, out)
	case OpCredit:
		res = m.credit(r, out)
	case OpGet:
		res = m.get(r, out)
	case OpSettle:
		res = m.settle(r, out)
	case OpDeadLettered:
		res = m.deadLettered(r, out)
	case OpOpenSession:
		res = m.openSession(r, out)
	case OpCloseSession:
		res = m.closeSession(r, out)
	case OpSubscribe:
		res = m.subscribe(r, out)
	case OpUnsubscribe:
		res = m.unsubscribe(r, out)
	case OpAck:
		res = m.ack(r, out)
	case OpReceived:
		res = m.received(r, out)
	case OpIncoming:
		res = m.incoming(r)
	case OpRelease:
		res = m.release(r)
	case OpStart:
		res = m.start(r, out)
	case OpTick:
		res = m.tick(out)
	case OpGroup:
		res = m.group(r, out)
	case OpRefuse:
		res = m.refuse(r)
	case OpForget:
		res = m.forget(r)
	case OpDelay:
		res = m.delay(r, out)
	case OpDelayed:
		res = m.delayedDone(r, out)
	case OpHandOver:
		res = m.handOver(r, out)
	case OpDispatch:
		res = m.dispatch(r, out)
	default:
		return fmt.Errorf("unknown command %d", o)
	}
	if r.Err() != nil {
		return fmt.Errorf("command %d: %w", o, r.Err())
	}
	out.Ops = append(out.Ops, res)
	return nil
}

// CreateLog makes the log of a partition of the stream with that address; one that is
// there stays as it is.
func (b *Builder) CreateLog(log uint64, address string) int {
	i := b.op(OpCreateLog)
	b.ops = codec.String(codec.Uint(b.ops, log), address)
	return i
}

func (m *Machine) createLog(r *codec.Reader, out *Outcome) OpResult {
	id, address := r.Uint(), r.String()
	if m.log(id) == nil {
		m.logs.Set(id, &Log{ID: id, Address: address, gen: m.gen})
		m.dirty.logs.Insert(id)
		out.Effects = append(out.Effects, Effect{Kind: LogCreated, Log: id, Key: address})
	}
	return OpResult{}
}

// DeleteLog removes a log, to its readers at once; what queues and sessions still refer
// to in it stays until they have done with it.
func (b *Builder) DeleteLog(log uint64) int {
	i := b.op(OpDeleteLog)
	b.ops = codec.Uint(b.ops, log)
	return i
}

func (m *Machine) deleteLog(r *codec.Reader, out *Outcome) OpResult {
	id := r.Uint()
	if id == Bodies {
		return OpResult{Err: fault.Of(fault.Invalid, "delete log", "")}
	}
	if l := m.log(id); l != nil && !l.Deleted {
		l.Deleted, l.Start = true, l.Next
		l.forgetProducers()
		out.Effects = append(out.Effects, Effect{Kind: LogTrimmed, Log: id, Offset: l.Start})
		m.endLog(l, out)
	}
	return OpResult{}
}

// endLog forgets a deleted log that nothing refers to.
func (m *Machine) endLog(l *Log, out *Outcome) {
	if l.Deleted && l.live.Len() == 0 {
		m.bury(l.save)
		m.logs.Delete(l.ID)
		out.Effects = append(out.Effects, Effect{Kind: LogDeleted, Log: l.ID})
	}
}

// Trim moves the first offset of a log that readers may see; N is where it is then.
func (b *Builder) Trim(log uint64, start int64) int {
	i := b.op(OpTrim)
	b.ops = codec.Int(codec.Uint(b.ops, log), start)
	return i
}

func (m *Machine) trim(r *codec.Reader, out *Outcome) OpResult {
	id, start := r.Uint(), r.Int()
	l := m.log(id)
	switch {
	case l == nil:
		return OpResult{Err: fault.Of(fault.NotFound, "trim", "")}
	case start > l.Next:
		return OpResult{Err: fault.New(fault.OutOfRange, "trim", "", "offset %d, the end is %d", start, l.Next), N: l.Start}
	case start > l.Start:
		l.Start = start
		out.Effects = append(out.Effects, Effect{Kind: LogTrimmed, Log: id, Offset: start})
	}
	return OpResult{N: l.Start}
}
