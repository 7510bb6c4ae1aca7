package edge

import (
	"github.com/robustmq/rmq/broker/clock"
	even "github.com/robustmq/rmq/broker/internal/pace"
)

// pace lets so many through each second. One goroutine uses it.
type pace struct {
	clock     clock.Clock
	perSecond int // 0: no limit
	taken     even.Pace
}

// next returns once another one may come; false: stop was closed first.
func (p *pace) next(stop <-chan struct{}) bool {
	if p.perSecond <= 0 {
		return true
	}
	wait := p.taken.Take(p.clock.Now(), 1, p.perSecond)
	if wait <= 0 {
		return true
	}
	ready := make(chan struct{})
	timer := p.clock.AfterFunc(wait, func() { close(ready) })
	defer timer.Stop()
	select {
	case <-ready:
		return true
	case <-stop:
		return false
	}
}
