//go:build !linux

package vfs

import "os"

func (f osFile) WritevAt(bufs [][]byte, off int64) (int64, error) { return writeEach(f, bufs, off) }

// SyncData is Sync: on Darwin, Go's Sync also empties the device's cache, which is
// what durable means here.
func (f osFile) SyncData() error { return f.Sync() }

func reserve(f *os.File, _, size int64) error { return f.Truncate(size) }

// bootID is not known: see os_linux.go.
func bootID() string { return "" }
