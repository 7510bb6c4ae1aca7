package matrix

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/robustmq/rmq/broker/vfs"
)

// Lenient is a file system on which every checksum of a log file or a segment is right, whatever the
// bytes are. An engine on it sees what one would that compares none.
func Lenient(fs vfs.FS) vfs.FS { return lenient{fs} }

type lenient struct{ vfs.FS }

func (l lenient) Open(name string) (vfs.File, error) {
	f, err := l.FS.Open(name)
	switch {
	case err != nil:
		return nil, err
	case strings.HasSuffix(name, ".wal"):
		return lenientFile{f, mendLog}, nil
	case strings.HasSuffix(name, ".seg"):
		return lenientFile{f, mendSegment}, nil
	}
	return f, nil
}

type lenientFile struct {
	vfs.File
	mend func([]byte)
}

func (l lenientFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.File.ReadAt(p, off)
	size, serr := l.Size()
	if serr != nil {
		return n, serr
	}
	all := make([]byte, size)
	if _, rerr := l.File.ReadAt(all, 0); rerr != nil {
		return n, err
	}
	l.mend(all)
	if off < size {
		copy(p[:n], all[off:])
	}
	return n, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mendSegment makes the checksums of batches right: see docs/format/record.md.
func mendSegment(b []byte) {
	const header, lengthAt, lengthEnd, crcAt, crcFrom = 64, 8, 12, 17, 21
	for at := header; at+crcFrom < len(b); {
		n := lengthEnd + int(int32(binary.BigEndian.Uint32(b[at+lengthAt:])))
		if n < crcFrom || at+n > len(b) {
			return
		}
		binary.BigEndian.PutUint32(b[at+crcAt:], crc32.Checksum(b[at+crcFrom:at+n], castagnoli))
		at += n
	}
}

// mendLog makes the checksums of records right: see docs/format/wal.md.
func mendLog(b []byte) {
	const (
		block, header, record = 4096, 40, 32
		mark                  = 3
	)
	le := binary.LittleEndian
	if len(b) < block {
		return
	}
	prev := crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:header])
	for at := block; at+record <= len(b); {
		n := int(le.Uint32(b[at+4:]))
		if b[at+12] == 0 || le.Uint16(b[at+14:]) != le.Uint16(b[16:]) || n > len(b)-at-record {
			return
		}
		seed := prev
		if b[at+12] == mark {
			le.PutUint32(b[at+24:], prev)
			var s [16]byte
			copy(s[:], b[24:32])
			le.PutUint64(s[8:], uint64(at))
			seed = crc32.Checksum(s[:], castagnoli)
		}
		prev = crc32.Update(seed, castagnoli, b[at+4:at+record+n])
		le.PutUint32(b[at:], prev)
		at += (record + n + 7) &^ 7
	}
}
