package link

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func headers(pairs ...string) *Message {
	m := &Message{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, Header{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return m
}

func TestDeathOf(t *testing.T) {
	partition, offset := int32(3), int64(77)
	for _, tt := range []struct {
		name string
		m    *Message
		want *Death
	}{
		{"RabbitMQ's, the newest first",
			headers("x-death", `[{"count":2,"exchange":"work","queue":"jobs","reason":"rejected","routing-keys":["now"],"time":100},{"queue":"old"}]`),
			&Death{Queue: "jobs", Exchange: "work", Keys: []string{"now"}, Reason: "rejected", Count: 2, Time: time.Unix(100, 0).UTC()}},
		{"one table alone", headers("x-death", `{"queue":"jobs","time":100}`), &Death{Queue: "jobs", Time: time.Unix(100, 0).UTC()}},
		{"Spring's", headers("kafka_dlt-original-topic", "orders", "kafka_dlt-original-partition", string(binary.BigEndian.AppendUint32(nil, 3)),
			"kafka_dlt-original-offset", string(binary.BigEndian.AppendUint64(nil, 77)), "kafka_dlt-exception-fqcn", "java.E", "kafka_dlt-original-consumer-group", "g"),
			&Death{Topic: "orders", Partition: &partition, Offset: &offset, Reason: "java.E", Group: "g"}},
		{"Kafka Connect's", headers("__connect.errors.topic", "orders", "__connect.errors.partition", "3", "__connect.errors.offset", "77", "__connect.errors.connector.name", "c"),
			&Death{Topic: "orders", Partition: &partition, Offset: &offset, Group: "c"}},
		{"none", headers("a", "b"), nil},
		{"no JSON", headers("x-death", "{"), nil},
	} {
		got, ok := DeathOf(tt.m)
		if ok != (tt.want != nil) || ok && !reflect.DeepEqual(got, *tt.want) {
			t.Errorf("%s: %v %+v", tt.name, ok, got)
		}
	}
}

func TestDeadName(t *testing.T) {
	for name, of := range map[string]string{
		"orders.DLT": "orders", "orders-dlt": "orders", "orders.dlq": "orders", "orders_dlq.2": "orders", "a.b-dead-letter": "a.b", "jobs.dead": "jobs",
		"orders": "", "dlq": "", "model.adult": "", "orders.DLT.v2": "",
	} {
		if got, ok := DeadName(name); got != of || ok != (of != "") {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
}

// What was taken out of a partition reads back, whatever the order.
func TestTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &taken{next: rapid.Int64Range(0, 5).Draw(t, "next")}
		out := map[int64]bool{}
		for o := range x.next {
			out[o] = true
		}
		for _, o := range rapid.SliceOfN(rapid.Int64Range(0, 30), 0, 40).Draw(t, "offsets") {
			x.add(o)
			out[o] = true
			text, ok := x.text()
			if !ok {
				t.Fatalf("no room for %+v", x)
			}
			again, err := readTaken(x.next, text)
			if err != nil || again.next != x.next || !slices.Equal(again.runs, x.runs) {
				t.Fatalf("%+v reads back as %+v: %v", x, again, err)
			}
			for o := range int64(32) {
				if x.has(o) != out[o] {
					t.Fatalf("%d is out: %v, in %+v", o, x.has(o), x)
				}
			}
		}
	})
	for _, text := range []string{"x", "5", "7-6", "7,7", "9,8", "6-9223372036854775807", "-"} {
		if x, err := readTaken(5, text); err == nil {
			t.Errorf("%q is read as %+v", text, x)
		}
	}
	x := &taken{}
	for o := range int64(takenMax) {
		x.add(2*o + 1)
	}
	if text, ok := x.text(); ok {
		t.Errorf("%d bytes of metadata", len(text))
	}
}

func FuzzDeathOf(f *testing.F) {
	f.Add("x-death", `[{"queue":"q"}]`)
	f.Add("kafka_dlt-original-partition", "\x00\x00\x00\x01")
	f.Fuzz(func(t *testing.T, name, value string) {
		m := headers(name, value, "kafka_dlt-original-topic", "t")
		if _, ok := DeathOf(m); !ok && name != "x-death" {
			t.Error("it says where it comes from: " + fmt.Sprint(m.Headers))
		}
	})
}
