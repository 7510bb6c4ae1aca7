package adminapitest

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Changes tells once, and nothing changes after that.
func (f *Fake) Changes(ctx context.Context, emit func(adminapi.Changed) error) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	unlock()
	if err := emit(adminapi.Changed{N: 1}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
