package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// This file speaks just enough MQTT 3.1.1 to load a broker without the generator being
// what is measured: packets are made once, and answers are counted.

type mqttConn struct {
	net.Conn
	r *bufio.Reader
}

func mqttDial(address, id string) (*mqttConn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	b := []byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, byte(len(id))}
	b = append(b, id...)
	if _, err := c.Write(append([]byte{0x10, byte(len(b))}, b...)); err != nil {
		return nil, err
	}
	m := &mqttConn{c, bufio.NewReaderSize(c, 256<<10)}
	kind, body, err := m.read()
	if err != nil || kind>>4 != 2 || len(body) != 2 || body[1] != 0 {
		return nil, fmt.Errorf("no CONNACK: %x %x %v", kind, body, err)
	}
	return m, nil
}

func (m *mqttConn) read() (kind byte, body []byte, err error) {
	if kind, err = m.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(m.r) // MQTT's variable byte integer has the same form
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(m.r, body)
	return kind, body, err
}

// skip reads a packet and forgets its body.
func (m *mqttConn) skip() (kind byte, id uint16, err error) {
	if kind, err = m.r.ReadByte(); err != nil {
		return 0, 0, err
	}
	n, err := binary.ReadUvarint(m.r)
	if err != nil {
		return 0, 0, err
	}
	head, err := m.r.Peek(int(min(n, 64)))
	if err != nil {
		return 0, 0, err
	}
	switch kind >> 4 {
	case 3:
		if kind&6 != 0 {
			at := 2 + int(binary.BigEndian.Uint16(head))
			id = binary.BigEndian.Uint16(head[at:])
		}
	case 4, 5, 6, 7:
		id = binary.BigEndian.Uint16(head)
	}
	_, err = m.r.Discard(int(n))
	return kind, id, err
}

func (m *mqttConn) subscribe(filter string, qos byte) error {
	b := []byte{0, 1, 0, byte(len(filter))}
	b = append(append(b, filter...), qos)
	if _, err := m.Write(append([]byte{0x82, byte(len(b))}, b...)); err != nil {
		return err
	}
	kind, body, err := m.read()
	if err != nil || kind>>4 != 9 || body[2] > 2 {
		return fmt.Errorf("no SUBACK: %x %x %v", kind, body, err)
	}
	return nil
}

func mqttPublish(topic string, payload []byte, qos byte, id uint16) []byte {
	b := []byte{0, byte(len(topic))}
	b = append(b, topic...)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	b = append(b, payload...)
	out := binary.AppendUvarint([]byte{0x30 | qos<<1}, uint64(len(b)))
	return append(out, b...)
}

func mqttFirst(address string) error {
	m, err := mqttDial(address, "first")
	if err != nil {
		return err
	}
	defer m.Close()
	if _, err := m.Write(mqttPublish("bench/first", []byte("x"), 1, 1)); err != nil {
		return err
	}
	kind, _, err := m.skip()
	if err == nil && kind>>4 != 4 {
		err = fmt.Errorf("packet %x for a PUBACK", kind)
	}
	return err
}

// mqttLoad is messages from some connections to others. Every publisher publishes to one topic, to
// which every subscriber has subscribed.
type mqttLoad struct {
	qos        byte
	size       int // bytes of payload
	pubs, subs int
	inflight   int // messages that may be published and not yet delivered to all
}

// allowance is how many messages may be under way, and parts how often each has to be given back.
type allowance struct {
	parts int

	mu    sync.Mutex
	more  sync.Cond
	left  int // parts
	ended bool
}

func newAllowance(n, parts int) *allowance {
	a := &allowance{left: n * parts, parts: parts}
	a.more.L = &a.mu
	return a
}

// take takes up to n, at least 1, and 0 when it is over. before is called before it waits.
func (a *allowance) take(n int, before func()) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left < a.parts && !a.ended {
		a.mu.Unlock()
		before()
		a.mu.Lock()
	}
	for a.left < a.parts && !a.ended {
		a.more.Wait()
	}
	if a.ended {
		return 0
	}
	n = min(n, a.left/a.parts)
	a.left -= n * a.parts
	return n
}

// give gives parts back.
func (a *allowance) give(n int) {
	a.mu.Lock()
	a.left += n
	a.mu.Unlock()
	a.more.Broadcast()
}

func (a *allowance) end() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.more.Broadcast()
}

// batch is how many messages a publisher takes at once, and a subscriber gives back.
const batch = 32

// run loads a broker for a while, and returns deliveries a second and how many there were.
func (l mqttLoad) run(address string, d time.Duration) (rate float64, n int, err error) {
	topic := fmt.Sprintf("bench/%d/%d", l.qos, time.Now().UnixNano())
	ahead := newAllowance(l.inflight, l.subs)
	var conns []*mqttConn
	var work sync.WaitGroup
	defer func() {
		ahead.end()
		for _, c := range conns {
			_ = c.Close()
		}
		work.Wait()
	}()
	var count, running atomic.Int64
	failed := make(chan error, l.pubs+l.subs)
	running.Store(1)
	lost := func(err error) {
		if running.Load() == 1 {
			failed <- err
			ahead.end()
		}
	}
	for i := range l.subs {
		sub, err := mqttDial(address, fmt.Sprintf("sub%d", i))
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, sub)
		if err := sub.subscribe(topic, l.qos); err != nil {
			return 0, 0, err
		}
		work.Go(func() {
			got := 0
			lost(sub.receive(func() {
				if got++; got == batch || sub.r.Buffered() == 0 {
					count.Add(int64(got))
					ahead.give(got)
					got = 0
				}
			}))
		})
	}
	began := time.Now()
	for i := range l.pubs {
		pub, err := mqttDial(address, fmt.Sprintf("pub%d", i))
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, pub)
		work.Go(func() {
			if err := l.publish(pub, topic, ahead); err != nil {
				lost(err)
			}
		})
	}
	select {
	case err := <-failed:
		running.Store(0)
		return 0, 0, err
	case <-time.After(d):
	}
	n = int(count.Load())
	took := time.Since(began)
	running.Store(0)
	return float64(n) / took.Seconds(), n, nil
}

// receive reads messages, acknowledges them, and calls f with each, until the connection ends.
func (m *mqttConn) receive(f func()) error {
	w := bufio.NewWriterSize(m, 64<<10)
	for {
		kind, id, err := m.skip()
		if err != nil {
			return err
		}
		switch {
		case kind>>4 == 6: // PUBREL
			_, _ = w.Write([]byte{0x70, 2, byte(id >> 8), byte(id)})
		case kind>>4 != 3:
		case kind>>1&3 == 1:
			_, _ = w.Write([]byte{0x40, 2, byte(id >> 8), byte(id)})
		case kind>>1&3 == 2:
			_, _ = w.Write([]byte{0x50, 2, byte(id >> 8), byte(id)})
		}
		if m.r.Buffered() == 0 {
			_ = w.Flush()
		}
		if kind>>4 == 3 {
			f()
		}
	}
}

// unacked is how many messages of QoS 1 and 2 a publisher has under way.
const unacked = 100

// publish publishes as it is allowed to.
func (l mqttLoad) publish(m *mqttConn, topic string, ahead *allowance) error {
	var mu sync.Mutex
	w := bufio.NewWriterSize(m, 64<<10)
	flush := func() {
		mu.Lock()
		_ = w.Flush()
		mu.Unlock()
	}
	acks := newAllowance(unacked, 1)
	done := make(chan struct{})
	go func() { // until the connection ends
		defer close(done)
		defer acks.end()
		for n := 0; ; {
			kind, id, err := m.skip()
			if err != nil {
				return
			}
			if kind>>4 == 5 { // PUBREC
				mu.Lock()
				_, _ = w.Write([]byte{0x62, 2, byte(id >> 8), byte(id)})
				if m.r.Buffered() == 0 {
					_ = w.Flush()
				}
				mu.Unlock()
			} else {
				n++
			}
			if n == batch || m.r.Buffered() == 0 && n > 0 {
				acks.give(n)
				n = 0
			}
		}
	}()
	defer func() { <-done }()
	packet := mqttPublish(topic, make([]byte, l.size), l.qos, 1)
	at := len(packet) - l.size - 2
	id := uint16(0)
	for {
		n := ahead.take(batch, flush)
		if n == 0 {
			return nil
		}
		for n > 0 {
			k := n
			if l.qos > 0 {
				if k = acks.take(n, flush); k == 0 {
					return nil
				}
			}
			mu.Lock()
			for range k {
				if l.qos > 0 {
					if id++; id == 0 {
						id = 1
					}
					binary.BigEndian.PutUint16(packet[at:], id)
				}
				if _, err := w.Write(packet); err != nil {
					mu.Unlock()
					return err
				}
			}
			mu.Unlock()
			n -= k
		}
	}
}

// mqttPaced publishes so many messages a second for a while, and tells how long each took to be
// delivered, in microseconds.
func mqttPaced(address string, qos byte, perSecond int, d time.Duration) (us []float64, err error) {
	sub, err := mqttDial(address, "psub")
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	if err := sub.subscribe("bench/paced", qos); err != nil {
		return nil, err
	}
	pub, err := mqttDial(address, "ppub")
	if err != nil {
		return nil, err
	}
	defer pub.Close()
	go func() {
		for {
			if _, _, err := pub.skip(); err != nil {
				return
			}
		}
	}()
	n := int(d.Seconds() * float64(perSecond))
	failed := make(chan error, 1)
	began := time.Now()
	go func() {
		payload := make([]byte, 256)
		for i := range n {
			due := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
			time.Sleep(time.Until(due))
			binary.BigEndian.PutUint64(payload, uint64(time.Since(began)))
			if _, err := pub.Write(mqttPublish("bench/paced", payload, qos, uint16(i%60000+1))); err != nil {
				failed <- err
				return
			}
		}
	}()
	for len(us) < n {
		kind, body, err := sub.read()
		if err != nil {
			return nil, err
		}
		if kind>>4 != 3 {
			continue
		}
		sent := time.Duration(binary.BigEndian.Uint64(body[len(body)-256:]))
		us = append(us, float64(time.Since(began)-sent)/1000)
		if qos > 0 {
			at := 2 + int(binary.BigEndian.Uint16(body))
			if _, err := sub.Write([]byte{0x40, 2, body[at], body[at+1]}); err != nil {
				return nil, err
			}
		}
		select {
		case err := <-failed:
			return nil, err
		default:
		}
	}
	return us, nil
}

// mqttConnects connects and disconnects n times, from eight connections at a time, and returns how many
// a second.
func mqttConnects(address string, n int) (float64, error) {
	const at = 8
	failed := make(chan error, at)
	began := time.Now()
	for w := range at {
		go func() {
			for i := range n / at {
				m, err := mqttDial(address, fmt.Sprintf("c%d-%d", w, i))
				if err != nil {
					failed <- err
					return
				}
				_, _ = m.Write([]byte{0xE0, 0})
				_ = m.Close()
			}
			failed <- nil
		}()
	}
	for range at {
		if err := <-failed; err != nil {
			return 0, err
		}
	}
	return float64(n/at*at) / time.Since(began).Seconds(), nil
}

// mqttIdle returns what a broker's process has grown by for each of n connections that have
// subscribed, been silent for a while, and said that they are there; in bytes.
func mqttIdle(address string, pid, n int) (float64, error) {
	before := memory(pid)
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	answer := make([]byte, 64)
	ask := func(c net.Conn, packet []byte) error {
		if _, err := c.Write(packet); err != nil {
			return err
		}
		_, err := c.Read(answer)
		return err
	}
	for i := range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		id := fmt.Sprintf("idle-%06d", i)
		hello := append([]byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, byte(len(id))}, id...)
		if err := ask(c, hello); err != nil {
			return 0, err
		}
		if err := ask(c, append(append([]byte{0x82, byte(5 + len(id)), 0, 1, 0, byte(len(id))}, id...), 1)); err != nil {
			return 0, err
		}
	}
	time.Sleep(6 * time.Second) // what rmq takes for silence
	for _, c := range conns {
		if err := ask(c, []byte{0xC0, 0}); err != nil {
			return 0, err
		}
	}
	time.Sleep(12 * time.Second) // until it has noticed that it is quiet
	return float64(memory(pid)-before) / float64(n), nil
}

// mqttLatency sends one message at a time and waits until it is delivered.
func mqttLatency(address string, qos byte, n int) (p50, p99 float64, err error) {
	sub, err := mqttDial(address, "lsub")
	if err != nil {
		return 0, 0, err
	}
	defer sub.Close()
	if err := sub.subscribe("bench/latency", qos); err != nil {
		return 0, 0, err
	}
	pub, err := mqttDial(address, "lpub")
	if err != nil {
		return 0, 0, err
	}
	defer pub.Close()
	var us []float64
	for i := range n {
		at := time.Now()
		if _, err := pub.Write(mqttPublish("bench/latency", make([]byte, 64), qos, uint16(i%60000+1))); err != nil {
			return 0, 0, err
		}
		_, id, err := sub.skip()
		if err != nil {
			return 0, 0, err
		}
		us = append(us, float64(time.Since(at).Nanoseconds())/1000)
		if qos > 0 {
			if _, err := sub.Write([]byte{0x40, 2, byte(id >> 8), byte(id)}); err != nil {
				return 0, 0, err
			}
			if _, _, err := pub.skip(); err != nil {
				return 0, 0, err
			}
		}
	}
	return quantile(us, 0.5), quantile(us, 0.99), nil
}

// mqttTarget is a broker to load, and its process.
type mqttTarget struct {
	name, address string
	pid           int
}

func (o *options) mqtt(b *instance) (rows []row, err error) {
	if err := waitFor(b.mqtt); err != nil {
		return nil, err
	}
	targets := []mqttTarget{{"rmq", b.mqtt, b.cmd.Process.Pid}}
	if o.peerMQTT != "" {
		targets = append(targets, mqttTarget{"Mosquitto", o.peerMQTT, o.pids["mqtt"]})
	}
	rate := row{what: "connections, made and ended", unit: "/s", durability: "memory"}
	idle := row{what: fmt.Sprintf("memory of each of %d idle connections (RSS)", o.idle), unit: "B", lower: true, durability: "memory"}
	for i, t := range targets {
		v, err := mqttIdle(t.address, t.pid, o.idle) // first, while nothing has made room that they could take
		if err != nil {
			return rows, fmt.Errorf("idle connections of %s: %w", t.name, err)
		}
		idle.set(i, t.name, v)
		if v, err = mqttConnects(t.address, 4000); err != nil {
			return rows, err
		}
		rate.set(i, t.name, v)
	}
	rows = append(rows, rate, idle)
	durability := []string{"none", "memory", "memory"} // the subscriber's session ends with its connection
	for _, l := range []mqttLoad{
		{qos: 0, size: 16, pubs: 1, subs: 1, inflight: 1000},
		{qos: 0, size: 256, pubs: 1, subs: 1, inflight: 1000},
		{qos: 0, size: 4096, pubs: 1, subs: 1, inflight: 200},
		{qos: 1, size: 256, pubs: 1, subs: 1, inflight: unacked},
		{qos: 2, size: 256, pubs: 1, subs: 1, inflight: unacked},
		{qos: 0, size: 256, pubs: 1, subs: 100, inflight: 100},
		{qos: 1, size: 256, pubs: 1, subs: 100, inflight: 20},
		{qos: 0, size: 256, pubs: 100, subs: 1, inflight: 1000},
		{qos: 1, size: 256, pubs: 100, subs: 1, inflight: unacked},
	} {
		on := targets
		if l.subs > 1 && o.peerNATS != "" {
			on = append(on[:len(on):len(on)], mqttTarget{"nats-server", o.peerNATS, o.pids["nats"]})
		}
		more, err := o.mqttLoad(l, on, durability[l.qos])
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	for _, qos := range []byte{0, 1} {
		alone := []string{"p50", "p99"}
		paced := []string{"p50", "p99", "p99.9"}
		var one, many [3]row
		for i, t := range targets {
			a, z, err := mqttLatency(t.address, qos, 2000)
			if err != nil {
				return rows, err
			}
			for k, v := range []float64{a, z} {
				one[k].set(i, t.name, v)
			}
			us, err := mqttPaced(t.address, qos, 2000, o.window)
			if err != nil {
				return rows, err
			}
			for k, q := range []float64{0.5, 0.99, 0.999} {
				many[k].set(i, t.name, quantile(us, q))
			}
		}
		for k, what := range alone {
			one[k].what, one[k].unit, one[k].lower, one[k].durability = fmt.Sprintf("publish to delivery, QoS %d, one at a time, %s", qos, what), "us", true, durability[qos]
			rows = append(rows, one[k])
		}
		for k, what := range paced {
			many[k].what, many[k].unit, many[k].lower, many[k].durability = fmt.Sprintf("  the same, 2,000 a second, %s", what), "us", true, durability[qos]
			rows = append(rows, many[k])
		}
	}
	return rows, nil
}

// set notes what the broker i of a row has shown: rmq is the first.
func (r *row) set(i int, name string, v float64) {
	if i == 0 {
		r.rmq = v
		return
	}
	r.peer, r.peerName = v, name
}

// mqttLoad loads every broker in turn: a row for each peer, and one for the CPU of each.
func (o *options) mqttLoad(l mqttLoad, targets []mqttTarget, durability string) (rows []row, err error) {
	what := fmt.Sprintf("MQTT QoS %d, %d to %d, %d B", l.qos, l.pubs, l.subs, l.size)
	var rates, costs []row
	for i, t := range targets {
		used := cpu(t.pid)
		rate, n, err := l.run(t.address, o.window)
		if err != nil {
			return rows, fmt.Errorf("%s at %s: %w", what, t.name, err)
		}
		spent := (cpu(t.pid) - used) * 1e6 / float64(max(n, 1))
		if i == 0 || len(targets) > 2 && i == 2 {
			rates = append(rates, row{what: what, unit: "msg/s", durability: durability})
			costs = append(costs, row{what: "  broker CPU a delivery", unit: "us", lower: true, durability: durability})
		}
		k := len(rates) - 1
		if k > 0 {
			rates[k].rmq, costs[k].rmq = rates[0].rmq, costs[0].rmq
		}
		rates[k].set(i, t.name, rate)
		costs[k].set(i, t.name, spent)
	}
	for k := range rates {
		rows = append(rows, rates[k], costs[k])
	}
	return rows, nil
}
