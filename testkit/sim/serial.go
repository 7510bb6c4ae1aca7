package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// serialLives is how often the broker ends in one serial run.
const serialLives = 6

// Serial runs one seed with one client that makes one request at a time. The power
// goes, or the process, when the client has its answer; so nothing is unsure, and the
// broker must have exactly what was acknowledged. It returns the history: every answer,
// and what was there after every restart.
func Serial(seed uint64, log func(format string, args ...any)) (history []string, err error) {
	s := &sim{
		seed: seed, opt: Options{Patience: 30 * time.Second, Log: log}, rand: rand.New(rand.NewPCG(seed, 0x736572)),
		disk: newDisk(), model: newModel(), shadows: newShadows(),
	}
	c := &serial{sim: s, queued: make(map[string]int), offsets: make(map[string]int64), retained: make(map[string]string), streams: make(map[string][]string)}
	for life := range serialLives {
		if err := c.life(life); err != nil {
			return c.history, fmt.Errorf("seed %d, life %d: %w", seed, life, err)
		}
	}
	return c.history, nil
}

// serial is the client, and what it was promised.
type serial struct {
	sim     *sim
	node    *node
	seq     int
	history []string

	streams  map[string][]string // by name and partition: acknowledged, in order
	queued   map[string]int      // messages by queue
	offsets  map[string]int64    // by group
	retained map[string]string   // by address
}

func (c *serial) say(format string, args ...any) {
	c.history = append(c.history, fmt.Sprintf(format, args...))
}

func (c *serial) life(life int) error {
	s := c.sim
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Patience)
	defer cancel()
	how := [...]end{powerLoss, powerLoss, killed, closed}[s.rand.IntN(4)]
	m := s.disk.mountUntil(0, 0)
	if _, err := s.live(ctx, life, m, func(n *node) error {
		c.node = n
		_, err := within(ctx, "work", func() (struct{}, error) { return struct{}{}, c.work(ctx, s.rand.IntN(80)) })
		if how != closed {
			m.cut()
		}
		return err
	}); err != nil {
		return err
	}
	m.end(how, s.rand.Uint64())
	s.shadows.ended(how)
	c.say("%v", how)
	return s.disk.overlap()
}

// work checks what is there, and makes requests.
func (c *serial) work(ctx context.Context, requests int) error {
	if err := c.sim.setup(ctx, c.node); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	for range requests {
		if err := c.request(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *serial) request(ctx context.Context) error {
	r := c.sim.rand
	c.seq++
	id := fmt.Sprint(c.seq)
	value := fill(id, r.IntN(400))
	switch r.IntN(5) {
	case 0:
		m := message.Message{Source: message.MQTT, Address: "plant/m/temp", Value: value, QoS: 1}
		if err := c.publish(ctx, &kernel.Publish{Namespace: "/", Msg: m}); err != nil {
			return err
		}
		c.streams["plant/0"] = append(c.streams["plant/0"], id)
		c.queued["audit"]++
	case 1:
		m := message.Message{Source: message.AMQP, Address: "work", Value: value, QoS: 1}
		if err := c.publish(ctx, &kernel.Publish{Namespace: "/", ViaExchange: true, Key: "work", Msg: m}); err != nil {
			return err
		}
		c.queued["work"]++
	case 2:
		address := fmt.Sprintf("state/%d", r.IntN(3))
		m := message.Message{Source: message.MQTT, Address: address, Value: []byte(id), QoS: 1, Retain: true}
		if err := c.publish(ctx, &kernel.Publish{Namespace: "/", Msg: m}); err != nil {
			return err
		}
		c.retained[address] = id
	case 3:
		return c.append(ctx, r.Int32N(3), id, value)
	case 4:
		return c.commit(ctx, groups[r.IntN(len(groups))])
	}
	return nil
}

func (c *serial) publish(ctx context.Context, p *kernel.Publish) error {
	done := make(chan error, 1)
	p.Reply = received(func(err error) { done <- err })
	c.node.Publish(p)
	err := answer(ctx, done)
	c.say("publish %s to %s: %v", idOf(p.Msg.Value), p.Msg.Address, err)
	return err
}

func (c *serial) append(ctx context.Context, partition int32, id string, value []byte) error {
	info, ok := c.node.Stream("/", "orders")
	if !ok {
		return fmt.Errorf("stream orders is gone")
	}
	part, err := c.node.Partition(info.ID, partition)
	if err != nil {
		return err
	}
	var rb record.Builder
	rb.Reset(nil, c.node.Now().UnixMilli())
	rb.Add(c.node.Now().UnixMilli(), nil, value)
	done := make(chan error, 1)
	part.Append(rb.Finish(), -1, appended(func(r kernel.AppendResult) {
		c.say("append %s to partition %d at %d: %v", id, partition, r.BaseOffset, r.Err)
		done <- r.Err
	}), 0)
	name := fmt.Sprintf("orders/%d", partition)
	c.streams[name] = append(c.streams[name], id)
	return answer(ctx, done)
}

type appended func(kernel.AppendResult)

func (f appended) Appended(_ uint64, r kernel.AppendResult) { f(r) }

func (c *serial) commit(ctx context.Context, id string) error {
	c.offsets[id]++
	done := make(chan error, 1)
	offset := shard.GroupOffset{Topic: "orders", Offset: group.Offset{Offset: c.offsets[id], LeaderEpoch: -1}}
	c.node.GroupCommit("/", id, &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{offset}}, func(errs []group.Error, err error) {
		if err == nil && (len(errs) != 1 || errs[0] != group.OK) {
			err = fmt.Errorf("answers %v", errs)
		}
		done <- err
	})
	err := answer(ctx, done)
	c.say("commit %d of %s: %v", c.offsets[id], id, err)
	return err
}

func answer(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check holds everything against what was acknowledged: no more, and no less.
func (c *serial) check() error {
	for _, name := range topics {
		all, _, err := read(c.node, name)
		if err != nil {
			return err
		}
		for p := range int32(3) {
			if err := c.same(fmt.Sprintf("%s/%d", name, p), all[p], c.streams[fmt.Sprintf("%s/%d", name, p)]); err != nil {
				return err
			}
		}
	}
	for _, name := range queues {
		info, err := c.node.Queue("/", name, 0)
		if err != nil {
			return err
		}
		if err := c.same("queue "+name, info.Ready+info.Unacked, int64(c.queued[name])); err != nil {
			return err
		}
	}
	for _, id := range groups {
		var got group.Offset
		c.node.GroupRead("/", id, func(g *group.Group) { got, _, _ = g.Fetch("orders", 0, true) })
		if err := c.same("group "+id, got.Offset, c.offsets[id]); err != nil {
			return err
		}
	}
	have := make(map[string]string)
	for _, m := range c.node.RetainedMessages("/", "state/#", 1000) {
		have[m.Address] = string(m.Value)
	}
	return c.same("retained", have, c.retained)
}

func (c *serial) same(what string, got, want any) error {
	g, w := fmt.Sprint(got), fmt.Sprint(want)
	c.say("%s: %s", what, g)
	if g != w {
		return fmt.Errorf("%s is %s, acknowledged was %s", what, g, w)
	}
	return nil
}
