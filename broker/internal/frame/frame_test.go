package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func written(t testing.TB, bodies ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, "RMQTEST\n", 1)
	for i, body := range bodies {
		if err := w.Frame(byte(i), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// all reads a file to its end.
func all(b []byte) (bodies []string, r *Reader, err error) {
	r, err = NewReader(bytes.NewReader(b), "RMQTEST\n", 1)
	for err == nil {
		var body []byte
		if _, body, err = r.Next(); err == nil {
			bodies = append(bodies, string(body))
		}
	}
	return bodies, r, err
}

// Whatever is cut off the end, the frames before it are read, and that something is missing is told.
func TestTorn(t *testing.T) {
	whole := written(t, "one", "", "three")
	if got, r, err := all(whole); err != io.EOF || len(got) != 3 || r.Sum() == (Sum{}) {
		t.Fatalf("read %q: %v", got, err)
	}
	for n := headerLen; n < len(whole); n++ {
		got, r, err := all(whole[:n])
		if !errors.Is(err, ErrTorn) || r.Bytes() > int64(n) {
			t.Errorf("%d of %d bytes: %q, %v", n, len(whole), got, err)
		}
	}
}

// No byte may change without somebody noticing.
func TestRot(t *testing.T) {
	whole := written(t, "one", "", "three")
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 4
		if got, _, err := all(b); err == io.EOF {
			t.Errorf("byte %d changed, and %q was read", i, got)
		}
	}
	if _, _, err := all(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("one byte too many: %v", err)
	}
}

// A newer file is told as that, and not as damage.
func TestVersion(t *testing.T) {
	b := written(t)
	b[8] = 9
	if _, _, err := all(b); !errors.Is(err, ErrVersion) {
		t.Errorf("version 9: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(written(f, "one", "", "three"))
	f.Fuzz(func(t *testing.T, src []byte) {
		got, r, err := all(src)
		if err != io.EOF {
			return
		}
		var b bytes.Buffer
		w := NewWriter(&b, "RMQTEST\n", 1)
		again, _ := NewReader(bytes.NewReader(src), "RMQTEST\n", 1)
		for range got {
			kind, body, _ := again.Next()
			_ = w.Frame(kind, body)
		}
		sum, _ := w.End()
		if !bytes.Equal(b.Bytes(), src) || sum != r.Sum() {
			t.Fatalf("read then written\n got %x\nwant %x", b.Bytes(), src)
		}
	})
}
