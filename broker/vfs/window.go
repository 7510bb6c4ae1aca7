package vfs

import (
	"fmt"
	"io"
)

// Window reads a file mostly forwards, a piece of at least Ahead bytes at a time.
type Window struct {
	File  io.ReaderAt
	Size  int64 // of the file: nothing behind it is read
	Ahead int   // bytes; bounds the buffer, unless more is asked for at once

	buf []byte
	at  int64 // of buf in the file
}

// Bytes returns n bytes at off. They are valid until the next call.
func (w *Window) Bytes(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off+int64(n) > w.Size {
		return nil, fmt.Errorf("read of %d bytes at %d of %d: %w", n, off, w.Size, io.ErrUnexpectedEOF)
	}
	if off < w.at || off+int64(n) > w.at+int64(len(w.buf)) {
		want := int(min(int64(max(n, w.Ahead)), w.Size-off))
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.at = w.buf[:want], off
		if got, err := w.File.ReadAt(w.buf, off); got < want {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	from := off - w.at
	return w.buf[from : from+int64(n) : from+int64(n)], nil
}
