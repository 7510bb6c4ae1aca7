package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func kafkaFirst(address string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("bench-first"))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ProduceSync(context.Background(), kgo.StringRecord("x")).FirstErr()
}

// inSync are a topic's settings with so many replicas: one of them may be away.
func inSync(replicas int16) map[string]*string {
	n := strconv.Itoa(max(1, int(replicas)-1))
	return map[string]*string{"min.insync.replicas": &n}
}

// kafkaFlow produces records of 1 KiB with acks=all for a while, then reads them back:
// MB a second in and out, and the bytes that went in.
func kafkaFlow(address string, replicas int16, d time.Duration) (in, out float64, records int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*d+30*time.Second)
	defer cancel()
	topic := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(2*time.Millisecond),
		kgo.ProducerBatchMaxBytes(1<<20-1024), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		return 0, 0, 0, err
	}
	defer c.Close()
	adm := kadm.NewClient(c)
	if _, err := adm.CreateTopic(ctx, 1, replicas, inSync(replicas), topic); err != nil {
		return 0, 0, 0, err
	}
	defer func() { _, _ = adm.DeleteTopics(context.Background(), topic) }()
	value := make([]byte, 1024)
	for i := range value {
		value[i] = byte(i * 7)
	}
	var n atomic.Int64
	var failure atomic.Pointer[error]
	began := time.Now()
	for time.Since(began) < d && failure.Load() == nil {
		c.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failure.Store(&err)
				return
			}
			n.Add(1)
		})
	}
	if err := c.Flush(ctx); err != nil {
		return 0, 0, 0, err
	}
	if e := failure.Load(); e != nil {
		return 0, 0, 0, *e
	}
	in = float64(n.Load()) * 1024 / 1e6 / time.Since(began).Seconds()

	r, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(8<<20))
	if err != nil {
		return in, 0, 0, err
	}
	defer r.Close()
	var got int64
	began = time.Now()
	for got < n.Load() {
		f := r.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return in, 0, 0, err
		}
		got += int64(f.NumRecords())
	}
	out = float64(got) * 1024 / 1e6 / time.Since(began).Seconds()
	return in, out, n.Load(), nil
}

// kafkaLatency produces one record at a time with acks=all.
func kafkaLatency(address string, replicas int16, n int) (p50, p99 float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	topic := fmt.Sprintf("bench-latency-%d", time.Now().UnixNano())
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	adm := kadm.NewClient(c)
	if _, err := adm.CreateTopic(ctx, 1, replicas, inSync(replicas), topic); err != nil {
		return 0, 0, err
	}
	defer func() { _, _ = adm.DeleteTopics(context.Background(), topic) }()
	var us []float64
	for i := range n {
		at := time.Now()
		if err := c.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 1024)}).FirstErr(); err != nil {
			return 0, 0, err
		}
		if i > 10 {
			us = append(us, float64(time.Since(at).Nanoseconds())/1000)
		}
	}
	return quantile(us, 0.5), quantile(us, 0.99), nil
}

func (o *options) kafka(b *instance) (rows []row, err error) {
	in := row{what: "Kafka produce, 1 KiB, acks=all", unit: "MB/s", peerName: "Kafka", durability: "sync"}
	out := row{what: "Kafka consume, 1 KiB", unit: "MB/s", peerName: "Kafka", durability: "sync"}
	cost := row{what: "  broker CPU a record, both", unit: "us", peerName: "Kafka", lower: true, durability: "sync"}
	p50 := row{what: "  produce one record, p50", unit: "us", peerName: "Kafka", lower: true, durability: "sync"}
	p99 := row{what: "  produce one record, p99", unit: "us", peerName: "Kafka", lower: true, durability: "sync"}
	measure := func(address string, pid int) (v [5]float64, err error) {
		used := cpu(pid)
		var n int64
		if v[0], v[1], n, err = kafkaFlow(address, 1, o.window); err != nil {
			return v, err
		}
		v[2] = (cpu(pid) - used) * 1e6 / float64(n)
		v[3], v[4], err = kafkaLatency(address, 1, 1000)
		return v, err
	}
	v, err := measure(b.kafka, b.cmd.Process.Pid)
	in.rmq, out.rmq, cost.rmq, p50.rmq, p99.rmq = v[0], v[1], v[2], v[3], v[4]
	if err == nil && o.peerKafka != "" {
		v, err = measure(o.peerKafka, o.pids["kafka"])
		in.peer, out.peer, cost.peer, p50.peer, p99.peer = v[0], v[1], v[2], v[3], v[4]
	}
	return []row{in, out, cost, p50, p99}, err
}
