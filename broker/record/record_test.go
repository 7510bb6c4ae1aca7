package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/robustmq/rmq/broker/message"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var someHeaders = []message.Header{{Name: "a", Value: []byte("1")}, {Name: "", Value: []byte{}}, {Name: "a", Value: nil}}

func someBatch(t testing.TB) Batch {
	t.Helper()
	var b Builder
	b.Reset([]byte("before"), 1000)
	b.Add(1000, []byte("k"), []byte("v"))
	b.Add(900, nil, nil, someHeaders...)
	b.Add(1<<41, []byte{}, bytes.Repeat([]byte("long "), 4000))
	batch := b.Finish()
	if want := append([]byte("before"), batch...); !bytes.Equal(b.Bytes(), want) {
		t.Fatal("Bytes is not what was given followed by the batch")
	}
	if b.Len() != len(batch) || b.Count() != 3 {
		t.Fatalf("Len %d Count %d, want %d and 3", b.Len(), b.Count(), len(batch))
	}
	return batch
}

func checkSome(t *testing.T, b Batch, base int64) {
	t.Helper()
	type flat struct {
		offset, time int64
		key, value   []byte
		headers      []message.Header
	}
	want := []flat{
		{base, 1000, []byte("k"), []byte("v"), nil},
		{base + 1, 900, nil, nil, someHeaders},
		{base + 2, 1 << 41, []byte{}, bytes.Repeat([]byte("long "), 4000), nil},
	}
	i := 0
	err := b.Each(func(r *Record) error {
		w := want[i]
		if r.Offset != w.offset || r.Time != w.time || !same(r.Key, w.key) || !same(r.Value, w.value) || len(r.Headers) != len(w.headers) {
			t.Errorf("record %d = %+v, want %+v", i, *r, w)
		}
		for j := range r.Headers {
			if r.Headers[j].Name != w.headers[j].Name || !same(r.Headers[j].Value, w.headers[j].Value) {
				t.Errorf("record %d header %d = %+v, want %+v", i, j, r.Headers[j], w.headers[j])
			}
		}
		i++
		return nil
	})
	if err != nil || i != len(want) {
		t.Fatalf("walked %d records, error %v", i, err)
	}
}

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func TestBuildAndRead(t *testing.T) {
	b := someBatch(t)
	if b.BaseOffset() != 0 || b.LastOffset() != 2 || b.NextOffset() != 3 || b.Count() != 3 || b.BaseTime() != 1000 || b.MaxTime() != 1<<41 {
		t.Errorf("header fields are wrong: %x", []byte(b[:HeaderLen]))
	}
	if b.HasProducer() || b.LastSequence() != NoProducer || b.Transactional() || b.Control() || b.AppendTime() || b.Codec() != None {
		t.Errorf("a built batch has attributes or a producer: %x", []byte(b[:HeaderLen]))
	}
	got, rest, err := Check(append(bytes.Clone(b), "rest"...), 1<<20)
	if err != nil || string(rest) != "rest" || !bytes.Equal(got, b) {
		t.Fatalf("Check: rest %q, error %v", rest, err)
	}
	checkSome(t, b, 0)
}

func TestCodecsRoundTrip(t *testing.T) {
	b := someBatch(t)
	for _, c := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		z, err := Recompress([]byte("x"), b, c)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if z.Codec() != c {
			t.Errorf("%s: codec reads %s", c, z.Codec())
		}
		if _, _, err := Check(z, 1<<20); err != nil {
			t.Errorf("%s: Check: %v", c, err)
		}
		z.SetBaseOffset(70)
		checkSome(t, z, 70)
		back, err := Recompress(nil, z, None)
		if err != nil {
			t.Fatalf("%s: back: %v", c, err)
		}
		back.SetBaseOffset(0)
		if !bytes.Equal(back, b) {
			t.Errorf("%s: compressing and back changed the batch", c)
		}
	}
}

func TestSnappyBareBlock(t *testing.T) {
	b := someBatch(t)
	raw := withRecords(b, Snappy, snappy.Encode(nil, b.Records()))
	checkSome(t, raw, 0)
}

// withRecords replaces what follows the header.
func withRecords(b Batch, c Codec, records []byte) Batch {
	out := append(bytes.Clone(b[:HeaderLen]), records...)
	binary.BigEndian.PutUint32(out[offLength:], uint32(len(out)-prefixLen))
	binary.BigEndian.PutUint16(out[offAttributes:], uint16(c))
	Batch(out).seal()
	return out
}

func TestStampingKeepsTheChecksum(t *testing.T) {
	b := someBatch(t)
	b.SetBaseOffset(1 << 40)
	b.SetLeaderEpoch(9)
	if _, _, err := Check(b, 1<<20); err != nil || b.BaseOffset() != 1<<40 || b.LeaderEpoch() != 9 {
		t.Errorf("after stamping offset and epoch: %v", err)
	}
	b.SetAppendTime(5)
	if _, _, err := Check(b, 1<<20); err != nil || !b.AppendTime() || b.MaxTime() != 5 {
		t.Errorf("after stamping append time: %v", err)
	}
	_ = b.Each(func(r *Record) error {
		if r.Time != 5 {
			t.Errorf("record time %d, want the append time", r.Time)
		}
		return nil
	})
	b.SetCreateTime(1 << 41)
	b.SetProducer(3, 2, math.MaxInt32-1)
	if _, _, err := Check(b, 1<<20); err != nil || b.AppendTime() || b.ProducerID() != 3 || b.ProducerEpoch() != 2 || b.LastSequence() != 0 {
		t.Errorf("after setting create time and producer: last sequence %d, %v", b.LastSequence(), err)
	}
	b.SetBaseOffset(0)
	checkSome(t, b, 0)
}

func TestCheckRefuses(t *testing.T) {
	good := someBatch(t)
	edit := func(f func(b Batch)) []byte {
		b := Batch(bytes.Clone(good))
		f(b)
		return b
	}
	sealed := func(f func(b Batch)) []byte {
		return edit(func(b Batch) { f(b); b.seal() })
	}
	put32 := func(i int, v int32) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint32(b[i:], uint32(v)) }
	}
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"half a header", good[:30], ErrShort},
		{"half a batch", good[:len(good)-1], ErrShort},
		{"format 0", edit(func(b Batch) { b[offMagic] = 0 }), ErrMagic},
		{"format 1", edit(func(b Batch) { b[offMagic] = 1 }), ErrMagic},
		{"format 3", edit(func(b Batch) { b[offMagic] = 3 }), ErrMagic},
		{"negative length", edit(put32(offLength, -1)), ErrInvalid},
		{"length below the header", edit(put32(offLength, HeaderLen-prefixLen-1)), ErrInvalid},
		{"length of 2 GiB", edit(put32(offLength, math.MaxInt32)), ErrTooLarge},
		{"length past the end", edit(put32(offLength, int32(len(good)))), ErrShort},
		{"a flipped bit", edit(func(b Batch) { b[len(b)-1] ^= 1 }), ErrCRC},
		{"a negative count", sealed(put32(offCount, -1)), ErrInvalid},
		{"more records than offsets", sealed(put32(offCount, 4)), ErrInvalid},
		{"a negative last offset", sealed(put32(offLastDelta, -1)), ErrInvalid},
		{"more records than bytes", sealed(func(b Batch) {
			put32(offLastDelta, math.MaxInt32)(b)
			put32(offCount, math.MaxInt32)(b)
		}), ErrInvalid},
	}
	for _, tt := range tests {
		if _, _, err := Check(tt.in, 1<<20); !errors.Is(err, tt.want) {
			t.Errorf("%s: Check = %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, _, err := Check(good, len(good)-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte over the limit: %v", err)
	}
}

func TestNextWalks(t *testing.T) {
	one := someBatch(t)
	all := append(append(bytes.Clone(one), one...), one[:70]...)
	n := 0
	for {
		b, rest, err := Next(all)
		if err != nil {
			if n != 2 || !errors.Is(err, ErrShort) {
				t.Fatalf("walked %d batches, then %v", n, err)
			}
			return
		}
		if !bytes.Equal(b, one) {
			t.Fatal("Next changed bytes")
		}
		n, all = n+1, rest
	}
}

func TestReaderRefuses(t *testing.T) {
	good := someBatch(t)
	rec := func(body ...byte) []byte { return append(binary.AppendVarint(nil, int64(len(body))), body...) }
	tests := []struct {
		name    string
		records []byte
	}{
		{"length past the end", []byte{0x50, 0, 0, 0, 1, 1, 0}},
		{"negative length", []byte{0x01, 0, 0, 0, 1, 1, 0}},
		{"endless varint", bytes.Repeat([]byte{0xff}, 20)},
		{"key past the end", rec(0, 0, 0, 0x40, 1, 1, 0)},
		{"key length -2", rec(0, 0, 0, 3, 1, 1, 0)},
		{"value past the end", rec(0, 0, 0, 1, 0x40, 0, 0)},
		{"header count negative", rec(0, 0, 0, 1, 1, 1)},
		{"more headers than bytes", rec(0, 0, 0, 1, 1, 0x7e)},
		{"null header name", rec(0, 0, 0, 1, 1, 2, 1, 1)},
		{"bytes after the headers", rec(0, 0, 0, 1, 1, 0, 0)},
		{"bytes after the last record", append(rec(0, 0, 0, 1, 1, 0), 0)},
		{"offset beyond 32 bits", rec(0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 1, 1, 0)},
	}
	for _, tt := range tests {
		b := withRecords(good, None, tt.records)
		binary.BigEndian.PutUint32(b[offCount:], 1)
		if err := b.Each(func(*Record) error { return nil }); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Each = %v, want ErrInvalid", tt.name, err)
		}
	}
}

func TestInflateIsBounded(t *testing.T) {
	zeros := make([]byte, InflatedMax+1)
	for _, c := range []Codec{Gzip, Snappy, LZ4, Zstd} {
		small, err := deflate(nil, zeros, c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inflate(nil, small, c); !errors.Is(err, ErrInflated) {
			t.Errorf("%s: %d bytes became %d: error %v, want ErrInflated", c, len(small), len(zeros), err)
		}
	}
	claim := binary.AppendUvarint(nil, InflatedMax/2)
	if _, err := inflate(nil, append(claim, 0, 0), Snappy); !errors.Is(err, ErrCodec) {
		t.Errorf("a snappy block of 6 bytes that claims 32 MiB: %v, want ErrCodec", err)
	}
	for _, c := range []Codec{Gzip, Snappy, LZ4, Zstd, 5, 7} {
		if _, err := inflate(nil, []byte("no compressor wrote this"), c); !errors.Is(err, ErrCodec) {
			t.Errorf("%s: garbage: %v, want ErrCodec", c, err)
		}
	}
}

// The client library's own structs read what we write, and the reverse.
func TestAgreesWithClientLibrary(t *testing.T) {
	b := someBatch(t)
	var theirs kmsg.RecordBatch
	if err := theirs.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if theirs.NumRecords != 3 || theirs.MaxTimestamp != 1<<41 || theirs.ProducerID != -1 || theirs.FirstSequence != -1 ||
		theirs.PartitionLeaderEpoch != -1 || uint32(theirs.CRC) != crc32.Checksum(b[offAttributes:], castagnoli) {
		t.Errorf("header read as %+v", theirs)
	}
	if !bytes.Equal(theirs.AppendTo(nil), b) {
		t.Error("read and written again by the library, the batch is not the same")
	}
	p := theirs.Records
	for i := range 3 {
		var r kmsg.Record
		n, size := binary.Varint(p)
		if err := r.ReadFrom(p[:size+int(n)]); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if int(r.OffsetDelta) != i {
			t.Errorf("record %d has offset delta %d", i, r.OffsetDelta)
		}
		if !bytes.Equal(r.AppendTo(nil), p[:size+int(n)]) {
			t.Errorf("record %d is not the same when the library writes it", i)
		}
		p = p[size+int(n):]
	}
}

func TestGoldenBytes(t *testing.T) {
	// One record "k" → "v" with header h=x at time 1, from the layout in batch.go.
	want := "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x3f" + "\xff\xff\xff\xff" + "\x02" + "CRC." + "\x00\x00" + "\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\xff", 14) + "\x00\x00\x00\x01" +
		"\x18" + "\x00" + "\x00" + "\x00" + "\x02k" + "\x02v" + "\x02" + "\x02h" + "\x02x"
	sum := crc32.Checksum([]byte(want[offAttributes:]), castagnoli)
	want = strings.Replace(want, "CRC.", string(binary.BigEndian.AppendUint32(nil, sum)), 1)
	want = want[:offLength] + string(binary.BigEndian.AppendUint32(nil, uint32(len(want)-prefixLen))) + want[offEpoch:]
	var b Builder
	b.Reset(nil, 1)
	b.Add(1, []byte("k"), []byte("v"), message.Header{Name: "h", Value: []byte("x")})
	if got := b.Finish(); string(got) != want {
		t.Errorf("built\n%x, want\n%x", []byte(got), want)
	}
}

func TestCopiesMayLeaveRecordsOut(t *testing.T) {
	var b Builder
	b.Reset(nil, 0)
	b.AddAt(3, 0, nil, []byte("x"))
	b.AddAt(7, 0, nil, []byte("y"))
	b.Cover(9)
	batch := b.Finish()
	batch.SetBaseOffset(100)
	var got []int64
	if err := batch.Each(func(r *Record) error { got = append(got, r.Offset); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != 103 || got[1] != 107 || batch.NextOffset() != 110 {
		t.Errorf("offsets %v up to %d", got, batch.NextOffset())
	}
	if _, _, err := Check(batch, 1<<20); err != nil {
		t.Error(err)
	}
	b.Reset(nil, 0)
	b.Cover(4)
	if empty := b.Finish(); empty.Count() != 0 || empty.NextOffset() != 5 {
		t.Error("a batch of no records does not cover its offsets")
	} else if _, _, err := Check(empty, 1<<20); err != nil {
		t.Error(err)
	}
}

func TestRecordLenBounds(t *testing.T) {
	for _, h := range [][]message.Header{nil, someHeaders} {
		for _, key := range [][]byte{nil, {}, make([]byte, 200), make([]byte, 70000)} {
			var b Builder
			b.Reset(nil, math.MaxInt64)
			before := b.Len()
			b.AddAt(math.MaxInt32, 0, key, key, h...)
			if got, most := b.Len()-before, RecordLen(key, key, h...); got > most {
				t.Errorf("a record took %d bytes, RecordLen said at most %d", got, most)
			}
		}
	}
}

func TestBuildAndWalkDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 64<<10)
	key, value := []byte("key"), make([]byte, 256)
	var b Builder
	if n := testing.AllocsPerRun(100, func() {
		b.Reset(buf, 0)
		for i := range 100 {
			b.Add(int64(i), key, value, someHeaders...)
		}
		b.Finish()
	}); n != 0 {
		t.Errorf("building allocates %v times", n)
	}
	batch := b.Finish()
	var r Reader
	if n := testing.AllocsPerRun(100, func() {
		for err := r.Reset(batch); err == nil && r.Next(); {
			_ = r.Record()
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	}); n != 0 {
		t.Errorf("walking allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := Check(batch, 1<<20); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("checking allocates %v times", n)
	}
}

func FuzzCheckAndRead(f *testing.F) {
	b := someBatch(f)
	f.Add([]byte(b))
	for _, c := range []Codec{Gzip, Snappy, LZ4, Zstd} {
		z, err := Recompress(nil, b, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(z))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		// The checksum would stop nearly every mutation: put it right first.
		if len(src) >= HeaderLen {
			src = bytes.Clone(src)
			if first, _, err := Next(src); err == nil {
				first.seal()
			}
		}
		b, rest, err := Check(src, 1<<20)
		if err != nil {
			return
		}
		if len(b)+len(rest) != len(src) {
			t.Fatal("bytes got lost")
		}
		var again Builder
		again.Reset(nil, b.BaseTime())
		n, ordered, last := 0, true, int64(-1)
		err = b.Each(func(r *Record) error {
			n++
			delta := r.Offset - b.BaseOffset()
			ordered = ordered && delta > last
			last = delta
			if ordered && !b.AppendTime() {
				again.AddAt(int32(delta), r.Time, r.Key, r.Value, r.Headers...)
			}
			return nil
		})
		if err != nil {
			return
		}
		if n != int(b.Count()) {
			t.Fatalf("%d records of %d", n, b.Count())
		}
		if !ordered || b.AppendTime() {
			return
		}
		copied := again.Finish()
		i := 0
		var r Reader
		for err := r.Reset(b); err == nil && r.Next(); i++ {
		}
		if copied.Count() != int32(n) || i != n {
			t.Fatal("a copy has another number of records")
		}
	})
}

func BenchmarkCheck(b *testing.B) { benchmark(b, func(src Batch) { _, _, _ = Check(src, 1<<20) }) }
func BenchmarkReader(b *testing.B) {
	var r Reader
	benchmark(b, func(src Batch) {
		for err := r.Reset(src); err == nil && r.Next(); {
		}
	})
}

func BenchmarkBuilder(b *testing.B) {
	buf := make([]byte, 0, 256<<10)
	value := make([]byte, 1024)
	var w Builder
	benchmark(b, func(Batch) {
		w.Reset(buf, 0)
		for range 100 {
			w.Add(0, nil, value)
		}
		w.Finish()
	})
}

func benchmark(b *testing.B, f func(Batch)) {
	var w Builder
	w.Reset(nil, 0)
	for range 100 {
		w.Add(0, nil, make([]byte, 1024))
	}
	src := w.Finish()
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		f(src)
	}
}

func TestMarks(t *testing.T) {
	var b Builder
	b.Reset(nil, 0)
	b.MarkMade()
	for i := range 5 {
		b.Add(int64(i), nil, make([]byte, i*100))
	}
	made := b.Finish()
	if !made.Made() || made.HasProducer() || someBatch(t).Made() {
		t.Error("what the broker made is not told from what a client made")
	}
	at, err := Index(nil, made)
	if err != nil || len(at) != 5 {
		t.Fatalf("index %v: %v", at, err)
	}
	var r Reader
	for i := range 5 {
		if err := r.ResetAt(made, at[i]); err != nil || !r.Next() || r.Record().Offset != int64(i) || len(r.Record().Value) != i*100 {
			t.Errorf("record %d by its position: %+v, %v", i, r.Record(), err)
		}
		r.Forget()
	}
	if r.ResetAt(made, uint32(len(made))) == nil || r.ResetAt(made, 0) == nil {
		t.Error("a position outside of the records is taken")
	}
}
