package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/recording"
)

// Who watches a broker, or records what is published to it, does not keep it from beginning anew: the stream ends, and a
// recording is whole.
func TestLoadWhileWatched(t *testing.T) {
	ctx := t.Context()
	l, err := openLoadable(ctx, broker.Config{Ports: broker.AnyPorts(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.WithoutCancel(ctx))
	c, err := adminapi.NewClient(l.URLs().HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	if err := c.Snapshot(ctx, &snapshot); err != nil {
		t.Fatal(err)
	}
	watching, watched := make(chan struct{}), make(chan error, 1)
	go func() {
		watched <- c.Changes(ctx, func(n adminapi.Changed) error {
			if n.N == 1 {
				close(watching)
			}
			return nil
		})
	}()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(c.Record(ctx, adminapi.RecordQuery{}, pw)) }()
	begun := make([]byte, 1)
	if _, err := io.ReadFull(pr, begun); err != nil {
		t.Fatal(err)
	}
	recorded := make(chan error, 1)
	go func() {
		r, err := io.ReadAll(pr)
		if err == nil {
			err = wholeRecording(append(begun, r...))
		}
		recorded <- err
	}()
	<-watching

	if _, err := c.Load(ctx, &snapshot); err != nil {
		t.Fatal(err)
	}
	if err := <-watched; err == nil {
		t.Error("the stream of a broker that has ended was whole")
	}
	if err := <-recorded; err != nil {
		t.Errorf("the recording: %v", err)
	}
	l.work.Wait()
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Status(ctx); err != nil || st.Loads != 1 || st.LoadFailed != "" {
		t.Errorf("%+v: %v", st, err)
	}
}

// wholeRecording reads a recording to its end.
func wholeRecording(b []byte) error {
	r, err := recording.NewReader(bytes.NewReader(b))
	for err == nil {
		_, _, err = r.Next()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
