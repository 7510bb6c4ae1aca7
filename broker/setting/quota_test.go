package setting

import (
	"math"
	"testing"
)

func TestQuotaFor(t *testing.T) {
	for _, s := range []string{"user:ann", "user:+", "client:app", "client:+", "user:ann/client:app", "user:+/client:+", "listener:1883", "listener:+", "listener:%2Frun%2Frmq.sock", "user:a%2Bb", "user:%2B", "client:a:b"} {
		f, err := ParseQuotaFor(s)
		if err != nil || f.String() != s {
			t.Errorf("%s is read as %s, %v", s, f, err)
		}
	}
	for _, s := range []string{"", "user", "user:", "ann", "user:a/user:b", "user:a/listener:1", "ip:10.0.0.1", "user:%zz", "user:a/", "client:%"} {
		if f, err := ParseQuotaFor(s); err == nil {
			t.Errorf("%q is read as %s", s, f)
		}
	}
}

func TestQuotaCheck(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		ok          bool
	}{
		{"user:ann", `{"producer_byte_rate":1,"request_percentage":0.5,"mqtt_message_rate":3}`, true},
		{"client:app", `{"consumer_byte_rate":1}`, true},
		{"listener:1883", `{"mqtt_byte_rate":1,"mqtt_connection_rate":2}`, true},
		{"client:app", `{"mqtt_message_rate":1}`, false},
		{"listener:1883", `{"producer_byte_rate":1}`, false},
		{"user:ann", `{"producer_byte_rate":0}`, false},
		{"user:ann", `{"producer_byte_rate":-1}`, false},
		{"user:ann", `{"producer_byte_rate":1.5}`, false},
		{"user:ann", `{"producer_byte_rate":1e30}`, false},
		{"user:ann", `{"producers":1}`, false},
		{"user:ann", `{}`, false},
		{"user:an+n", `{"producer_byte_rate":1}`, false}, // written otherwise
	} {
		s := Setting{Namespace: "/", Kind: KindQuota, Name: tt.name, Value: []byte(tt.value)}
		if err := s.Check(); (err == nil) != tt.ok {
			t.Errorf("%s %s: %v", tt.name, tt.value, err)
		}
	}
	if f, _ := ParseQuotaFor("user:ann"); f.Check(Quota{ProducerByteRate: math.NaN()}) == nil {
		t.Error("no number is taken")
	}
}

// The order in which quotas count is Kafka's.
func TestQuotaOrder(t *testing.T) {
	order := []string{"user:u/client:c", "user:u/client:+", "user:u", "user:+/client:c", "user:+/client:+", "user:+", "client:c", "client:+"}
	sharers := []string{"user:u/client:c", "user:u/client:c", "user:u", "user:u/client:c", "user:u/client:c", "user:u", "client:c", "client:c"}
	var all []Setting
	for i := len(order) - 1; i >= 0; i-- {
		s, err := New("/", KindQuota, order[i], Quota{ConsumerByteRate: float64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
		rate, by := NewQuotas(all).Kafka(ConsumerByteRate, "u", "c")
		if rate != float64(i+1) || by != sharers[i] {
			t.Errorf("with %s: %v, shared by %s", order[i], rate, by)
		}
		if rate, _ := NewQuotas(all).Kafka(ProducerByteRate, "u", "c"); rate != 0 {
			t.Errorf("with %s: %v of another key", order[i], rate)
		}
	}
	if rate, by := NewQuotas(all).Kafka(ConsumerByteRate, "x", "y"); rate != 5 || by != "user:x/client:y" {
		t.Errorf("another user and client: %v, shared by %s", rate, by)
	}
	if NewQuotas(nil) != nil {
		t.Error("no quotas are some")
	}
}

func TestQuotaOfMQTT(t *testing.T) {
	var all []Setting
	for name, q := range map[string]Quota{"user:ann": {MQTTMessageRate: 5}, "user:+": {MQTTMessageRate: 7, MQTTByteRate: 70}, "listener:1883": {MQTTConnectionRate: 3}} {
		s, err := New("/", KindQuota, name, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	qs := NewQuotas(all)
	if got, want := qs.User("ann"), (MQTTQuota{Messages: 5, Bytes: 70}); got != want {
		t.Errorf("ann has %+v, want %+v", got, want)
	}
	if got, want := qs.User("bob"), (MQTTQuota{Messages: 7, Bytes: 70}); got != want {
		t.Errorf("bob has %+v, want %+v", got, want)
	}
	if got := qs.User(""); got != (MQTTQuota{}) {
		t.Errorf("nobody has %+v", got)
	}
	if got := qs.Listener("1883"); got.Connections != 3 || qs.Listener("1884") != (MQTTQuota{}) {
		t.Errorf("the listener has %+v", got)
	}
	if n := testing.AllocsPerRun(100, func() { qs.User("ann"); qs.Listener("1883") }); n != 0 {
		t.Errorf("%v allocations for a message", n)
	}
}

// What is read is written as it was kept, and what is written is read as it was.
func FuzzQuotaFor(f *testing.F) {
	f.Add("user:a%2Bb/client:+")
	f.Add("listener:%2Frun%2Frmq.sock")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseQuotaFor(s)
		if err != nil {
			return
		}
		again, err := ParseQuotaFor(got.String())
		if err != nil || again.String() != got.String() {
			t.Errorf("%q is written %q, and read again as %q, %v", s, got, again, err)
		}
	})
}
