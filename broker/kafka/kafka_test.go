package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is a server under test, on a loopback port of its own.
type broker struct {
	t    testing.TB
	srv  *kafka.Server
	k    *kernel.Kernel
	addr string
}

// start serves a fresh kernel until the test ends, and then checks that every
// connection was let go.
func start(t testing.TB, cfg kafka.Config) *broker {
	t.Helper()
	return startOn(t, kerneltest.Open(t, kerneltest.Options{NoCapture: true}), cfg)
}

func startOn(t testing.TB, k *kernel.Kernel, cfg kafka.Config) *broker {
	t.Helper()
	cfg.Kernel = k
	if cfg.NodeID == 0 {
		cfg.NodeID = 1
	}
	if cfg.ClusterID == "" {
		cfg.ClusterID = "test-cluster"
	}
	srv := kafka.New(cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conns.Done()
				_ = srv.ServeConn(nc)
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-accepting
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		conns.Wait()
		if n := srv.Stats.Connections.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		if n := srv.Unread(); n != 0 {
			t.Errorf("%d bytes of fetches are neither taken nor given up", n)
		}
	})
	return &broker{t, srv, k, ln.Addr().String()}
}

// within bounds every wait of a test.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// client returns a franz-go client.
func (b *broker) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.addr)}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.Close)
	return cl
}

func (b *broker) admin() *kadm.Client { return kadm.NewClient(b.client()) }

// topic creates one.
func (b *broker) topic(name string, partitions int32, config map[string]*string) {
	b.t.Helper()
	r, err := b.admin().CreateTopic(within(b.t), partitions, 1, config, name)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		b.t.Fatalf("create topic %s: %v", name, err)
	}
}

// raw is a bare connection, for what no client would send.
type raw struct {
	t testing.TB
	net.Conn
	next int32
}

func (b *broker) dial() *raw {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &raw{t: b.t, Conn: nc}
}

// request encodes a request with its length and header.
func (r *raw) request(q kmsg.Request) []byte {
	r.next++
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(q.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(q.GetVersion()))
	b = binary.BigEndian.AppendUint32(b, uint32(r.next))
	b = binary.BigEndian.AppendUint16(b, 4)
	b = append(b, "test"...)
	if q.IsFlexible() {
		b = append(b, 0)
	}
	b = q.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// frame reads one frame.
func (r *raw) frame() []byte {
	r.t.Helper()
	b, err := r.tryFrame()
	if err != nil {
		r.t.Fatalf("read response: %v", err)
	}
	return b
}

func (r *raw) tryFrame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// closed waits for the broker to close the connection.
func (r *raw) closed() {
	r.t.Helper()
	b, err := r.tryFrame()
	if err == nil {
		r.t.Fatalf("answered %x, want the connection closed", b)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		r.t.Fatal("the connection stays open")
	}
}

// read reads the response to a request.
func (r *raw) read(q kmsg.Request) kmsg.Response {
	r.t.Helper()
	b := r.frame()
	return r.parse(q, b)
}

func (r *raw) parse(q kmsg.Request, b []byte) kmsg.Response {
	r.t.Helper()
	resp := q.ResponseKind()
	resp.SetVersion(q.GetVersion())
	b = b[4:]
	if q.IsFlexible() && q.Key() != 18 {
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		r.t.Fatalf("response to %s version %d: %v", kmsg.NameForKey(q.Key()), q.GetVersion(), err)
	}
	return resp
}

// ask sends a request and reads its response.
func (r *raw) ask(q kmsg.Request) kmsg.Response {
	r.t.Helper()
	r.send(r.request(q))
	return r.read(q)
}

func ask[R kmsg.Response](r *raw, q kmsg.Request, version int16) R {
	r.t.Helper()
	q.SetVersion(version)
	return r.ask(q).(R)
}

// ---- with clients ------------------------------------------------------------

func TestProduceAndConsume(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("orders", 3, nil)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	const each = 100
	ctx := within(t)
	for name, codec := range codecs {
		cl := b.client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("orders"))
		for i := range each {
			cl.Produce(ctx, &kgo.Record{
				Key: fmt.Appendf(nil, "%s-%d", name, i), Value: fmt.Appendf(nil, "value %d of %s, value of %s", i, name, name),
				Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(name)}, {Key: "null"}},
			}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	cl := b.client(kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := make(map[string]bool)
	next := make(map[int32]int64)
	for len(seen) < each*len(codecs) {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition] = r.Offset + 1
			seen[string(r.Key)] = true
			if len(r.Headers) != 2 || r.Headers[0].Key != "codec" || r.Headers[1].Value != nil {
				t.Errorf("headers %v", r.Headers)
			}
		})
	}
}

func TestAutoCreate(t *testing.T) {
	b := start(t, kafka.Config{Partitions: 4})
	cl := b.client(kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("made.up"))
	if err := cl.ProduceSync(within(t), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	st, ok := b.k.Stream("/", "made/up")
	if !ok || len(st.Parts) != 4 {
		t.Fatalf("the stream made/up: %v, %d partitions", ok, len(st.Parts))
	}
	no := start(t, kafka.Config{NoAutoCreate: true})
	m := ask[*kmsg.MetadataResponse](no.dial(), metadataOf("made.up"), 12)
	if m.Topics[0].ErrorCode != 3 {
		t.Errorf("auto creation off: error %d, want UNKNOWN_TOPIC_OR_PARTITION", m.Topics[0].ErrorCode)
	}
}

func metadataOf(topics ...string) *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{}
	q.AllowAutoTopicCreation = true
	for _, name := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &name
		q.Topics = append(q.Topics, rt)
	}
	return q
}
