package sim

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// histories are what clients have asked for and were answered, by object, for porcupine: is
// there one order, in which each thing is done at one moment between call and answer, that
// explains all answers?
type histories struct {
	mu      sync.Mutex
	tick    int64
	objects map[string][]*operation
	ids     map[uint64]bool // of logs that log 0 has made
}

// operation is one call. One that is not done may have an effect at any later time up to ret,
// or, if that is 0, ever.
type operation struct {
	client    int
	in, out   any
	call, ret int64
	done      bool
	cancelled bool // refused: it has no effect
}

func newHistories() *histories {
	return &histories{objects: make(map[string][]*operation), ids: make(map[uint64]bool)}
}

func (h *histories) call(object string, client int, in any) *operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tick++
	op := &operation{client: client, in: in, call: h.tick}
	h.objects[object] = append(h.objects[object], op)
	return op
}

func (h *histories) end(op *operation, out any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tick++
	op.out, op.ret, op.done = out, h.tick, true
}

func (h *histories) cancel(op *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op.cancelled = true
}

// resolve uses what was there at the very end, when the partition was read and the queue was
// emptied by the last who attached to it. It tells in which order messages came, and what
// became of calls without an answer. The search for an order would find both, but only after
// it has tried in vain what turns out impossible much later.
func (h *histories) resolve() {
	var last uint64
	place := make(map[string]int) // by id: in the queue, as the last attachment saw it
	for _, op := range h.objects["queue"] {
		switch in := op.in.(queueAsk); {
		case in.attach != 0:
			last = in.attach
			clear(place)
		case in.get == last && op.done && op.out != "":
			place[op.out.(string)] = len(place) + 1
		}
	}
	for _, op := range h.objects["queue"] {
		if in := op.in.(queueAsk); in.publish != "" {
			in.place = place[in.publish]
			op.in = in
		}
	}
	h.resolveUnknown()
}

// resolveUnknown tells what became of calls without an answer.
func (h *histories) resolveUnknown() {
	first := make(map[string]int64) // by id: end of the first call that shows it
	last := make(map[string]int64)  // by id: begin of the last call that shows it
	for _, object := range []string{"partition", "queue"} {
		for _, op := range h.objects[object] {
			out, ok := op.out.(string)
			if !op.done || !ok {
				continue
			}
			for _, id := range strings.Fields(out) {
				if at, seen := first[id]; !seen || op.ret < at {
					first[id] = op.ret
				}
				last[id] = max(last[id], op.call)
			}
		}
		for _, op := range h.objects[object] {
			if op.done {
				continue
			}
			var id string
			switch in := op.in.(type) {
			case partitionAsk:
				id, _, _ = strings.Cut(in.ids, " ")
			case queueAsk:
				if in.settle != "" && !in.requeue && last[in.settle] > op.call {
					op.cancelled = true // it came again
				}
				id = in.publish
			}
			if at, seen := first[id]; seen {
				op.ret = at
			} else if id != "" {
				op.cancelled = true // it never came
			}
		}
	}
}

// unknown stands for the answer that a client never had.
type unknown struct{}

// checkWithin bounds the search for an order of one history. One that takes longer is
// undecided: neither good nor bad.
const checkWithin = 3 * time.Second

// check checks all histories, once they are complete, and tells how many there were, and for
// how many the search took too long.
func (h *histories) check() (checked, undecided int, err error) {
	for _, object := range sortedKeys(h.objects) {
		model, ok := modelOf(object)
		if !ok {
			continue
		}
		var ops []porcupine.Operation
		for _, op := range h.objects[object] {
			switch {
			case op.cancelled:
			case op.done:
				ops = append(ops, porcupine.Operation{ClientId: op.client, Input: op.in, Call: op.call, Output: op.out, Return: op.ret})
			default:
				ret := op.ret
				if ret == 0 {
					ret = math.MaxInt64
				}
				ops = append(ops, porcupine.Operation{ClientId: op.client, Input: op.in, Call: op.call, Output: unknown{}, Return: ret})
			}
		}
		checked++
		switch porcupine.CheckOperationsTimeout(model, ops, checkWithin) {
		case porcupine.Unknown:
			undecided++
		case porcupine.Illegal:
			return checked, undecided, fmt.Errorf("%s: no order explains what clients saw:\n%s", object, describe(ops))
		}
	}
	return checked, undecided, nil
}

func describe(ops []porcupine.Operation) string {
	var b strings.Builder
	for _, op := range ops {
		if op.Return == math.MaxInt64 {
			fmt.Fprintf(&b, "  %5d …     client %d: %v\n", op.Call, op.ClientId, op.Input)
		} else {
			fmt.Fprintf(&b, "  %5d %5d client %d: %v is %v\n", op.Call, op.Return, op.ClientId, op.Input, op.Output)
		}
	}
	return b.String()
}

func modelOf(object string) (porcupine.Model, bool) {
	switch {
	case object == "partition":
		return partitionModel, true
	case object == "queue":
		return queueHistory, true
	case object == "log 0":
		return log0Model, true
	case object == "producers":
		return producersModel, true
	case strings.HasPrefix(object, "offset of "):
		return offsetHistory, true
	}
	return porcupine.Model{}, false
}

// partitionAsk appends ids, or, without any, reads all.
type partitionAsk struct{ ids string }

func (p partitionAsk) String() string {
	if p.ids == "" {
		return "read"
	}
	return "append " + p.ids
}

// partitionModel is a list. An append answers where its first record is.
var partitionModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		s, ask := state.(string), in.(partitionAsk)
		if ask.ids == "" {
			return out == unknown{} || out == s, s
		}
		next := strings.TrimSpace(s + " " + ask.ids)
		return out == unknown{} || out == int64(len(strings.Fields(s))), next
	},
}

// offsetAsk commits an offset, or, with 0, reads it.
type offsetAsk struct{ commit int64 }

func (o offsetAsk) String() string {
	if o.commit == 0 {
		return "read"
	}
	return fmt.Sprint("commit ", o.commit)
}

// offsetHistory is a register.
var offsetHistory = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, in, out any) (bool, any) {
		if ask := in.(offsetAsk); ask.commit != 0 {
			return true, ask.commit
		}
		return out == unknown{} || out == state, state
	},
}

// producersModel is a counter: each answer is the first of so many numbers.
var producersModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, in, out any) (bool, any) {
		return out == unknown{} || out == state, state.(int64) + in.(int64)
	},
}

// log0Ask makes or deletes a stream, or, without a name, lists all.
type log0Ask struct {
	name   string
	create bool
}

func (l log0Ask) String() string {
	switch {
	case l.name == "":
		return "list"
	case l.create:
		return "create " + l.name
	}
	return "delete " + l.name
}

// log0Model is a set of names.
var log0Model = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		s, ask := state.(string), in.(log0Ask)
		if ask.name == "" {
			return out == unknown{} || out == s, s
		}
		names := strings.Fields(s)
		at, there := slices.BinarySearch(names, ask.name)
		changes := there != ask.create
		switch {
		case changes && ask.create:
			names = slices.Insert(names, at, ask.name)
		case changes:
			names = slices.Delete(names, at, at+1)
		}
		return out == unknown{} || out == fmt.Sprint(changes), strings.Join(names, " ")
	},
}

// queueAsk is one of: publish a message; attach; get one for an attachment; settle one that
// the attachment by holds; detach; or that the broker starts again, without attachments.
type queueAsk struct {
	publish             string
	place               int // of what is published among others that have one; 0: not known
	attach, get, detach uint64
	settle              string
	by                  uint64
	requeue             bool
	restart             bool
}

func (q queueAsk) String() string {
	switch {
	case q.restart:
		return "restart"
	case q.publish != "":
		return "publish " + q.publish
	case q.attach != 0:
		return fmt.Sprintf("attach %x", q.attach)
	case q.get != 0:
		return fmt.Sprintf("get by %x", q.get)
	case q.settle != "":
		return fmt.Sprintf("settle %s by %x, requeue %v", q.settle, q.by, q.requeue)
	}
	return fmt.Sprintf("detach %x", q.detach)
}

// detached is the answer to a get of an attachment that there is not.
const detached = "detached"

// queueState holds messages in the order in which they came; a message that comes back has
// its place still.
type queueState struct {
	messages []queued
	attached []uint64
	place    int // of the last message that has one
}

// queued is a message, and the attachment that holds it; 0: it is ready.
type queued struct {
	id string
	by uint64
}

// queueHistory is a queue: get takes the first that is ready.
var queueHistory = porcupine.Model{
	Init: func() any { return queueState{} },
	Step: func(state, in, out any) (bool, any) {
		s, ask := state.(queueState), in.(queueAsk)
		if ask.place != 0 && ask.place < s.place {
			return false, s // it came before one that is there
		}
		want, next := s.step(ask)
		return out == unknown{} || out == want, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(queueState), b.(queueState)
		return slices.Equal(x.messages, y.messages) && slices.Equal(x.attached, y.attached) && x.place == y.place
	},
}

// step returns the answer and the state after it. s is left as it is.
func (s queueState) step(ask queueAsk) (any, queueState) {
	next := queueState{slices.Clone(s.messages), s.attached, max(s.place, ask.place)}
	switch {
	case ask.restart:
		for i := range next.messages {
			next.messages[i].by = 0
		}
		next.attached = nil
		return "", next
	case ask.publish != "":
		next.messages = append(next.messages, queued{id: ask.publish})
		return "", next
	case ask.attach != 0:
		next.attached = append(slices.Clone(s.attached), ask.attach)
		slices.Sort(next.attached)
		return "", next
	case ask.get != 0:
		if !slices.Contains(s.attached, ask.get) {
			return detached, s
		}
		at := slices.IndexFunc(s.messages, func(m queued) bool { return m.by == 0 })
		if at < 0 {
			return "", s
		}
		next.messages[at].by = ask.get
		return s.messages[at].id, next
	case ask.settle != "":
		at := slices.Index(s.messages, queued{ask.settle, ask.by})
		switch {
		case at < 0:
			return int64(0), s
		case ask.requeue:
			next.messages[at].by = 0
		default:
			next.messages = slices.Delete(next.messages, at, at+1)
		}
		return int64(1), next
	}
	next.attached = slices.DeleteFunc(slices.Clone(s.attached), func(id uint64) bool { return id == ask.detach })
	for i := range next.messages {
		if ask.detach != 0 && next.messages[i].by == ask.detach {
			next.messages[i].by = 0
		}
	}
	return "", next
}
