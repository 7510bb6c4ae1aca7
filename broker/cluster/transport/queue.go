package transport

// Bounds of what waits for a peer.
const (
	waitingDefault = 64 << 20  // bytes in one channel for one peer; a frame beyond is dropped
	frameCost      = 64        // bytes; what an empty frame counts for
	roomKept       = 16 << 10  // frames; a lane that had more lets go of the room when it is empty
	batchTarget    = 128 << 10 // bytes; what one write takes, or a little more
)

// queue is what waits to be sent to one peer: a lane for each channel.
//
// The lanes take turns, a chunk each (or as many small frames as come to one), so that none
// waits for more than a chunk of each other one. Within a lane, order is kept.
type queue struct {
	lanes  [channels]lane
	turn   int // the lane whose turn it is
	frames int // in all lanes
	bytes  int // in all lanes, with what frames cost
}

type lane struct {
	frames [][]byte // frames[head:] wait
	head   int
	sent   int // bytes of the first frame that were taken
	bytes  int // of all that wait, with their cost
}

// push adds a frame, and tells whether there was room. One frame fits an empty lane always.
func (q *queue) push(channel byte, frame []byte, bytesMax int) bool {
	l, cost := &q.lanes[channel], len(frame)+frameCost
	if l.bytes > 0 && l.bytes+cost > bytesMax {
		return false
	}
	if l.head > 0 && len(l.frames) == cap(l.frames) { // rather move than grow
		n := copy(l.frames, l.frames[l.head:])
		clear(l.frames[n:])
		l.frames, l.head = l.frames[:n], 0
	}
	l.frames = append(l.frames, frame)
	l.bytes += cost
	q.bytes += cost
	q.frames++
	return true
}

// take appends what is to be sent next: about batchTarget bytes.
func (q *queue) take(batch []chunk) []chunk {
	for room := batchTarget; room > 0 && q.frames > 0; q.turn = (q.turn + 1) % channels {
		l := &q.lanes[q.turn]
		for taken := 0; taken < chunkMax && l.head < len(l.frames); {
			c := l.chunk()
			c.channel = byte(q.turn)
			batch = append(batch, c)
			taken += chunkHeader + len(c.body)
			room -= chunkHeader + len(c.body)
			if c.rest == 0 {
				q.frames--
				q.bytes -= l.pop()
			}
		}
	}
	return batch
}

// chunk is the next part of the first frame.
func (l *lane) chunk() chunk {
	left := l.frames[l.head][l.sent:]
	n := min(len(left), chunkMax)
	l.sent += n
	return chunk{body: left[:n:n], rest: uint32(len(left) - n)}
}

// pop forgets the first frame, and returns what it cost.
func (l *lane) pop() int {
	cost := len(l.frames[l.head]) + frameCost
	l.frames[l.head] = nil
	l.head++
	l.sent = 0
	l.bytes -= cost
	if l.head == len(l.frames) {
		if l.frames, l.head = l.frames[:0], 0; cap(l.frames) > roomKept {
			l.frames = nil
		}
	}
	return cost
}

// clear drops everything, and returns how many frames that were.
func (q *queue) clear() int {
	n := q.frames
	*q = queue{}
	return n
}
