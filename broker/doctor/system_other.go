//go:build !linux

package doctor

import "errors"

// device is what a file system says of itself.
type device struct {
	kind          string
	free, total   uint64
	inodes, ifree uint64
}

func deviceOf(string) (device, error) { return device{}, errors.ErrUnsupported }
