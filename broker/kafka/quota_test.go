package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// silences is link time that tells for how long connections are not read.
type silences struct {
	*clock.Virtual
	of chan time.Duration
}

func (s silences) AfterFunc(d time.Duration, f func()) clock.Timer {
	t := s.Virtual.AfterFunc(d, f)
	s.of <- d
	return t
}

// metered is a broker with quotas, and link time that stands still.
func metered(t *testing.T, quotas map[string]setting.Quota) (*broker, silences) {
	t.Helper()
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	for name, q := range quotas {
		s, err := setting.New("/", setting.KindQuota, name, q)
		if err == nil {
			err = k.PutSetting(within(t), s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	link := silences{clock.NewVirtual(time.Unix(1_800_000_000, 0)), make(chan time.Duration, 100)}
	return startOn(t, k, kafka.Config{Link: link, Quotas: setting.NewLiveQuotas(k)}), link
}

func millis(d time.Duration) int32 { return int32((d + time.Millisecond - 1) / time.Millisecond) }

// Who produces more than its quota is answered at once, told for how long to be silent, and not read
// meanwhile. Who shares the quota is told so too; others are not.
func TestProducerByteRate(t *testing.T) {
	b, link := metered(t, map[string]setting.Quota{"client:test": {setting.ProducerByteRate: 1000}})
	b.topic("s", 1, nil)
	r, same := b.dial(), b.dial()
	produce := func(r *raw, bytes int) (throttled int32, size int) {
		t.Helper()
		q := produceOf(9, "s", 0, batchOf(string(make([]byte, bytes))))
		frame := r.request(q)
		r.send(frame)
		resp := r.read(q).(*kmsg.ProduceResponse)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 {
			t.Fatalf("produce: error %d", p.ErrorCode)
		}
		return resp.ThrottleMillis, len(frame) - (4 + 2 + 2 + 4 + 2 + len("test") + 1)
	}
	if ms, size := produce(r, 700); ms != 0 {
		t.Errorf("%d of 1000 bytes: throttled for %d ms", size, ms)
	}
	ms, size := produce(r, 1700)
	owed := time.Duration(size+700+(size-1700)-1000) * time.Millisecond // the other request is as much longer than its value
	if got := time.Duration(ms) * time.Millisecond; got < owed-10*time.Millisecond || got > owed+10*time.Millisecond {
		t.Errorf("throttled for %v, want %v", got, owed)
	}
	silent := <-link.of
	if millis(silent) != ms {
		t.Errorf("not read for %v, told %d ms", silent, ms)
	}
	if more, _ := produce(same, 100); more <= ms {
		t.Errorf("another connection of the client id is throttled for %d ms, where %d were due", more, ms)
	}
	<-link.of

	read := b.srv.Stats.BytesIn.Load()
	q := kmsg.NewPtrApiVersionsRequest()
	r.send(r.request(q))
	link.Advance(silent - time.Millisecond)
	if got := b.srv.Stats.BytesIn.Load(); got != read {
		t.Errorf("%d bytes were read while it was to be silent", got-read)
	}
	link.Advance(time.Millisecond)
	r.read(q)

	other := b.client(kgo.ClientID("other"), kgo.DefaultProduceTopic("s"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := other.ProduceSync(within(t), &kgo.Record{Value: make([]byte, 10_000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := b.srv.Stats.Throttled.Load(); got != 2 {
		t.Errorf("%d connections were not read, want 2", got)
	}
}

// A fetch is given a second's worth, or one batch, and the next one waits until that was due.
func TestConsumerByteRate(t *testing.T) {
	b, link := metered(t, map[string]setting.Quota{"user:+": {setting.ConsumerByteRate: 1000}})
	b.topic("s", 1, nil)
	r := b.dial()
	for range 3 {
		if p := r.produce(9, "s", 0, batchOf(string(make([]byte, 600)))); p.ErrorCode != 0 {
			t.Fatalf("produce: error %d", p.ErrorCode)
		}
	}
	fetch := func(offset int64) (throttled int32, size int) {
		t.Helper()
		q := fetchOf(11, "s", 0, offset)
		resp := r.ask(q).(*kmsg.FetchResponse)
		return resp.ThrottleMillis, len(resp.Topics[0].Partitions[0].RecordBatches)
	}
	ms, size := fetch(0)
	if ms != 0 || size < 600 || size > 1000 {
		t.Errorf("throttled for %d ms after %d bytes", ms, size)
	}
	ms, more := fetch(1)
	if want := int32(size + more - 1000); ms != want || more != size {
		t.Errorf("throttled for %d ms after %d bytes more, want %d", ms, more, want)
	}
	link.Advance(<-link.of)
	if ms, _ = fetch(2); ms != int32(size) {
		t.Errorf("throttled for %d ms after %d bytes more", ms, size)
	}
	link.Advance(<-link.of)
	if ms, size = fetch(3); ms != 0 || size != 0 {
		t.Errorf("throttled for %d ms after nothing, %d bytes", ms, size)
	}
}

// What a request takes of a processor counts, whatever it asks, and silences for a second at most.
func TestRequestPercentage(t *testing.T) {
	b, link := metered(t, map[string]setting.Quota{"client:test": {setting.RequestPercentage: 1e-7}})
	b.topic("s", 1, nil)
	r := b.dial()
	metadata := metadataOf("s")
	metadata.Version = 9
	for _, q := range []kmsg.Request{kmsg.NewPtrDescribeClusterRequest(), produceOf(9, "s", 0, batchOf("v")), fetchOf(11, "s", 0, 0), metadata} {
		resp, ok := r.ask(q).(kmsg.ThrottleResponse)
		if ms, after := resp.Throttle(); !ok || ms <= 0 || ms > 1000 || !after && q.GetVersion() > 8 {
			t.Errorf("%s: throttled for %d ms", kmsg.NameForKey(q.Key()), ms)
		}
		link.Advance(<-link.of)
	}
}

func entity(parts ...string) (e kadm.ClientQuotaEntity) {
	for i := 0; i < len(parts); i += 2 {
		c := kadm.ClientQuotaEntityComponent{Type: parts[i]}
		if parts[i+1] != "" {
			c.Name = &parts[i+1]
		}
		e = append(e, c)
	}
	return e
}

// Quotas are altered and described as Kafka's tools do that, and kept with the settings.
func TestClientQuotas(t *testing.T) {
	b, _ := metered(t, map[string]setting.Quota{"listener:1883": {setting.MQTTByteRate: 5}})
	a := b.admin()
	alter := func(e kadm.ClientQuotaEntity, ops ...kadm.AlterClientQuotaOp) error {
		t.Helper()
		got, err := a.AlterClientQuotas(within(t), []kadm.AlterClientQuotaEntry{{Entity: e, Ops: ops}})
		if err != nil || len(got) != 1 {
			t.Fatalf("%v: %v", got, err)
		}
		return got[0].Err
	}
	set := func(key string, value float64) kadm.AlterClientQuotaOp {
		return kadm.AlterClientQuotaOp{Key: key, Value: value}
	}
	for _, e := range []kadm.ClientQuotaEntity{
		entity("user", "ann"), entity("user", ""), entity("client-id", "a/b+c"), entity("client-id", ""),
		entity("user", "ann", "client-id", "app"), entity("client-id", "", "user", ""),
	} {
		if err := alter(e, set("producer_byte_rate", 1024), set("request_percentage", 12.5)); err != nil {
			t.Errorf("%v: %v", e, err)
		}
	}
	if err := alter(entity("user", "ann"), set("consumer_byte_rate", 7), kadm.AlterClientQuotaOp{Key: "request_percentage", Remove: true}); err != nil {
		t.Error(err)
	}

	describe := func(strict bool, parts ...kadm.DescribeClientQuotaComponent) (out []string) {
		t.Helper()
		got, err := a.DescribeClientQuotas(within(t), strict, parts)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range got {
			out = append(out, fmt.Sprint(q.Entity, q.Values))
		}
		slices.Sort(out)
		return out
	}
	both := " " + fmt.Sprint(kadm.ClientQuotaValues{{Key: "producer_byte_rate", Value: 1024}, {Key: "request_percentage", Value: 12.5}})
	ann := " " + fmt.Sprint(kadm.ClientQuotaValues{{Key: "consumer_byte_rate", Value: 7}, {Key: "producer_byte_rate", Value: 1024}})
	name := "ann"
	odd := "a/b+c"
	exact := func(kind, name string) kadm.DescribeClientQuotaComponent {
		return kadm.DescribeClientQuotaComponent{Type: kind, MatchName: &name, MatchType: kmsg.QuotasMatchTypeExact}
	}
	for _, tt := range []struct {
		what  string
		parts []kadm.DescribeClientQuotaComponent
		loose bool
		want  []string
	}{
		{"all", nil, true, []string{
			entity("client-id", "").String() + both, entity("client-id", odd).String() + both, entity("user", "").String() + both,
			entity("user", "", "client-id", "").String() + both, entity("user", name).String() + ann, entity("user", name, "client-id", "app").String() + both,
		}},
		{"a user", []kadm.DescribeClientQuotaComponent{exact("user", name)}, false, []string{entity("user", name).String() + ann}},
		{"a user, with clients", []kadm.DescribeClientQuotaComponent{exact("user", name)}, true,
			[]string{entity("user", name).String() + ann, entity("user", name, "client-id", "app").String() + both}},
		{"a client id", []kadm.DescribeClientQuotaComponent{exact("client-id", odd)}, false, []string{entity("client-id", odd).String() + both}},
		{"the default", []kadm.DescribeClientQuotaComponent{{Type: "user", MatchType: kmsg.QuotasMatchTypeDefault}}, false, []string{entity("user", "").String() + both}},
		{"any user", []kadm.DescribeClientQuotaComponent{{Type: "user", MatchType: kmsg.QuotasMatchTypeAny}}, false, []string{entity("user", "").String() + both, entity("user", name).String() + ann}},
	} {
		slices.Sort(tt.want)
		if got := describe(!tt.loose, tt.parts...); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.what, got, tt.want)
		}
	}

	for _, tt := range []struct {
		what string
		err  error
	}{
		{"no entity", alter(nil, set("producer_byte_rate", 1))},
		{"an address", alter(entity("ip", "10.0.0.1"), set("connection_creation_rate", 1))},
		{"a user twice", alter(entity("user", "a", "user", "b"), set("producer_byte_rate", 1))},
		{"an unknown key", alter(entity("user", "a"), set("producer_bytes", 1))},
		{"nothing a second", alter(entity("user", "a"), set("producer_byte_rate", 0))},
		{"half a byte", alter(entity("user", "a"), set("producer_byte_rate", 0.5))},
		{"messages of a client id", alter(entity("client-id", "a"), set("mqtt_message_rate", 1))},
	} {
		if tt.err != kerr.InvalidRequest {
			t.Errorf("%s: %v", tt.what, tt.err)
		}
	}
	if got, err := a.ValidateAlterClientQuotas(within(t), []kadm.AlterClientQuotaEntry{{Entity: entity("user", "bob"), Ops: []kadm.AlterClientQuotaOp{set("producer_byte_rate", 1)}}}); err != nil || got[0].Err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := a.DescribeClientQuotas(within(t), true, []kadm.DescribeClientQuotaComponent{exact("ip", "10.0.0.1")}); !errors.Is(err, kerr.UnsupportedVersion) {
		t.Errorf("of an address: %v", err)
	}
	if err := alter(entity("user", "ann"), kadm.AlterClientQuotaOp{Key: "consumer_byte_rate", Remove: true}, kadm.AlterClientQuotaOp{Key: "producer_byte_rate", Remove: true}); err != nil {
		t.Error(err)
	}
	if got := describe(true, exact("user", name)); len(got) != 0 {
		t.Errorf("what was removed is there: %q", got)
	}
	if got := describe(true, exact("user", "bob")); len(got) != 0 {
		t.Errorf("what was only validated is there: %q", got)
	}
}
