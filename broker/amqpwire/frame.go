package amqpwire

import "encoding/binary"

// A connection begins with the client's eight octets, ProtocolHeader; a server
// that cannot speak what it asks answers with its own and closes. From then on
// both sides send frames, integers in network order:
//
//	0      1         3          7               7+size
//	┌──────┬─────────┬──────────┬─────────────┬─────┐
//	│ type │ channel │ size     │ payload     │ end │
//	│ u8   │ u16     │ u32      │ size octets │ xCE │
//	└──────┴─────────┴──────────┴─────────────┴─────┘
//
// The type and the size are checked as soon as the seven octets are there, so that
// a frame over the negotiated maximum is refused before any of it is read. The
// maximum counts the whole frame: size + 8.
const (
	FrameMethod    = 1
	FrameHeader    = 2
	FrameBody      = 3
	FrameHeartbeat = 8

	frameHeaderLen = 7
	frameEnd       = 0xCE

	// FrameOverhead is what a frame adds to its payload.
	FrameOverhead = frameHeaderLen + 1
	// FrameMinSize is the smallest frame-max that may be negotiated in the
	// specification; RabbitMQ's is 8192 from 4.0 on.
	FrameMinSize = 4096
)

// ProtocolHeader is how a client opens an AMQP 0-9-1 connection.
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// Frame is one frame. Payload is part of the decoded bytes.
type Frame struct {
	Type    uint8
	Channel uint16
	Payload []byte
}

// DecodeFrame reads the first frame of b. ok false without an error: b is too
// short, and holds the frame once it is n octets long (or tells more then).
// Otherwise n is the frame's length. limit bounds n.
func DecodeFrame(b []byte, limit int) (f Frame, n int, ok bool, err error) {
	if len(b) < frameHeaderLen {
		return Frame{}, frameHeaderLen, false, nil
	}
	switch b[0] {
	case FrameMethod, FrameHeader, FrameBody, FrameHeartbeat:
	default:
		return Frame{}, 0, false, errorf(FrameError, "unknown frame type %d", b[0])
	}
	size := binary.BigEndian.Uint32(b[3:])
	if uint64(size)+FrameOverhead > uint64(limit) {
		return Frame{}, 0, false, errorf(FrameError, "type %d, frame of %d octets is over the maximum of %d", b[0], uint64(size)+FrameOverhead, limit)
	}
	n = int(size) + FrameOverhead
	if len(b) < n {
		return Frame{}, n, false, nil
	}
	if b[n-1] != frameEnd {
		return Frame{}, 0, false, errorf(FrameError, "type %d, invalid frame end marker %d", b[0], b[n-1])
	}
	return Frame{Type: b[0], Channel: binary.BigEndian.Uint16(b[1:]), Payload: b[frameHeaderLen : n-1 : n-1]}, n, true, nil
}

// AppendFrame appends a frame with a payload that is there already.
func AppendFrame(dst []byte, typ uint8, channel uint16, payload []byte) []byte {
	dst = append(dst, typ, byte(channel>>8), byte(channel))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, payload...)
	return append(dst, frameEnd)
}

// AppendHeartbeat appends a heartbeat frame.
func AppendHeartbeat(dst []byte) []byte {
	return append(dst, FrameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd)
}

// openFrame appends a frame's first octets with room for its size; closeFrame
// completes it.
func openFrame(dst []byte, typ uint8, channel uint16) []byte {
	return append(dst, typ, byte(channel>>8), byte(channel), 0, 0, 0, 0)
}

func closeFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+3:], uint32(len(dst)-start-frameHeaderLen))
	return append(dst, frameEnd)
}

// AppendContent appends the content header and the body, in as many frames of at most
// frameMax octets as it takes (0: no limit). props are the encoded flags and
// properties.
func AppendContent(dst []byte, channel uint16, props, body []byte, frameMax int) []byte {
	start := len(dst)
	dst = openFrame(dst, FrameHeader, channel)
	dst = append(dst, 0, ClassBasic, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(body)))
	dst = append(dst, props...)
	dst = closeFrame(dst, start)
	for room := bodyRoom(frameMax); len(body) > 0; {
		n := min(len(body), room)
		dst = AppendFrame(dst, FrameBody, channel, body[:n])
		body = body[n:]
	}
	return dst
}

func bodyRoom(frameMax int) int {
	if frameMax <= FrameOverhead {
		return 1 << 30
	}
	return frameMax - FrameOverhead
}
