package kernel

import (
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// This file reads topics and looks into queues for who inspects the broker, without being a client.

// TopicPlace is where the records of a topic are: a stream's partitions, or the one that a leaf view is of.
type TopicPlace struct {
	ID     StreamID
	Stream string // address
	Leaf   string // the address that a view keeps; "" for a stream
	Parts  []*Partition
}

// Place finds a topic by any spelling of its name: "sensors", "sensors/dev1/temp", "sensors.dev1.temp".
func (k *Kernel) Place(ns, name string) (at TopicPlace, ok bool) {
	for _, address := range []string{name, message.FromKafkaName(name)} {
		st, found := k.Stream(ns, address)
		first, last := 0, len(st.Parts)
		if !found {
			var p int32
			if st, p, _, found = k.Leaf(ns, address); !found {
				continue
			}
			first, last, at.Leaf = int(p), int(p)+1, address
		}
		at.ID, at.Stream = st.ID, st.Address
		for i := first; i < last; i++ {
			if p, err := k.Partition(st.ID, int32(i)); err == nil {
				at.Parts = append(at.Parts, p)
			}
		}
		return at, true
	}
	return TopicPlace{}, false
}

// placeMax bounds the bytes of one read of a partition.
const placeMax = 4 << 20

// Each calls fn for the records of one partition from an offset on, until it returns false. What it is
// given is valid until it returns. next is the offset to go on from.
func (at *TopicPlace) Each(p *Partition, from int64, fn func(rec *record.Record, made bool) bool) (next int64, err error) {
	info := p.Info()
	offset := max(from, info.Start)
	for offset < info.End {
		r, err := p.Read(offset, placeMax, at.Leaf, true)
		if err != nil {
			if fault.Is(err, fault.OutOfRange) { // retention went by meanwhile
				if now := p.Info().Start; now > offset {
					offset = now
					continue
				}
			}
			return offset, err
		}
		stopped := int64(-1)
		for _, raw := range r.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Next(raw)
				if err != nil {
					return offset, err
				}
				raw = rest
				if b.Control() {
					continue
				}
				if err := b.Each(func(rec *record.Record) error {
					if stopped < 0 && rec.Offset >= offset && rec.Offset < info.End && !fn(rec, b.Made()) {
						stopped = rec.Offset + 1
					}
					return nil
				}); err != nil {
					return offset, err
				}
			}
		}
		if stopped >= 0 {
			return stopped, nil
		}
		if r.Next <= offset {
			return info.End, nil // nothing but gaps are left
		}
		offset = r.Next
	}
	return offset, nil
}

// Message is a record of the place as the kernel has it. It shares the record's memory.
func (at *TopicPlace) Message(rec *record.Record, made bool) message.Message {
	return message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, at.Stream, made)
}
