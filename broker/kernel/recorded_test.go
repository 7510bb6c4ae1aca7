package kernel_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/recording"
)

// What many publish at once is recorded in the order that the log has, and all of it before its publisher is told;
// what was published to nowhere that there is, is not.
func TestRecordedInOrder(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{})
	if _, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "orders", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var recorded []string // as records tells of a topic
	stop := k.Record(kernel.Recorder{
		Meant: func(ns string, from message.Protocol, address string) bool { return ns == "/" && address != "other" },
		Take: func(it *recording.Item) {
			m, err := it.Message()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			recorded = append(recorded, fmt.Sprint(len(recorded), " =", string(m.Value)))
		},
	})
	var all sync.WaitGroup
	const publishers, each = 4, 50
	for p := range publishers {
		all.Go(func() {
			for i := range each {
				publish(t, k, mqtt("orders", fmt.Sprint(p, "-", i)))
				mu.Lock()
				has := len(recorded) > i // its own at least
				mu.Unlock()
				if !has {
					t.Errorf("publisher %d was told of message %d before who records", p, i)
				}
			}
		})
	}
	all.Wait()
	publish(t, k, mqtt("other", "not meant"))
	nowhere := mqtt("x", "nowhere")
	nowhere.ViaExchange, nowhere.Exchange = true, "no such exchange"
	if r := publish(t, k, nowhere); !r.NoExchange {
		t.Fatalf("published to %+v", r)
	}
	stop()
	publish(t, k, mqtt("orders", "too late"))
	logged := records(t, k, "orders", "")
	if len(logged) != publishers*each+1 || fmt.Sprint(recorded) != fmt.Sprint(logged[:publishers*each]) {
		t.Errorf("recorded\n%v\nlogged\n%v", recorded, logged)
	}
}
