package recording_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/recording"
)

var update = flag.Bool("update", false, "write golden files")

// golden is a recording of version 1: what a release has written, every later one reads.
const golden = "../../fixtures/recording/v1.rmqrec"

var about = recording.About{Release: "1.0", Begun: time.Date(2030, 1, 2, 3, 4, 5, 6000000, time.UTC), Virtual: true, Cluster: "c", Profile: "dev"}

func items() []*recording.Item {
	temp := message.Message{
		Source: message.MQTT, Address: "sensors/dev1/temp", Value: []byte("21.5"), QoS: 2, Retain: true, Time: 1000, ExpiresAt: 61000,
		Headers: []message.Header{{Name: "content-type", Value: []byte("text/plain")}}, Native: []byte{1, 2},
	}
	job := message.Message{
		Source: message.AMQP, Address: "jobs", Value: []byte("one"), QoS: 1, Priority: 3, Time: 2000, Delay: 500,
		Native: message.AppendAMQPNative(nil, "", "jobs", []byte{0, 0}),
	}
	var b record.Builder
	b.Reset(nil, 3000)
	b.Add(3000, []byte("k"), []byte("v"), message.Header{Name: "source", Value: []byte("shop")})
	b.Add(3001, nil, nil)
	return []*recording.Item{
		{Time: 1000, Namespace: "/", Batch: recording.Made(&temp)},
		{Time: 2000, Namespace: "tenant", ViaExchange: true, Key: "jobs", Keys: []string{"a.b", "c"}, Batch: recording.Made(&job)},
		{Time: 3002, Namespace: "/", Kafka: true, Address: "orders", Partition: 1, Partitions: 3, Acks: true, Batch: b.Finish()},
	}
}

func write(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := recording.NewWriter(&file, about)
	for i, it := range items() {
		err = errors.Join(err, w.Item(it))
		if i == 1 {
			err = errors.Join(err, w.Mark(recording.Mark{Time: 2500, LeftOut: 7}))
		}
	}
	if err := errors.Join(err, w.End()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// read reads a recording, and writes what it has anew.
func read(src []byte) (all []string, again []byte, err error) {
	in, err := recording.NewReader(bytes.NewReader(src))
	if err != nil {
		return nil, nil, err
	}
	var file bytes.Buffer
	w, err := recording.NewWriter(&file, in.About)
	for err == nil {
		it, mark, failed := in.Next()
		switch {
		case failed == io.EOF:
			err = w.End()
			return all, file.Bytes(), err
		case failed != nil:
			return all, nil, failed
		case it == nil:
			all = append(all, fmt.Sprintf("mark %d, %d left out", mark.Time, mark.LeftOut))
			err = w.Mark(mark)
			continue
		}
		each := it.Each(func(m *message.Message) error {
			all = append(all, fmt.Sprintf("%d %s %s %q %d/%d %v %q", it.Time, m.Source, m.Address, m.Value, it.Partition, it.Partitions, it.ViaExchange, it.Keys))
			return nil
		})
		if each != nil {
			all = append(all, "unreadable") // compressed, and damaged within
		}
		err = w.Item(it)
	}
	return all, file.Bytes(), err
}

func TestGolden(t *testing.T) {
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, write(t), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(write(t), kept) {
		t.Error("a recording is written otherwise now: that takes a version of its own")
	}
	all, again, err := read(kept)
	want := []string{
		`1000 mqtt sensors/dev1/temp "21.5" 0/0 false []`,
		`2000 amqp jobs "one" 0/0 true ["a.b" "c"]`,
		`mark 2500, 7 left out`,
		`3002 kafka orders "v" 1/3 false []`,
		`3002 kafka orders "" 1/3 false []`,
	}
	if err != nil || fmt.Sprint(all) != fmt.Sprint(want) || !bytes.Equal(again, kept) {
		t.Errorf("read\n%q\nwant\n%q: %v", all, want, err)
	}
}

// What is cut off is read as far as it goes; what is changed by one bit is refused.
func TestDamage(t *testing.T) {
	whole := write(t)
	for n := range whole {
		if _, _, err := read(whole[:n]); !errors.Is(err, recording.ErrTorn) && !errors.Is(err, recording.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if all, _, err := read(whole[:len(whole)-1]); len(all) != 5 || !errors.Is(err, recording.ErrTorn) {
		t.Errorf("without its last byte it holds %q: %v", all, err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if _, _, err := read(b); err == nil {
			t.Fatalf("byte %d changed, and nobody noticed", i)
		}
	}
}

// A message keeps what it has in its own protocol under another name, and only what is meant stays of a batch.
func TestChange(t *testing.T) {
	all := items()
	var moves recording.Moves
	for _, m := range []string{"sensors/dev1=lab", "jobs=work/now", "orders=test/orders"} {
		if err := moves.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, it := range all {
		if err := it.Rename(moves.Of); err != nil {
			t.Fatal(err)
		}
	}
	temp, err := all[0].Message()
	if err != nil || temp.Address != "lab/temp" || temp.QoS != 2 || !temp.Retain || temp.ExpiresAt != 61000 || !bytes.Equal(temp.Native, []byte{1, 2}) {
		t.Errorf("the message is %+v: %v", temp, err)
	}
	job, err := all[1].Message()
	if _, key, _, ok := message.SplitAMQPNative(job.Native); err != nil || all[1].Key != "work.now" || job.Address != "work/now" || !ok || string(key) != "work.now" || job.Delay != 500 {
		t.Errorf("the message is %+v by key %s: %v", job, all[1].Key, err)
	}
	batch := all[2]
	if passed, err := batch.Only(func(m *message.Message) bool { return m.Value != nil }); err != nil || passed != 1 || batch.Batch.Count() != 1 || batch.Address != "test/orders" {
		t.Errorf("%d passed, left are %d of %s: %v", passed, batch.Batch.Count(), batch.Address, err)
	}
	if passed, err := batch.Only(func(*message.Message) bool { return false }); err != nil || passed != 1 || batch.Batch != nil {
		t.Errorf("%d passed of the last: %v", passed, err)
	}
	for _, wrong := range []string{"", "a", "=a", "a=", "a/#=b"} {
		if err := new(recording.Moves).Add(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// Whatever a file holds, it is read or refused; and what is read is written the same.
func FuzzReader(f *testing.F) {
	f.Add(write(f))
	f.Fuzz(func(t *testing.T, src []byte) {
		_, again, err := read(src)
		if err != nil {
			return
		}
		first, _, _ := read(src)
		second, _, err := read(again)
		if err != nil || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Fatalf("written anew it is\n%q\nwant\n%q: %v", second, first, err)
		}
	})
}
