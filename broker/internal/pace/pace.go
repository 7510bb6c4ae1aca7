// Package pace holds a flow to so much a second, evenly after a burst of one second's worth.
package pace

import "time"

// Pace is how far a flow has come. The zero value has taken nothing. Not safe for concurrent use.
type Pace struct {
	due int64 // ns since 1970: when as much as was taken would have been, evenly
}

// Take takes n, and returns for how long to take no more. perSecond may differ from call to call; it is
// above 0.
func (p *Pace) Take(now time.Time, n, perSecond int) time.Duration {
	p.due = p.after(now, n, perSecond)
	return max(0, time.Duration(p.due-now.UnixNano()))
}

// TakeWithin is Take, with what would be due later than most from now on forgiven.
func (p *Pace) TakeWithin(now time.Time, n, perSecond int, most time.Duration) time.Duration {
	if late := now.Add(most).UnixNano(); float64(n)/float64(perSecond) > most.Seconds()+1 || p.after(now, n, perSecond) > late {
		p.due = late
		return most
	}
	return p.Take(now, n, perSecond)
}

// Try takes n if that is not too much by now.
func (p *Pace) Try(now time.Time, n, perSecond int) bool {
	due := p.after(now, n, perSecond)
	if due > now.UnixNano() {
		return false
	}
	p.due = due
	return true
}

func (p *Pace) after(now time.Time, n, perSecond int) int64 {
	burst := now.Add(-time.Second).UnixNano()
	return max(p.due, burst) + int64(float64(n)/float64(perSecond)*float64(time.Second))
}
