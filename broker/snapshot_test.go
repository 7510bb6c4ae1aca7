package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/storage/snapshot"
)

func opened(t *testing.T, cfg broker.Config) *broker.Broker {
	t.Helper()
	cfg.Ports = broker.AnyPorts()
	b, err := broker.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

type published chan kernel.PublishResult

func (p published) Published(_ uint64, r kernel.PublishResult) { p <- r }

func publish(t *testing.T, b *broker.Broker, address, value string, retain bool) {
	t.Helper()
	done := make(published, 1)
	m := message.Message{Address: address, Value: []byte(value), QoS: 1, Retain: retain, Source: message.MQTT}
	if err := b.Kernel().PublishWait(t.Context(), &kernel.Publish{Namespace: "/", ViaExchange: address == "q", Key: address, Msg: m, Reply: done}); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
}

// held tells what a broker holds.
func held(t *testing.T, b *broker.Broker) string {
	t.Helper()
	var s strings.Builder
	k := b.Kernel()
	for _, st := range k.Streams("/") {
		for _, p := range st.Parts {
			fmt.Fprintf(&s, "%s %d-%d; ", st.Address, p.Start, p.End)
		}
	}
	for _, q := range k.Queues("/") {
		fmt.Fprintf(&s, "%s %d; ", q.Name, q.Ready)
	}
	for _, m := range k.RetainedMessages("/", "#", 100) {
		fmt.Fprintf(&s, "%s=%d; ", m.Address, len(m.Value))
	}
	return s.String()
}

// A snapshot goes from memory to a disk and back, and is the same all the way.
func TestSnapshotFile(t *testing.T) {
	ctx := t.Context()
	first := opened(t, broker.Config{})
	if _, _, err := first.Kernel().DeclareQueue(ctx, kernel.QueueSpec{Namespace: "/", Name: "q", Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		publish(t, first, fmt.Sprintf("sensors/dev%d/temp", i%7), strings.Repeat("x", i*10), true)
	}
	for range 5 {
		publish(t, first, "q", "job", false)
	}
	want := held(t, first)
	if !strings.Contains(want, "sensors 0-300; ") || !strings.Contains(want, "q 5; ") {
		t.Fatal(want)
	}
	var file bytes.Buffer
	id, err := first.Snapshot(ctx, &file, snapshot.Note{Name: "why", Content: []byte("a test")})
	if err != nil {
		t.Fatal(err)
	}
	from := func(b []byte) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	dir := t.TempDir()
	disk := opened(t, broker.Config{DataDir: dir, Snapshot: from(file.Bytes())})
	if got := held(t, disk); got != want {
		t.Errorf("on disk\n got %s\nwant %s", got, want)
	}
	publish(t, disk, "sensors/dev9/temp", "more", false)
	want = held(t, disk)
	if err := disk.Close(ctx); err != nil {
		t.Fatal(err)
	}
	disk = opened(t, broker.Config{DataDir: dir})
	if got := held(t, disk); got != want {
		t.Errorf("started again\n got %s\nwant %s", got, want)
	}
	var back bytes.Buffer
	if _, err := disk.Snapshot(ctx, &back); err != nil {
		t.Fatal(err)
	}
	image, c, err := broker.ReadImage(bytes.NewReader(back.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	memory := opened(t, broker.Config{Engine: image.Open()})
	if got := held(t, memory); got != want {
		t.Errorf("in memory again\n got %s\nwant %s", got, want)
	}
	if c.ID == id || c.Streams != 2 || c.Queues != 1 || c.Cluster != first.Kernel().Cluster() {
		t.Errorf("it is said to be of %+v", c.About)
	}
	got, err := snapshot.Check(bytes.NewReader(file.Bytes()))
	if err != nil || got.ID != id {
		t.Fatalf("the file is %v: %v", got, err)
	}
	if note, ok := got.Note("why"); !ok || string(note) != "a test" {
		t.Errorf("notes: %v", got.Notes)
	}

	// Nothing is put over what there is.
	if _, err := broker.Open(ctx, broker.Config{DataDir: dir, Ports: broker.AnyPorts(), Snapshot: from(file.Bytes())}); err == nil {
		t.Error("a directory was overwritten")
	}
	// Nothing is begun with what is damaged.
	rotten := bytes.Clone(file.Bytes())
	rotten[len(rotten)/2] ^= 1
	for what, b := range map[string][]byte{"rot": rotten, "a cut": file.Bytes()[:file.Len()-50], "text": []byte("hello")} {
		fresh := t.TempDir()
		_, err := broker.Open(ctx, broker.Config{DataDir: fresh, Ports: broker.AnyPorts(), Snapshot: from(b)})
		if !fault.Is(err, fault.Invalid) || !errors.Is(err, snapshot.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := os.ReadDir(fresh + "/segments"); len(left) > 0 {
			t.Errorf("%s: segments were written", what)
		}
	}
}

// What publishers are told of while a snapshot is written is not in it, and they are not held up.
func TestSnapshotOfOneMoment(t *testing.T) {
	b := opened(t, broker.Config{DataDir: t.TempDir()})
	for i := range 20 {
		publish(t, b, "a/b", fmt.Sprint(i), false)
	}
	var file bytes.Buffer
	w := during{&file, func() { publish(t, b, "a/b", "late", false) }}
	if _, err := b.Snapshot(t.Context(), &w); err != nil {
		t.Fatal(err)
	}
	image, _, err := broker.ReadImage(&file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := held(t, opened(t, broker.Config{Engine: image.Open()})), "a 0-20; "; got != want {
		t.Errorf("the snapshot has %s, want %s", got, want)
	}
}

// during does something each time that something is written, from when the cut is over.
type during struct {
	to io.Writer
	do func()
}

func (d *during) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("\x02")) && len(b) == 9 { // the first shard
		d.do()
	}
	return d.to.Write(b)
}
