package bridge

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/kernel"
)

// tableStates is the table of items with the states of bridges, by name. A state is of the broker's own
// making, and is written when a bridge connects, fails in another way than before, or moves.
const tableStates = "bridge states"

// State is how a bridge is.
type State struct {
	Node      uint64    `json:"node"` // that runs it
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`           // that it is so
	Error     string    `json:"error,omitempty"` // the last one
	ErrorAt   time.Time `json:"error_at,omitzero"`
}

// errorMax is how many bytes of an error are told: some of them are the remote broker's words.
const errorMax = 512

// fail notes an error. One that comes again is not news.
func (s *State) fail(err error, now time.Time) {
	if err == nil {
		return
	}
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if n := errorMax; len(text) > n {
		for n -= len("…"); !utf8.RuneStart(text[n]); {
			n--
		}
		text = text[:n] + "…"
	}
	if text != s.Error {
		s.Error, s.ErrorAt = text, now.UTC().Truncate(time.Second)
	}
}

// states are those of all bridges, as all nodes are told.
func (b *Bridges) states() map[string]json.RawMessage {
	all := make(map[string]json.RawMessage)
	for _, x := range b.k.Items(tableStates) {
		all[x.Key] = x.Value
	}
	return all
}

// tellAgain is how long after it could not be told a state is told again.
const tellAgain = time.Second

// tellStates tells all nodes how the bridges of this one are. What is there is compared with what is so
// after every change: a node that ran a bridge before may have had the last word. After a failure nothing but
// time has it told again: what was refused is a change of log 0 too, and would ask for the next at once.
func (b *Bridges) tellStates() {
	defer b.done.Done()
	var again chan struct{} // not nil: it failed, and this is the time to tell again
	for {
		tell := b.tell
		if again != nil {
			tell = nil
		}
		select {
		case <-tell:
		case <-again:
			again = nil
		case <-b.ctx.Done():
			return
		}
		there := b.states()
		var items []kernel.Item
		for name, r := range b.runningNow() {
			if r.ctx.Err() != nil || !b.defined(r) {
				continue
			}
			value, err := json.Marshal(r.stateNow())
			if err == nil && string(there[name]) != string(value) {
				items = append(items, kernel.Item{Key: name, Value: value, Weak: true})
			}
		}
		if len(items) == 0 {
			continue
		}
		if _, err := b.k.PutItems(b.ctx, tableStates, items...); err != nil && b.ctx.Err() == nil {
			b.cfg.Log.Warn("bridge: states not told", "err", err)
			over := make(chan struct{})
			b.cfg.Link.AfterFunc(tellAgain, func() { close(over) })
			again = over
		}
	}
}

func (b *Bridges) runningNow() map[string]*runner {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]*runner, len(b.running))
	for name, r := range b.running {
		all[name] = r
	}
	return all
}
