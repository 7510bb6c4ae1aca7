package local

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What a burst of connections or messages leaves behind, stacks that have grown too, is collected when others
// allocate. A broker of idle connections allocates nothing, and would keep for minutes what nobody uses: so it is given
// back when the broker has fallen quiet.

const (
	quietLook  = 5 * time.Second
	quietBytes = 4 << 20  // allocated between two looks: more, and the broker is not quiet
	givenLeast = 16 << 20 // allocated since memory was last given back: less is not worth a collection
	stackLeast = 4 << 20  // of stacks that nobody uses, which are free once there is a collection; also of what is free
	stackMost  = 8 << 10  // of a goroutine that waits
)

// memory counts bytes of the heap, and of stacks.
type memory struct {
	allocated  uint64 // since the process began
	live       uint64 // in use as of the last collection
	stacks     uint64 // those of goroutines that have ended since the last collection included
	goroutines uint64
	free       uint64 // of the heap, in nobody's use and not given back
}

func readMemory() memory {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return memory{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64(), s[3].Value.Uint64(), s[4].Value.Uint64()}
}

// gives tells whether it is time to give memory back: nothing much happens since the last look, and much has since
// memory was last given back, by what it costs to collect, or connections have left their stacks.
func (m memory) gives(looked, given memory) bool {
	return m.allocated-looked.allocated < quietBytes &&
		(m.allocated-given.allocated > max(givenLeast, m.live/4) || m.stacks > m.goroutines*stackMost+stackLeast || m.free > m.live/4+stackLeast)
}

// giveBack gives memory back whenever the broker has fallen quiet, until ctx ends.
func giveBack(ctx context.Context) {
	tick := time.NewTicker(quietLook)
	defer tick.Stop()
	looked := readMemory()
	for given := (memory{}); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := readMemory()
		if now.gives(looked, given) {
			debug.FreeOSMemory()
			given = now
		}
		looked = now
	}
}
