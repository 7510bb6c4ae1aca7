package adminapitest

import (
	"context"
	"io"
)

// Snapshot writes File.
func (f *Fake) Snapshot(_ context.Context, w io.Writer) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	_, err = w.Write(f.File)
	return err
}
