package meta

import (
	"encoding/json"
	"iter"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
)

// Item is one row of a table that log 0 keeps and does not read: a ban, a setting. Whom the
// table is for knows its form.
type Item struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value,omitempty"`
	Until int64           `json:"until,omitempty"` // ms; from then on it may make room for others; 0: never
	// Weak items are of the broker's own making: they have half of a table, so that they keep nobody
	// from adding his.
	Weak bool `json:"weak,omitempty"`
	// Secret items have values that are shown to nobody who looks at the log.
	Secret bool `json:"secret,omitempty"`
}

// Bounds of a table of items.
const (
	ItemsMax = 10_000
	ItemMax  = 64 << 10 // bytes of a value
)

// putItems adds items to the table c.Name, or replaces them, all or none. Number is how many that has
// changed.
func (s *State) putItems(c *Command) Result {
	refuse := func(kind fault.Kind, key, text string, args ...any) Result {
		return Result{Err: fault.New(kind, "put "+c.Name, key, text, args...)}
	}
	if c.Name == "" || strings.Contains(c.Name, "\x00") {
		return refuse(fault.Invalid, "", "%q is no name of a table", c.Name)
	}
	all, weak := s.countItems(c.Name)
	added := make(map[string]bool)
	for i := range c.Items {
		x := &c.Items[i]
		switch {
		case x.Key == "" || len(x.Key) > MaxKey-len(c.Name)-1:
			return refuse(fault.TooLarge, "", "a key of %d bytes", len(x.Key))
		case len(x.Value) > ItemMax:
			return refuse(fault.TooLarge, x.Key, "%d bytes, and at most %d are kept", len(x.Value), ItemMax)
		}
		if _, there := s.items.Get(pair(c.Name, x.Key)); there || added[x.Key] {
			continue
		}
		added[x.Key] = true
		all++
		if x.Weak {
			weak++
		}
	}
	if all > ItemsMax || weak > ItemsMax/2 {
		gone, weakGone := s.dropExpired(c.Name, c.Time)
		if all-gone > ItemsMax || weak-weakGone > ItemsMax/2 {
			return refuse(fault.Exhausted, "", "%d are there, and at most %d are kept", all-gone-len(added), ItemsMax)
		}
	}
	var r Result
	for _, x := range c.Items {
		key := pair(c.Name, x.Key)
		if old, there := s.items.Get(key); there && string(old.Value) == string(x.Value) && old.Until == x.Until && old.Weak == x.Weak && old.Secret == x.Secret {
			continue
		}
		s.items.Set(key, &x)
		s.touch("i", key)
		r.Number++
	}
	return r
}

// deleteItems takes items from the table c.Name, by their keys. Number is how many were there.
func (s *State) deleteItems(c *Command) Result {
	var r Result
	for i := range c.Items {
		key := pair(c.Name, c.Items[i].Key)
		if _, there := s.items.Delete(key); there {
			s.touch("i", key)
			r.Number++
		}
	}
	return r
}

func (s *State) countItems(table string) (all, weak int) {
	for x := range s.AllItems(table) {
		all++
		if x.Weak {
			weak++
		}
	}
	return all, weak
}

// dropExpired takes away what is over by now, in ms.
func (s *State) dropExpired(table string, now int64) (all, weak int) {
	var over []*Item
	for x := range s.AllItems(table) {
		if x.Until != 0 && x.Until <= now {
			over = append(over, x)
		}
	}
	for _, x := range over {
		key := pair(table, x.Key)
		s.items.Delete(key)
		s.touch("i", key)
		all++
		if x.Weak {
			weak++
		}
	}
	return all, weak
}

// Item returns one of a table by its key.
func (s *State) Item(table, key string) (*Item, bool) { return s.items.Get(pair(table, key)) }

// AllItems yields the items of a table in the order of their keys.
func (s *State) AllItems(table string) iter.Seq[*Item] {
	prefix := pair(table, "")
	return func(yield func(*Item) bool) {
		s.items.Ascend(prefix, func(key string, x *Item) bool { return strings.HasPrefix(key, prefix) && yield(x) })
	}
}
