package segment

import (
	"errors"
	"io/fs"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// Salvage writes what is whole of a damaged segment file anew, durably, beside it, and
// returns the path of that: whoever owns the directory then gives it the file's name. next
// is where the file that follows begins, -1 when none does. Where the last offsets before
// it are lost, an empty batch stands for them, so that nothing seems to be missing. id is
// the new file's.
func Salvage(fsys vfs.FS, path string, next int64, id uint64) (tmp string, err error) {
	base, ok := FileBase(path)
	if !ok {
		return "", errors.New("segment: " + path + " is not a segment file's name")
	}
	src, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = src.Close() }() // only read from
	size, err := src.Size()
	if err != nil {
		return "", err
	}
	r, err := NewFileReader(src, size, base, 0, true) // all that can be had
	if err != nil {
		return "", err
	}
	if errors.Is(r.HeaderErr(), ErrVersion) {
		return "", r.HeaderErr()
	}
	tmp = path + tmpSuffix
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dst, err := fsys.Create(tmp)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	pos := int64(headerLen)
	write := func(b []byte) error {
		_, err := dst.WriteAt(b, pos)
		pos += int64(len(b))
		return err
	}
	if _, err := dst.WriteAt(header{base: base, id: id}.encodeFor(r.Header().Owner), 0); err != nil {
		return "", err
	}
	for r.Next() {
		if next >= 0 && r.Batch().NextOffset() > next {
			break
		}
		if err := write(r.Batch()); err != nil {
			return "", err
		}
	}
	if r.Err() != nil {
		return "", r.Err()
	}
	if next > r.End() {
		if err := write(record.Empty(next - 1)); err != nil {
			return "", err
		}
	}
	if err := dst.Sync(); err != nil {
		return "", err
	}
	if _, err := dst.WriteAt(encodeMark(base, pos), markAt); err != nil {
		return "", err
	}
	return tmp, dst.Sync()
}
