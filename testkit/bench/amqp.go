package main

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func amqpFirst(url string) error {
	c, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	q, err := ch.QueueDeclare("bench-first", true, false, false, false, nil)
	if err != nil {
		return err
	}
	d, err := ch.PublishWithDeferredConfirm("", q.Name, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
	if err != nil {
		return err
	}
	if !d.Wait() {
		return fmt.Errorf("not confirmed")
	}
	return nil
}

// amqpFlow publishes persistent messages of 100 bytes with confirms, 1000 under way, to a
// durable queue that is consumed with acknowledgements, and returns messages a second.
func amqpFlow(url string, d time.Duration) (rate float64, n int, err error) {
	c, err := amqp.Dial(url)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	pub, err := c.Channel()
	if err != nil {
		return 0, 0, err
	}
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	if _, err := pub.QueueDeclare(name, true, false, false, false, nil); err != nil {
		return 0, 0, err
	}
	defer func() { _, _ = pub.QueueDelete(name, false, false, false) }()
	if err := pub.Confirm(false); err != nil {
		return 0, 0, err
	}
	confirms := pub.NotifyPublish(make(chan amqp.Confirmation, 4096))
	c2, err := amqp.Dial(url)
	if err != nil {
		return 0, 0, err
	}
	defer c2.Close()
	sub, err := c2.Channel()
	if err != nil {
		return 0, 0, err
	}
	if err := sub.Qos(500, 0, false); err != nil {
		return 0, 0, err
	}
	in, err := sub.Consume(name, "", false, false, false, false, nil)
	if err != nil {
		return 0, 0, err
	}
	go func() {
		i := 0
		for m := range in {
			if i++; i%50 == 0 {
				_ = m.Ack(true)
			}
		}
	}()
	body := make([]byte, 100)
	sent, confirmed := 0, 0
	began := time.Now()
	for time.Since(began) < d {
		for sent-confirmed < 1000 {
			if err := pub.PublishWithContext(context.Background(), "", name, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}); err != nil {
				return 0, 0, err
			}
			sent++
		}
		<-confirms
		confirmed++
		for more := true; more; {
			select {
			case <-confirms:
				confirmed++
			default:
				more = false
			}
		}
	}
	rate = float64(confirmed) / time.Since(began).Seconds()
	for confirmed < sent {
		<-confirms
		confirmed++
	}
	return rate, confirmed, nil
}

// amqpLatency publishes one persistent message at a time and waits for its confirm.
func amqpLatency(url string, n int) (p50, p99 float64, err error) {
	c, err := amqp.Dial(url)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		return 0, 0, err
	}
	if err := ch.Confirm(false); err != nil {
		return 0, 0, err
	}
	if _, err := ch.QueueDeclare("bench-latency", true, false, false, false, nil); err != nil {
		return 0, 0, err
	}
	defer func() { _, _ = ch.QueueDelete("bench-latency", false, false, false) }()
	var us []float64
	for range n {
		at := time.Now()
		d, err := ch.PublishWithDeferredConfirm("", "bench-latency", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: make([]byte, 100)})
		if err != nil {
			return 0, 0, err
		}
		if !d.Wait() {
			return 0, 0, fmt.Errorf("not confirmed")
		}
		us = append(us, float64(time.Since(at).Nanoseconds())/1000)
	}
	return quantile(us, 0.5), quantile(us, 0.99), nil
}

func (o *options) amqp(b *instance) (rows []row, err error) {
	rate := row{what: "AMQP persistent, confirmed and consumed, 100 B", unit: "msg/s", peerName: "RabbitMQ", durability: "sync"}
	cost := row{what: "  broker CPU a message", unit: "us", peerName: "RabbitMQ", lower: true, durability: "sync"}
	p50 := row{what: "  publish to confirm, p50", unit: "us", peerName: "RabbitMQ", lower: true, durability: "sync"}
	p99 := row{what: "  publish to confirm, p99", unit: "us", peerName: "RabbitMQ", lower: true, durability: "sync"}
	measure := func(url string, pid int) (v [4]float64, err error) {
		used := cpu(pid)
		var n int
		if v[0], n, err = amqpFlow(url, o.window); err != nil {
			return v, err
		}
		v[1] = (cpu(pid) - used) * 1e6 / float64(max(n, 1))
		v[2], v[3], err = amqpLatency(url, 1000)
		return v, err
	}
	v, err := measure("amqp://guest:guest@"+b.amqp+"/", b.cmd.Process.Pid)
	rate.rmq, cost.rmq, p50.rmq, p99.rmq = v[0], v[1], v[2], v[3]
	if err == nil && o.peerAMQP != "" {
		v, err = measure(o.peerAMQP, o.pids["amqp"])
		rate.peer, cost.peer, p50.peer, p99.peer = v[0], v[1], v[2], v[3]
	}
	return []row{rate, cost, p50, p99}, err
}
