//go:build !linux

package fusefs

import (
	"errors"

	"github.com/robustmq/rmq/broker/vfs"
)

// Mounted is a file system that is mounted.
type Mounted struct{}

// Mount fails: only Linux has what it needs.
func Mount(string, vfs.FS) (*Mounted, error) {
	return nil, errors.ErrUnsupported
}

// Unmount ends it.
func (*Mounted) Unmount() error { return nil }
