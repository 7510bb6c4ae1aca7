package env

import (
	"fmt"
	"time"
)

// progressPause is how long at least is between two lines of progress.
const progressPause = 200 * time.Millisecond

// Progress returns what shows how far something has come, on a terminal and nowhere else. The line
// goes when all of it is done.
func (e *Env) Progress(what string, total int64) func(done int64) {
	if !e.ErrTTY || e.Quiet || total == 0 {
		return nil
	}
	var last time.Time
	return func(done int64) {
		now := e.Now()
		if now.Sub(last) < progressPause && done < total {
			return
		}
		last = now
		fmt.Fprintf(e.Err, "\r\x1b[K%s: %d of %d (%d %%)", Clean(what), done, total, done*100/total)
		if done >= total {
			fmt.Fprint(e.Err, "\r\x1b[K")
		}
	}
}
