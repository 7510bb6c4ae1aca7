package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
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
	case 4:
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

// mqttFlow publishes from one connection to another for a while, at most inflight ahead
// of what arrived, and returns messages a second.
func mqttFlow(address string, qos byte, size, inflight int, d time.Duration) (rate float64, n int, err error) {
	sub, err := mqttDial(address, "sub")
	if err != nil {
		return 0, 0, err
	}
	defer sub.Close()
	topic := fmt.Sprintf("bench/%d/%d", qos, time.Now().UnixNano())
	if err := sub.subscribe(topic, qos); err != nil {
		return 0, 0, err
	}
	pub, err := mqttDial(address, "pub")
	if err != nil {
		return 0, 0, err
	}
	defer pub.Close()
	credit := make(chan struct{}, inflight)
	acked := make(chan struct{}, inflight)
	failed := make(chan error, 3)
	if qos > 0 {
		go func() {
			for {
				if _, _, err := pub.skip(); err != nil {
					return
				}
				<-acked
			}
		}()
	}
	count := 0
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		w := bufio.NewWriterSize(sub, 64<<10)
		for {
			kind, id, err := sub.skip()
			if err != nil {
				failed <- err
				return
			}
			if kind>>4 != 3 {
				continue
			}
			if qos > 0 {
				_, _ = w.Write([]byte{0x40, 2, byte(id >> 8), byte(id)})
				if sub.r.Buffered() == 0 {
					_ = w.Flush()
				}
			}
			count++
			<-credit
			if time.Since(began) > d {
				return
			}
		}
	}()
	payload := make([]byte, size)
	w := bufio.NewWriterSize(pub, 64<<10)
	id := uint16(0)
	packet := mqttPublish(topic, payload, qos, 1)
	at := len(packet) - size - 2
	for running := true; running; {
		select {
		case credit <- struct{}{}:
		default:
			_ = w.Flush()
			select {
			case credit <- struct{}{}:
			case <-done:
				running = false
				continue
			}
		}
		if qos > 0 {
			select {
			case acked <- struct{}{}:
			default:
				_ = w.Flush()
				select {
				case acked <- struct{}{}:
				case <-done:
					running = false
					continue
				}
			}
			if id++; id == 0 {
				id = 1
			}
			binary.BigEndian.PutUint16(packet[at:], id)
		}
		if _, err := w.Write(packet); err != nil {
			return 0, 0, err
		}
	}
	select {
	case err := <-failed:
		return 0, 0, err
	default:
	}
	return float64(count) / time.Since(began).Seconds(), count, nil
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

func (o *options) mqtt(b *instance) (rows []row, err error) {
	if err := waitFor(b.mqtt); err != nil {
		return nil, err
	}
	type target struct {
		address string
		pid     int
	}
	targets := []target{{b.mqtt, b.cmd.Process.Pid}}
	if o.peerMQTT != "" {
		targets = append(targets, target{o.peerMQTT, o.pids["mqtt"]})
	}
	for _, qos := range []byte{0, 1} {
		durability := []string{"none", "memory"}[qos] // the subscriber's session ends with its connection
		rate := row{what: fmt.Sprintf("MQTT QoS %d, 1 to 1, 256 B", qos), unit: "msg/s", peerName: "Mosquitto", durability: durability}
		cost := row{what: fmt.Sprintf("  broker CPU a message, QoS %d", qos), unit: "us", peerName: "Mosquitto", lower: true, durability: durability}
		p50 := row{what: fmt.Sprintf("  publish to delivery, QoS %d, p50", qos), unit: "us", peerName: "Mosquitto", lower: true, durability: durability}
		p99 := row{what: fmt.Sprintf("  publish to delivery, QoS %d, p99", qos), unit: "us", peerName: "Mosquitto", lower: true, durability: durability}
		for i, t := range targets {
			inflight := 20 // Mosquitto's own bound on messages under way at QoS 1
			if qos == 0 {
				inflight = 1000
			}
			used := cpu(t.pid)
			r, n, err := mqttFlow(t.address, qos, 256, inflight, o.window)
			if err != nil {
				return rows, fmt.Errorf("%s at %s: %w", rate.what, t.address, err)
			}
			spent := (cpu(t.pid) - used) * 1e6 / float64(n)
			a, z, err := mqttLatency(t.address, qos, 2000)
			if err != nil {
				return rows, err
			}
			if i == 0 {
				rate.rmq, cost.rmq, p50.rmq, p99.rmq = r, spent, a, z
			} else {
				rate.peer, cost.peer, p50.peer, p99.peer = r, spent, a, z
			}
		}
		rows = append(rows, rate, cost, p50, p99)
	}
	return rows, nil
}
