package transport

import (
	"bytes"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"
)

// The bytes of a chunk are as they are drawn.
func TestChunkBytes(t *testing.T) {
	got := hex.EncodeToString(appendChunk(nil, chunk{channel: ChanRelay, rest: 0x01020304, body: []byte("abc")}))
	if want := "eab97d8c" + "04030201" + "030000" + "03" + "616263"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// readAll reads the frames of a channel, until the bytes end.
func readAll(src []byte, channel byte) (frames []string, err error) {
	r, a := newChunkReader(bytes.NewReader(src), readBuffer), new(assembly)
	for {
		c, err := r.next()
		if err != nil {
			return frames, err
		}
		frame, done, err := a.add(c)
		if err != nil {
			return frames, err
		}
		if done && c.channel == channel {
			frames = append(frames, string(frame))
		}
	}
}

// What does not follow the format ends the connection, and what came before it was received.
func TestChunkRefused(t *testing.T) {
	good := appendChunk(nil, chunk{channel: 1, body: []byte("good")})
	with := func(cs ...chunk) []byte {
		b := slices.Clone(good)
		for _, c := range cs {
			b = appendChunk(b, c)
		}
		return b
	}
	at := func(b []byte, i int, v byte) []byte { b[i] = v; return b }
	tests := []struct {
		name string
		src  []byte
		want string
	}{
		{"ends between chunks", with(), "EOF"},
		{"ends in a header", with()[:len(good)-1], "unexpected EOF"},
		{"ends in a body", append(with(), 1), "unexpected EOF"},
		{"too long a chunk", at(append(with(), make([]byte, chunkHeader)...), len(good)+10, 0xff), "a chunk of 16711680 bytes, 65536 at most"},
		{"a bit changed", at(with(chunk{channel: 1, body: []byte("x")}), len(good)+chunkHeader, 'y'), "a chunk of 1 bytes was damaged on its way"},
		{"another channel", at(with(chunk{channel: 1, body: []byte("x")}), len(good)+11, 2), "a chunk of 1 bytes was damaged on its way"},
		{"too long a frame", with(chunk{channel: 1, rest: FrameMax, body: []byte("x")}), "a frame of 138412033 bytes, 138412032 at most"},
		{"another rest", with(chunk{1, 5, []byte("x")}, chunk{1, 3, []byte("x")}), "channel 1: 5 bytes are to come, and 1 came with 3 to follow"},
		{"too much", with(chunk{1, 1, []byte("x")}, chunk{1, 0, []byte("xy")}), "channel 1: 1 bytes are to come, and 2 came with 0 to follow"},
		{"nothing, and more to follow", with(chunk{1, 5, nil}), "channel 1: an empty chunk with 5 bytes to follow"},
	}
	for _, tt := range tests {
		frames, err := readAll(tt.src, 1)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if want := !strings.HasPrefix(tt.name, "ends in a header"); (len(frames) == 1 && frames[0] == "good") != want {
			t.Errorf("%s: frames %q", tt.name, frames)
		}
	}
}

// A chunk of a channel that a newer release has is skipped.
func TestChunkOfUnknownChannel(t *testing.T) {
	src := appendChunk(nil, chunk{channel: 200, rest: 7, body: []byte("new")})
	src = appendChunk(src, chunk{channel: 1, body: []byte("old")})
	if frames, err := readAll(src, 1); err != io.EOF || !slices.Equal(frames, []string{"old"}) {
		t.Errorf("%q, %v", frames, err)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add(appendChunk(appendChunk(nil, chunk{1, 3, []byte("ab")}), chunk{1, 0, []byte("cde")}))
	f.Add(appendChunk(nil, chunk{channel: control, body: []byte{ping, 1, 2, 3, 4, 5, 6, 7, 8}}))
	f.Add(appendChunk(nil, chunk{2, FrameMax - 1, []byte("a")}))
	f.Fuzz(func(t *testing.T, src []byte) {
		r, a := newChunkReader(bytes.NewReader(src), readBuffer), new(assembly)
		var again []byte
		for {
			c, err := r.next()
			if err != nil {
				if !bytes.HasPrefix(src, again) {
					t.Fatal("what was read is not what there was")
				}
				return
			}
			again = appendChunk(again, c)
			if _, _, err := a.add(c); err != nil {
				return
			}
			for i := range a {
				if got := cap(a[i].frame); got > 2*(len(src)+keepMax) {
					t.Fatalf("%d bytes were taken for %d that came", got, len(src))
				}
			}
		}
	})
}

// Whatever is sent on two channels, each one's frames arrive as they were sent.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("some frames"), uint8(3), uint32(70_000))
	f.Add([]byte{}, uint8(9), uint32(0))
	f.Fuzz(func(t *testing.T, src []byte, n uint8, size uint32) {
		n %= 16
		var q queue
		var want [channels][]string
		for i := range int(n) {
			frame := slices.Clone(src[:len(src)*i/max(1, int(n))])
			if i%4 == 1 {
				frame = append(frame, make([]byte, size%(3*chunkMax))...)
			}
			ch := byte(1 + i%2)
			want[ch] = append(want[ch], string(frame))
			q.push(ch, frame, 1<<40)
		}
		var sent []byte
		o := &outgoing{}
		frames := uint64(0)
		for {
			if o.batch = q.take(o.batch[:0]); len(o.batch) == 0 {
				break
			}
			frames += o.encode()
			for _, piece := range o.pieces {
				sent = append(sent, piece...)
			}
		}
		if frames != uint64(n) || q.bytes != 0 || q.frames != 0 {
			t.Fatalf("%d of %d frames, %d bytes left", frames, n, q.bytes)
		}
		for ch := byte(1); ch <= 2; ch++ {
			if got, err := readAll(sent, ch); err != io.EOF || !slices.Equal(got, want[ch]) {
				t.Fatalf("channel %d: %d frames of %d, %v", ch, len(got), len(want[ch]), err)
			}
		}
	})
}
