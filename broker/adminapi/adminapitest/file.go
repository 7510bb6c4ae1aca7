package adminapitest

import (
	"context"
	"io"

	"github.com/robustmq/rmq/broker/adminapi"
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

// Load keeps what it is given as File.
func (f *Fake) Load(_ context.Context, r io.Reader) (adminapi.Loaded, error) {
	all, err := io.ReadAll(r)
	if err != nil {
		return adminapi.Loaded{}, err
	}
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Loaded{}, err
	}
	defer unlock()
	f.File = all
	f.S.Loads++
	return adminapi.Loaded{Number: f.S.Loads}, nil
}
