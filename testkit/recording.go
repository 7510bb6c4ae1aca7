package testkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/recording"
)

// Record records what is published from now on, over every protocol and by tests, until stop is called,
// which returns the recording: a file as `rmq record` writes it, for Replay.
func (b *Broker) Record() (stop func() []byte) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	file := &begun{began: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- b.broker.Admin().Record(ctx, adminapi.RecordQuery{}, file) }() // ends with stop, and at the end of the test
	b.t.Cleanup(cancel)
	select {
	case <-file.began:
	case err := <-ended:
		b.t.Fatalf("testkit: record: %v", err)
	}
	b.events.add("test", "record")
	return func() []byte {
		b.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			b.t.Fatalf("testkit: record: %v", err)
		}
		return file.Bytes()
	}
}

// begun is a file that tells when recording has begun.
type begun struct {
	bytes.Buffer
	began chan struct{} // closed then
	told  bool
}

func (f *begun) Flush() error {
	if !f.told {
		f.told = true
		close(f.began)
	}
	return nil
}

// replayMax bounds how long a replay may take.
const replayMax = time.Minute

// Replay publishes a recording again, each message over its protocol's own way with all that it had, and
// returns when it has happened. A virtual clock moves along by the time that the recording takes, so that
// what expires and falls due meanwhile does so in its place: two brokers that hold the same and are given
// the same recording hold the same afterwards. By the machine's clock all is published at once.
func (b *Broker) Replay(file []byte) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), replayMax)
	defer cancel()
	b.events.add("test", "replay")
	q := adminapi.ReplayQuery{}
	if b.cfg.broker.Hands != nil {
		q.Speed = 1
	}
	waits, ended := make(chan struct{}, 1), make(chan error, 1)
	var last adminapi.Replayed
	go func() { // ends with the replay, which ctx bounds
		ended <- b.broker.Admin().Replay(ctx, q, bytes.NewReader(file), func(r adminapi.Replayed) error {
			last = r
			if r.Waiting {
				select {
				case waits <- struct{}{}:
				default:
				}
			}
			return nil
		})
	}()
	var err error
	select {
	case <-waits:
		b.Clock.Advance(takes(file))
		err = <-ended
	case err = <-ended:
	}
	if err == nil && last.Failed > 0 {
		err = errors.New(last.Problems[0])
	}
	if err != nil {
		b.t.Fatalf("testkit: replay: %v", err)
	}
}

// takes is the time from the first to the last item of a recording.
func takes(file []byte) time.Duration {
	in, err := recording.NewReader(bytes.NewReader(file))
	first, last, some := int64(0), int64(0), false
	for err == nil {
		var it *recording.Item
		if it, _, err = in.Next(); it != nil {
			if !some {
				first, some = it.Time, true
			}
			last = it.Time
		}
	}
	if !errors.Is(err, io.EOF) {
		return 0 // the replay tells what is wrong with it
	}
	return time.Duration(last-first) * time.Millisecond
}
