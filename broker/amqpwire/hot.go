package amqpwire

import "encoding/binary"

// Publish is basic.publish, its names part of the decoded bytes.
type Publish struct {
	Exchange, RoutingKey []byte
	Mandatory, Immediate bool
}

// DecodePublish reads the arguments of basic.publish.
func DecodePublish(args []byte) (Publish, error) {
	r := reader{b: args}
	r.short()
	p := Publish{Exchange: r.shortstr(), RoutingKey: r.shortstr()}
	bits := r.octet()
	p.Mandatory, p.Immediate = bits&1 != 0, bits&2 != 0
	if r.err != nil {
		return Publish{}, r.fail(IDBasicPublish)
	}
	return p, nil
}

// Settlement is basic.ack, nack or reject: what a client says of deliveries.
type Settlement struct {
	Tag      uint64
	Multiple bool
	Requeue  bool // of nack and reject
}

// DecodeSettlement reads the arguments of basic.ack, basic.nack or basic.reject.
func DecodeSettlement(id MethodID, args []byte) (Settlement, error) {
	r := reader{b: args}
	s := Settlement{Tag: r.longlong()}
	bits := r.octet()
	if r.err != nil {
		return Settlement{}, r.fail(id)
	}
	switch id {
	case IDBasicAck:
		s.Multiple = bits&1 != 0
	case IDBasicNack:
		s.Multiple, s.Requeue = bits&1 != 0, bits&2 != 0
	case IDBasicReject:
		s.Requeue = bits&1 != 0
	}
	return s, nil
}

// Header is a content header. Props are the encoded flags and properties, part of
// the decoded bytes; Properties.Decode reads them.
type Header struct {
	Class    uint16
	BodySize uint64
	Props    []byte
}

// DecodeHeader reads a header frame's payload.
func DecodeHeader(payload []byte) (Header, error) {
	if len(payload) < 14 {
		return Header{}, errorf(FrameError, "content header of %d octets", len(payload))
	}
	h := Header{
		Class:    binary.BigEndian.Uint16(payload),
		BodySize: binary.BigEndian.Uint64(payload[4:]),
		Props:    payload[12:],
	}
	if binary.BigEndian.Uint16(payload[2:]) != 0 {
		return Header{}, errorf(FrameError, "content header with a weight")
	}
	return h, nil
}

// AppendPublish appends basic.publish.
func AppendPublish(dst []byte, channel uint16, exchange, key string, mandatory bool) []byte {
	start := len(dst)
	dst = openMethod(dst, channel, IDBasicPublish)
	dst = append(dst, 0, 0)
	dst = appendShort(dst, exchange)
	dst = appendShort(dst, key)
	return closeFrame(append(dst, bit(mandatory, 0)), start)
}

// AppendDeliver appends basic.deliver.
func AppendDeliver(dst []byte, channel uint16, consumer string, tag uint64, redelivered bool, exchange, key []byte) []byte {
	start := len(dst)
	dst = openMethod(dst, channel, IDBasicDeliver)
	dst = appendShort(dst, consumer)
	dst = binary.BigEndian.AppendUint64(dst, tag)
	dst = append(dst, bit(redelivered, 0))
	dst = appendShortBytes(dst, exchange)
	return closeFrame(appendShortBytes(dst, key), start)
}

// AppendGetOk appends basic.get-ok.
func AppendGetOk(dst []byte, channel uint16, tag uint64, redelivered bool, exchange, key []byte, ready uint32) []byte {
	start := len(dst)
	dst = openMethod(dst, channel, IDBasicGetOk)
	dst = binary.BigEndian.AppendUint64(dst, tag)
	dst = append(dst, bit(redelivered, 0))
	dst = appendShortBytes(dst, exchange)
	dst = appendShortBytes(dst, key)
	return closeFrame(binary.BigEndian.AppendUint32(dst, ready), start)
}

// AppendReturn appends basic.return.
func AppendReturn(dst []byte, channel uint16, code uint16, text string, exchange, key []byte) []byte {
	start := len(dst)
	dst = openMethod(dst, channel, IDBasicReturn)
	dst = binary.BigEndian.AppendUint16(dst, code)
	dst = appendShort(dst, text)
	dst = appendShortBytes(dst, exchange)
	return closeFrame(appendShortBytes(dst, key), start)
}

// AppendAck appends basic.ack.
func AppendAck(dst []byte, channel uint16, tag uint64, multiple bool) []byte {
	start := len(dst)
	dst = openMethod(dst, channel, IDBasicAck)
	dst = binary.BigEndian.AppendUint64(dst, tag)
	return closeFrame(append(dst, bit(multiple, 0)), start)
}

// AppendNack appends basic.nack as a broker sends it: requeue is clear.
func AppendNack(dst []byte, channel uint16, tag uint64, multiple bool) []byte {
	start := len(dst)
	dst = openMethod(dst, channel, IDBasicNack)
	dst = binary.BigEndian.AppendUint64(dst, tag)
	return closeFrame(append(dst, bit(multiple, 0)), start)
}

func openMethod(dst []byte, channel uint16, id MethodID) []byte {
	return binary.BigEndian.AppendUint32(openFrame(dst, FrameMethod, channel), uint32(id))
}
