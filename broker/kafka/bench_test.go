package kafka_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"testing"

	"github.com/robustmq/rmq/broker/kafka"
)

// BenchmarkProduce sends batches of a hundred records of 1 KiB on one connection, as fast
// as they are answered, five under way as clients have them.
func BenchmarkProduce(b *testing.B) {
	for _, acks := range []int16{-1, 0} {
		name := "acks=all"
		if acks == 0 {
			name = "acks=0"
		}
		b.Run(name, func(b *testing.B) {
			br := start(b, kafka.Config{})
			br.topic("t", 1, nil)
			r := br.dial()
			values := make([]string, 100)
			for i := range values {
				values[i] = string(make([]byte, 1024))
			}
			q := produceOf(9, "t", 0, batchOf(values...))
			q.Acks = acks
			frame := r.request(q)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			answers := make(chan struct{}, 5)
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				in := bufio.NewReader(r)
				for range answers {
					var size [4]byte
					if acks == 0 {
						continue
					}
					if _, err := io.ReadFull(in, size[:]); err != nil {
						b.Error(err)
						return
					}
					_, _ = in.Discard(int(binary.BigEndian.Uint32(size[:])))
				}
			}()
			b.ResetTimer()
			for range b.N {
				r.send(frame)
				answers <- struct{}{}
			}
			close(answers)
			<-answered
			if acks == 0 { // what comes after has waited for all
				r.produce(9, "t", 0, batchOf("last"))
			}
		})
	}
}

// BenchmarkFetch reads a partition of batches of a hundred records of 1 KiB over and over.
func BenchmarkFetch(b *testing.B) {
	br := start(b, kafka.Config{})
	br.topic("t", 1, nil)
	r := br.dial()
	values := make([]string, 100)
	for i := range values {
		values[i] = string(make([]byte, 1024))
	}
	for range 10 {
		r.produce(9, "t", 0, batchOf(values...))
	}
	q := fetchOf(12, "t", 0, 0)
	frame := r.request(q)
	in := bufio.NewReaderSize(r, 1<<20)
	read := func() int {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			b.Fatal(err)
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		_, _ = in.Discard(n)
		return n
	}
	r.send(frame)
	b.SetBytes(int64(read()))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r.send(frame)
		read()
	}
}
