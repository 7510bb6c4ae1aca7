package kafka_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestApiVersionsUnknownVersion(t *testing.T) {
	b := start(t, kafka.Config{})
	for _, version := range []int16{5, 99, 32767} {
		r := b.dial()
		// Whatever follows the correlation id is of a format that we do not know.
		f := binary.BigEndian.AppendUint16(make([]byte, 4), 18)
		f = binary.BigEndian.AppendUint16(f, uint16(version))
		f = binary.BigEndian.AppendUint32(f, 77)
		f = append(f, "\x00\x01c\x00?????"...)
		binary.BigEndian.PutUint32(f, uint32(len(f)-4))
		r.send(f)
		frame := r.frame()
		if id := binary.BigEndian.Uint32(frame); id != 77 {
			t.Errorf("version %d: correlation id %d", version, id)
		}
		var resp kmsg.ApiVersionsResponse
		if err := resp.ReadFrom(frame[4:]); err != nil {
			t.Fatal(err)
		}
		if resp.ErrorCode != 35 || len(resp.ApiKeys) < 30 {
			t.Errorf("version %d: error %d with %d keys, want 35 with all", version, resp.ErrorCode, len(resp.ApiKeys))
		}
		// The connection goes on.
		q := kmsg.NewPtrApiVersionsRequest()
		q.ClientSoftwareName, q.ClientSoftwareVersion = "test", "1.0"
		if resp := ask[*kmsg.ApiVersionsResponse](r, q, 4); resp.ErrorCode != 0 {
			t.Errorf("after version %d: error %d", version, resp.ErrorCode)
		}
	}
}

func TestApiVersionsSoftwareName(t *testing.T) {
	b := start(t, kafka.Config{})
	for name, want := range map[string]int16{"apache-kafka-java": 0, "a": 0, "": 42, "-a": 42, "a.": 42, "a b": 42, "ä": 42} {
		q := kmsg.NewPtrApiVersionsRequest()
		q.ClientSoftwareName, q.ClientSoftwareVersion = name, "1"
		if resp := ask[*kmsg.ApiVersionsResponse](b.dial(), q, 3); resp.ErrorCode != want {
			t.Errorf("software name %q: error %d, want %d", name, resp.ErrorCode, want)
		}
	}
}

// Every version of every request that is advertised is answered, also a request that
// asks for nothing.
func TestEveryVersionIsAnswered(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("there", 1, nil)
	offered := ask[*kmsg.ApiVersionsResponse](b.dial(), kmsg.NewPtrApiVersionsRequest(), 0)
	for _, a := range offered.ApiKeys {
		if a.ApiKey == 36 {
			continue // SaslAuthenticate without a handshake: in sasl_test.go
		}
		for v := a.MinVersion; v <= a.MaxVersion; v++ {
			r := b.dial()
			q := kmsg.RequestForKey(a.ApiKey)
			q.SetVersion(v)
			switch q := q.(type) {
			case *kmsg.ProduceRequest:
				q.Acks = 1
			case *kmsg.ApiVersionsRequest:
				q.ClientSoftwareName, q.ClientSoftwareVersion = "test", "1"
			}
			r.ask(q)
			// And the connection is still in step.
			if m := ask[*kmsg.MetadataResponse](r, metadataOf("there"), 9); len(m.Topics) != 1 || m.Topics[0].ErrorCode != 0 {
				t.Errorf("%s version %d: metadata after it is wrong", kmsg.NameForKey(a.ApiKey), v)
			}
		}
	}
}

func TestBadBytesCloseOneConnection(t *testing.T) {
	b := start(t, kafka.Config{RequestMax: 1 << 20})
	other := b.dial()
	head := func(key, version int16, rest string) string {
		f := binary.BigEndian.AppendUint16(nil, uint16(key))
		f = binary.BigEndian.AppendUint16(f, uint16(version))
		return string(append(f, "\x00\x00\x00\x01"+rest...))
	}
	sized := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	tests := []struct {
		name   string
		bytes  string
		reason kafka.Reason
	}{
		{"a negative length", "\xff\xff\xff\xff", kafka.BadLength},
		{"a length over the limit", "\x00\x10\x00\x01", kafka.BadLength},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", kafka.BadLength},
		{"an empty request", sized(""), kafka.BadRequest},
		{"half a header", sized("\x00\x03\x00"), kafka.BadRequest},
		{"an unknown key", sized(head(500, 0, "\xff\xff")), kafka.UnknownRequest},
		{"a negative key", sized(head(-1, 0, "\xff\xff")), kafka.UnknownRequest},
		{"a removed key", sized(head(4, 0, "\xff\xff")), kafka.UnknownRequest},
		{"an unknown version", sized(head(3, 99, "\xff\xff")), kafka.UnknownRequest},
		{"a negative version", sized(head(3, -1, "\xff\xff")), kafka.UnknownRequest},
		{"a client id past the end", sized(head(3, 1, "\x7f\xff")), kafka.BadRequest},
		{"a header of endless tags", sized(head(3, 9, "\xff\xff\xff\xff\xff\xff\x0f")), kafka.BadRequest},
		{"metadata of two billion topics", sized(head(3, 1, "\xff\xff\x7f\xff\xff\xff")), kafka.BadRequest},
		{"metadata of a topic past the end", sized(head(3, 1, "\xff\xff\x00\x00\x00\x01\x00\xff")), kafka.BadRequest},
		{"produce of two billion topics", sized(head(0, 3, "\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x7f\xff\xff\xff")), kafka.BadRequest},
		{"produce of two billion partitions", sized(head(0, 3, "\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01t\x7f\xff\xff\xff")), kafka.BadRequest},
		{"produce of records past the end", sized(head(0, 3, "\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00\x7f\xff\xff\xff")), kafka.BadRequest},
		{"fetch cut short", sized(head(1, 12, "\xff\xff\x00\xff\xff\xff\xff")), kafka.BadRequest},
	}
	for _, tt := range tests {
		before := b.srv.Stats.Closed[tt.reason].Load()
		r := b.dial()
		r.send([]byte(tt.bytes))
		r.closed()
		eventually(t, func() bool { return b.srv.Stats.Closed[tt.reason].Load() == before+1 }, tt.name+": counted as "+tt.reason.String())
	}
	if m := ask[*kmsg.MetadataResponse](other, metadataOf(), 12); len(m.Brokers) != 1 {
		t.Error("another connection suffers")
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, is func() bool, what string) {
	t.Helper()
	ctx := within(t)
	for !is() {
		if ctx.Err() != nil {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestRandomBytes(t *testing.T) {
	b := start(t, kafka.Config{RequestMax: 1 << 16})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		r := b.dial()
		junk := make([]byte, 4+rnd.IntN(200))
		for i := range junk {
			junk[i] = byte(rnd.Uint32())
		}
		binary.BigEndian.PutUint32(junk, uint32(len(junk)-4))
		if len(junk) > 8 { // mostly requests that exist
			binary.BigEndian.PutUint16(junk[4:], uint16(rnd.IntN(80)))
			binary.BigEndian.PutUint16(junk[6:], uint16(rnd.IntN(14)))
		}
		r.send(junk)
		_ = r.Close()
	}
	if m := ask[*kmsg.MetadataResponse](b.dial(), metadataOf(), 12); len(m.Brokers) != 1 {
		t.Error("the broker does not answer")
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	var reqs []kmsg.Request
	var all []byte
	for i := range 200 {
		var q kmsg.Request
		switch i % 3 {
		case 0, 1:
			q = produceOf(9, "t", 0, batchOf("x"))
		case 2:
			l := kmsg.NewPtrListOffsetsRequest()
			l.Version = 5
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = "t"
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Timestamp = -1
			rt.Partitions = append(rt.Partitions, rp)
			l.Topics = append(l.Topics, rt)
			q = l
		}
		reqs = append(reqs, q)
		all = append(all, r.request(q)...)
	}
	go func() { _, _ = r.Write(all) }()
	var offset int64
	for i, q := range reqs {
		frame := r.frame()
		if id := binary.BigEndian.Uint32(frame); id != uint32(i+1) {
			t.Fatalf("answer %d has correlation id %d", i+1, id)
		}
		switch resp := r.parse(q, frame).(type) {
		case *kmsg.ProduceResponse:
			if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != offset {
				t.Fatalf("answer %d: offset %d, error %d, want offset %d", i+1, p.BaseOffset, p.ErrorCode, offset)
			}
			offset++
		case *kmsg.ListOffsetsResponse:
			// Kafka handles one request of a connection after the other: what was produced
			// before is there.
			if got := resp.Topics[0].Partitions[0].Offset; got != offset {
				t.Fatalf("answer %d: end offset %d, want %d", i+1, got, offset)
			}
		}
	}
}

func TestLargeRequestsAndPrefix(t *testing.T) {
	b := start(t, kafka.Config{})
	name := "big"
	size := "20000000"
	b.topic(name, 1, map[string]*string{"max.message.bytes": &size})
	// The first bytes were read by whoever found out the protocol.
	here, there := net.Pipe()
	r := &raw{t: t, Conn: here}
	first := r.request(produceOf(9, name, 0, batchOf(strings.Repeat("a", 5<<20))))
	served := make(chan error)
	go func() { served <- b.srv.ServeConn(wire.NewPrefixConn(there, first[:70_000])) }()
	go func() { _, _ = here.Write(first[70_000:]) }()
	var offset int64
	check := func(q kmsg.Request) {
		t.Helper()
		p := r.read(q).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != offset {
			t.Fatalf("offset %d, error %d, want offset %d", p.BaseOffset, p.ErrorCode, offset)
		}
		offset++
	}
	check(produceOf(9, name, 0, nil))
	for _, n := range []int{1, 61_000, 59_000, 100_000, 1 << 20, 3, 17 << 20, 64 << 10} {
		q := produceOf(9, name, 0, batchOf(strings.Repeat("b", n)))
		go r.send(r.request(q))
		check(q)
	}
	// One that is over the topic's limit leaves the connection in step.
	q := produceOf(9, name, 0, batchOf(strings.Repeat("c", 25<<20)))
	go r.send(r.request(q))
	if p := r.read(q).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 10 {
		t.Errorf("25 MiB: error %d, want MESSAGE_TOO_LARGE", p.ErrorCode)
	}
	check2 := produceOf(9, name, 0, batchOf("on"))
	go r.send(r.request(check2))
	check(check2)
	_ = here.Close()
	if err := <-served; err != nil {
		t.Errorf("a connection closed between two requests: %v", err)
	}
}

func TestTruncatedRequest(t *testing.T) {
	b := start(t, kafka.Config{})
	for _, n := range []int{2, 100, 70_000} {
		here, there := net.Pipe()
		served := make(chan error)
		go func() { served <- b.srv.ServeConn(there) }()
		r := &raw{t: t, Conn: here}
		r.send(r.request(produceOf(9, "t", 0, batchOf(strings.Repeat("a", 100_000))))[:n])
		_ = here.Close()
		if err := <-served; err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("closed after %d bytes of a request: error %v", n, err)
		}
	}
}

func TestIdleConnection(t *testing.T) {
	b := start(t, kafka.Config{IdleMax: time.Millisecond})
	for _, sent := range []string{"", "\x00\x00"} {
		r := b.dial()
		r.send([]byte(sent))
		r.closed()
	}
	eventually(t, func() bool { return b.srv.Stats.Closed[kafka.Idle].Load() == 2 }, "counted")
}

// A closing server lets what waits go, and what was answered leave.
func TestCloseWhileWaiting(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	q := fetchOf(12, "t", 0, 0)
	q.MaxWaitMillis, q.MinBytes = 3_600_000, 1
	r.send(r.request(produceOf(9, "t", 0, batchOf("x"))))
	r.read(produceOf(9, "t", 0, nil))
	q.Topics[0].Partitions[0].FetchOffset = 1
	r.send(r.request(q))
	eventually(t, func() bool { return b.srv.Stats.Requests[1].Load() == 1 }, "the fetch has come")
	if err := b.srv.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := r.tryFrame(); err != nil {
			break
		}
	}
	if err := b.srv.ServeConn(r.Conn); err == nil {
		t.Error("a closed server serves")
	}
	if n := b.srv.Stats.Closed[kafka.ByServer].Load(); n == 0 {
		t.Error("not counted as closed by the server")
	}
}
