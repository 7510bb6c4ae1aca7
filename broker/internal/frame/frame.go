// Package frame writes and reads files that are a row of frames, one behind another, each with a
// checksum: snapshots and recordings. Integers are little-endian.
//
//	 0               8       12     16
//	 ┌───────────────┬───────┬──────┬────────┬────────┬───────
//	 │ what it is    │version│ crc  │ frame  │ frame  │ …
//	 │ 8 bytes       │ u32   │ u32  │        │        │
//	 └───────────────┴───────┴──────┴────────┴────────┴───────
//
//	frame:
//	 0       4       8      9
//	 ┌───────┬───────┬──────┬──────
//	 │ crc   │ body  │ kind │ body…
//	 │ u32   │len u32│ u8   │
//	 └───────┴───────┴──────┴──────
//
// crc is CRC-32C: of the file's first 12 bytes; of a frame's bytes from the fourth on. A reader checks
// the version before any checksum, and the length before it makes room. The last frame is of kind End
// and holds the SHA-256 of all bytes before it: who wrote the file got to its end, and two files with
// the same sum are the same. A file without it was cut short; what is whole of it is read.
package frame

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

const (
	headerLen = 16
	frameLen  = 9
	// BodyMax bounds the body of a frame.
	BodyMax = 64 << 20
	// End is the kind of the last frame.
	End = 0xff
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// ErrCorrupt: bytes that were once whole are not, or it is another kind of file.
	ErrCorrupt = errors.New("corrupt")
	// ErrVersion: written by a newer release.
	ErrVersion = errors.New("written by a newer release")
	// ErrTorn: the file ends before its end, after some whole frames.
	ErrTorn = errors.New("cut short")
)

// Sum is what tells one file from another.
type Sum [sha256.Size]byte

func (s Sum) String() string { return fmt.Sprintf("%x", s[:8]) }

// Writer writes frames. The first error stays.
type Writer struct {
	w    io.Writer
	hash hash.Hash
	err  error
}

// NewWriter begins a file; what is 8 bytes.
func NewWriter(w io.Writer, what string, version uint32) *Writer {
	f := &Writer{w: w, hash: sha256.New()}
	b := binary.LittleEndian.AppendUint32([]byte(what), version)
	f.write(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
	return f
}

func (f *Writer) write(parts ...[]byte) {
	for _, p := range parts {
		if f.err != nil {
			return
		}
		_, f.err = f.w.Write(p)
		f.hash.Write(p)
	}
}

// Frame writes one frame.
func (f *Writer) Frame(kind byte, body []byte) error {
	if len(body) > BodyMax {
		panic(fmt.Sprintf("frame: a body of %d bytes", len(body)))
	}
	var head [frameLen]byte
	binary.LittleEndian.PutUint32(head[4:], uint32(len(body)))
	head[8] = kind
	crc := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, body)
	binary.LittleEndian.PutUint32(head[:], crc)
	f.write(head[:], body)
	return f.err
}

// End writes the last frame, and returns the sum of the file.
func (f *Writer) End() (sum Sum, err error) {
	f.hash.Sum(sum[:0])
	return sum, f.Frame(End, sum[:])
}

// Reader reads frames.
type Reader struct {
	r       *bufio.Reader
	version uint32
	hash    hash.Hash
	read    int64 // bytes of whole frames
	sum     Sum
	err     error
	body    bytes.Buffer
}

// NewReader begins to read a file. newest is the highest version that the caller knows.
func NewReader(r io.Reader, what string, newest uint32) (*Reader, error) {
	f := &Reader{r: bufio.NewReaderSize(r, 64<<10), hash: sha256.New()}
	var head [headerLen]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(head[:8]) != what {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrCorrupt, what)
	}
	if f.version = binary.LittleEndian.Uint32(head[8:]); f.version > newest {
		return nil, fmt.Errorf("%w: it is of version %d, and this release knows %d", ErrVersion, f.version, newest)
	}
	if binary.LittleEndian.Uint32(head[12:]) != crc32.Checksum(head[:12], castagnoli) || f.version == 0 {
		return nil, fmt.Errorf("%w: its first %d bytes are damaged", ErrCorrupt, headerLen)
	}
	f.hash.Write(head[:])
	f.read = headerLen
	return f, nil
}

// Next returns the next frame; its body is valid until the call after that. io.EOF: that was the last,
// and Sum is the file's. ErrTorn: the file ends here.
func (f *Reader) Next() (kind byte, body []byte, err error) {
	if f.err != nil {
		return 0, nil, f.err
	}
	kind, body, f.err = f.next()
	return kind, body, f.err
}

func (f *Reader) next() (byte, []byte, error) {
	var head [frameLen]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, f.torn(err)
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if n > BodyMax {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes at byte %d", ErrCorrupt, n, f.read)
	}
	f.body.Reset()
	if _, err := io.CopyN(&f.body, f.r, int64(n)); err != nil { // grows with what there is
		return 0, nil, f.torn(err)
	}
	body := f.body.Bytes()
	if binary.LittleEndian.Uint32(head[:]) != crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, body) {
		if _, err := f.r.Peek(1); err == io.EOF {
			return 0, nil, f.torn(err) // the last one, half of which may not have reached the device
		}
		return 0, nil, fmt.Errorf("%w: the checksum of the frame at byte %d is wrong", ErrCorrupt, f.read)
	}
	if head[8] == End {
		f.hash.Sum(f.sum[:0])
		if !bytes.Equal(body, f.sum[:]) {
			return 0, nil, fmt.Errorf("%w: its end is of another file", ErrCorrupt)
		}
		if _, err := f.r.Peek(1); err != io.EOF {
			return 0, nil, fmt.Errorf("%w: there is something behind its end", ErrCorrupt)
		}
		return 0, nil, io.EOF
	}
	f.hash.Write(head[:])
	f.hash.Write(body)
	f.read += frameLen + int64(n)
	return head[8], body, nil
}

func (f *Reader) torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w after %d bytes", ErrTorn, f.read)
	}
	return err
}

// Version is the file's.
func (f *Reader) Version() uint32 { return f.version }

// Bytes is how many bytes of whole frames there were, the header included.
func (f *Reader) Bytes() int64 { return f.read }

// Sum is the file's, once Next has returned io.EOF.
func (f *Reader) Sum() Sum { return f.sum }
