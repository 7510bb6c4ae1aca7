package auth

import (
	"net/netip"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
)

// Who guesses is slowed down: after guessesFree wrong passwords in a row for one user from one
// address, the next is looked at after a while, which doubles each time up to guessWaitMax.
// Until then a password that would have to be hashed is refused unseen. Other users of the same
// address are not held up, nor are passwords that were checked before.
const (
	guessesFree  = 10
	guessWait    = 100 * time.Millisecond
	guessWaitMax = 30 * time.Second
	guessersMax  = 1 << 16 // that are remembered; beyond it, any of them makes room
)

// throttle remembers who guesses.
type throttle struct {
	clock clock.Clock

	mu    sync.Mutex
	wrong map[fingerprint]guesser // guarded by mu
}

type guesser struct {
	n     int
	until time.Time
}

// block is what stands for an address: of IPv6, the network of a subscriber.
func block(a netip.Addr) string {
	if a.Is6() {
		p, _ := a.WithZone("").Prefix(64)
		a = p.Addr()
	}
	return a.String()
}

// wait tells for how long a guesser has to wait; 0: it does not.
func (t *throttle) wait(who fingerprint) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(0, t.wrong[who].until.Sub(t.clock.Now()))
}

// told takes note of an outcome.
func (t *throttle) told(who fingerprint, right bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if right {
		delete(t.wrong, who)
		return
	}
	g, known := t.wrong[who]
	if !known && len(t.wrong) >= guessersMax {
		for old := range t.wrong {
			delete(t.wrong, old)
			break
		}
	}
	if g.n++; g.n > guessesFree {
		wait := guessWaitMax
		if doubled := g.n - guessesFree - 1; doubled < 9 {
			wait = min(wait, guessWait<<doubled)
		}
		g.until = t.clock.Now().Add(wait)
	}
	t.wrong[who] = g
}
