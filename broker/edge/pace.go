package edge

import (
	"time"

	"github.com/robustmq/rmq/broker/clock"
)

// pace lets so many through each second, evenly after a burst of one second's worth. One
// goroutine uses it.
type pace struct {
	clock     clock.Clock
	perSecond int       // 0: no limit
	due       time.Time // when as many as have been let through would have been, evenly
}

// next returns once another one may come; false: stop was closed first.
func (p *pace) next(stop <-chan struct{}) bool {
	if p.perSecond <= 0 {
		return true
	}
	now := p.clock.Now()
	if burst := now.Add(-time.Second); p.due.Before(burst) {
		p.due = burst
	}
	p.due = p.due.Add(time.Second / time.Duration(p.perSecond))
	wait := p.due.Sub(now)
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
