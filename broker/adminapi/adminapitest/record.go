package adminapitest

import (
	"context"
	"io"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Record writes Recording.
func (f *Fake) Record(_ context.Context, _ adminapi.RecordQuery, w io.Writer) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	_, err = w.Write(f.Recording)
	return err
}

// Replay keeps what it is given as Recording, and says that it is one message.
func (f *Fake) Replay(_ context.Context, _ adminapi.ReplayQuery, r io.Reader, emit func(adminapi.Replayed) error) error {
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	f.Recording = all
	unlock()
	return emit(adminapi.Replayed{Published: 1, Done: true})
}
