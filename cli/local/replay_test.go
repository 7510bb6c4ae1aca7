package local

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage/snapshot"
	"github.com/robustmq/rmq/cli/env"
)

// What a file holds is looked at in a broker of its own, at the time of the file.
func TestReopen(t *testing.T) {
	ctx := t.Context()
	b, err := broker.Open(ctx, broker.Config{Ports: broker.AnyPorts()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.WithoutCancel(ctx))
	if _, err := b.Kernel().CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "orders", Partitions: 3}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "orders.rmq")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Snapshot(ctx, f, snapshot.Note{Name: "timeline", Content: []byte("it was made\n")}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	e := &env.Env{Dir: t.TempDir(), Home: t.TempDir(), Getenv: func(string) string { return "" }}
	for range 2 { // as often as wanted: the file stays as it is
		url, notes, end, err := Reopen(ctx, e, path)
		if err != nil {
			t.Fatal(err)
		}
		if notes["timeline"] != "it was made\n" {
			t.Errorf("the notes are %q", notes)
		}
		c, err := adminapi.NewClient(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		topic, err := c.Topic(ctx, adminapi.Ref{Namespace: "/", Name: "orders"})
		if err != nil || len(topic.Partitions) != 3 {
			t.Errorf("the topic is %+v: %v", topic, err)
		}
		if now, err := c.Clock(ctx); err != nil || !now.Frozen || now.Kind != adminapi.ClockVirtual {
			t.Errorf("its time is %+v: %v", now, err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	if _, _, _, err := Reopen(ctx, e, "nothing"); env.Explain(err).Exit != env.NotFound {
		t.Errorf("a file that is not there: %v", err)
	}
}
