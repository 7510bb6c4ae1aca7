package hostile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// decoder splits what a broker sends into frames, and names them. What it does not understand is a
// frame called "bytes".
type decoder struct {
	protocol string
	r        *bufio.Reader
	raw      []byte // of the frame being read
	modern   bool   // AMQP 1.0 was agreed on
}

func newDecoder(protocol string, r io.Reader) *decoder {
	return &decoder{protocol: protocol, r: bufio.NewReader(r)}
}

// next reads one frame.
func (d *decoder) next() (Event, error) {
	d.raw = nil
	var e Event
	var err error
	switch d.protocol {
	case "mqtt":
		e, err = d.mqtt()
	case "kafka":
		e, err = d.kafka()
	case "amqp":
		e, err = d.amqp()
	default:
		err = d.take(1)
		e.Name = "bytes"
	}
	if len(d.raw) > 0 && err != nil { // it broke off, or is none of the protocol
		return Event{Name: "bytes", Bytes: d.raw}, nil
	}
	e.Bytes = d.raw
	return e, err
}

// take reads n more bytes of the frame.
func (d *decoder) take(n int) error {
	if n < 0 || len(d.raw)+n > frameMax {
		return fmt.Errorf("a frame of more than %d bytes", frameMax)
	}
	var b bytes.Buffer // grows as bytes come: a length is only a promise
	_, err := io.CopyN(&b, d.r, int64(n))
	d.raw = append(d.raw, b.Bytes()...)
	return err
}

func code(n int) *int { return &n }

func (d *decoder) mqtt() (e Event, err error) {
	if err = d.take(1); err != nil {
		return e, err
	}
	for size, shift := 0, 0; ; shift += 7 {
		if err = d.take(1); err != nil {
			return e, err
		}
		b := d.raw[len(d.raw)-1]
		if size |= int(b&0x7F) << shift; b < 0x80 || shift == 21 {
			err = d.take(size)
			e.named(d.raw, d.raw[len(d.raw)-size:])
			return e, err
		}
	}
}

// named says what an MQTT packet is, and its reason code.
func (e *Event) named(packet, body []byte) {
	kind := mqttwire.Type(packet[0] >> 4)
	e.Name = strings.ToLower(kind.String())
	at := -1 // of the reason in the body; where it may be left out, it is 0 then
	switch kind {
	case mqttwire.CONNACK:
		at = 1
	case mqttwire.DISCONNECT:
		if at = 0; len(body) == 0 {
			e.Code = code(0)
		}
	case mqttwire.PUBACK, mqttwire.PUBREC, mqttwire.PUBREL, mqttwire.PUBCOMP:
		if at = 2; len(body) == 2 {
			e.Code = code(0)
		}
	case mqttwire.SUBACK, mqttwire.UNSUBACK:
		at = len(body) - 1
	}
	if at < 0 || at >= len(body) {
		return
	}
	if e.Code = code(int(body[at])); body[at] != 0 {
		e.Text = mqttwire.Reason(body[at]).String()
	}
}

// kafka reads a response: what it answers is known to who asked.
func (d *decoder) kafka() (e Event, err error) {
	if err = d.take(4); err != nil {
		return e, err
	}
	if err = d.take(int(int32(binary.BigEndian.Uint32(d.raw)))); err != nil {
		return e, err
	}
	e.Name = "response"
	if len(d.raw) >= 8 {
		e.Text = fmt.Sprintf("correlation id %d", binary.BigEndian.Uint32(d.raw[4:]))
	}
	return e, nil
}

func (d *decoder) amqp() (e Event, err error) {
	if err = d.take(7); err != nil {
		return e, err
	}
	if string(d.raw[:4]) == "AMQP" {
		if err = d.take(1); err != nil {
			return e, err
		}
		d.modern = d.raw[5] == 1
		return Event{Name: "protocol-header", Text: fmt.Sprintf("AMQP %d %d-%d-%d", d.raw[4], d.raw[5], d.raw[6], d.raw[7])}, nil
	}
	if d.modern {
		return d.amqp10()
	}
	if err = d.take(int(int32(binary.BigEndian.Uint32(d.raw[3:])))); err != nil {
		return e, err
	}
	if err = d.take(1); err != nil {
		return e, err
	}
	switch d.raw[0] {
	case amqpwire.FrameHeartbeat:
		e.Name = "heartbeat"
	case amqpwire.FrameHeader:
		e.Name = "header"
	case amqpwire.FrameBody:
		e.Name = "body"
	default:
		id, args, err := amqpwire.SplitMethod(d.raw[7 : len(d.raw)-1])
		if err != nil {
			return e, err
		}
		e.Name = id.String()
		if (id == amqpwire.IDConnectionClose || id == amqpwire.IDChannelClose) && len(args) >= 3 {
			e.Code = code(int(binary.BigEndian.Uint16(args)))
			if n := int(args[2]); len(args) >= 3+n {
				e.Text = string(args[3 : 3+n])
			}
		}
	}
	return e, nil
}

// performatives are the frames of AMQP 1.0, by their descriptor.
var performatives = map[byte]string{
	0x10: "open", 0x11: "begin", 0x12: "attach", 0x13: "flow", 0x14: "transfer", 0x15: "disposition", 0x16: "detach", 0x17: "end", 0x18: "close-frame",
}

func (d *decoder) amqp10() (e Event, err error) {
	if err = d.take(int(int32(binary.BigEndian.Uint32(d.raw))) - len(d.raw)); err != nil {
		return e, err
	}
	e.Name = "frame"
	if at := int(d.raw[4]) * 4; len(d.raw) >= at+3 && d.raw[at] == 0x00 && d.raw[at+1] == 0x53 {
		if name, ok := performatives[d.raw[at+2]]; ok {
			e.Name = name
		}
		if i := bytes.Index(d.raw[at:], []byte("amqp:")); i >= 0 { // the condition of an error
			end := at + i
			for end < len(d.raw) && d.raw[end] > 0x20 && d.raw[end] < 0x7F {
				end++
			}
			e.Text = string(d.raw[at+i : end])
		}
	}
	return e, nil
}
