// Package fresh keeps what is made of the items of log 0, and makes it anew when those have changed.
package fresh

import (
	"sync"
	"sync/atomic"
)

// Source is where items are kept. Safe for concurrent use.
type Source interface {
	// ItemsVersion is a number that changes when an item does; what is read after it is at least as new.
	ItemsVersion() uint64
}

// Value is what is made of a source, as of now. Safe for concurrent use.
type Value[T any] struct {
	source Source
	read   func() T
	mu     sync.Mutex // held by who reads anew
	now    atomic.Pointer[version[T]]
}

type version[T any] struct {
	number uint64
	value  T
}

// New returns the value that read makes of a source. Nothing is read before it is asked for.
func New[T any](s Source, read func() T) *Value[T] { return &Value[T]{source: s, read: read} }

// Load returns the value as it is now: while nothing changes, the same one. Of those who come upon a change
// together, one reads. That of a nil Value is zero.
func (v *Value[T]) Load() (value T) {
	if v == nil {
		return value
	}
	if at := v.now.Load(); at != nil && at.number == v.source.ItemsVersion() {
		return at.value
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	number := v.source.ItemsVersion()
	if at := v.now.Load(); at != nil && at.number == number {
		return at.value // who had the lock has read it
	}
	at := &version[T]{number, v.read()}
	v.now.Store(at)
	return at.value
}
