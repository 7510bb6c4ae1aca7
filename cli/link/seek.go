package link

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/robustmq/rmq/broker/fault"
)

// Moved is what became of a consumer group's offset in one partition.
type Moved struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"` // nil: there was none
	To        int64  `json:"to"`
}

// Seek has a consumer group go on from a position in a topic of Kafka, or in the one partition that t names; before
// the first record or behind the last it goes on from there. dry: only tell. A group that has members is
// fault.Conflict: they would commit over it.
func Seek(ctx context.Context, t Target, o Options, group string, to Position, dry bool) ([]Moved, error) {
	if !dry {
		if err := o.guard("move the offsets of group " + group); err != nil {
			return nil, err
		}
	}
	c, err := openKafkaClient(ctx, t, o)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	bounds, err := kafkaBounds(ctx, c, t, to)
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(c)
	had, err := admin.FetchOffsets(ctx, group)
	if err == nil {
		err = had.Error()
	}
	if err != nil {
		return nil, kafkaError("seek", t, err)
	}
	var moved []Moved
	var offsets kadm.Offsets
	for _, b := range bounds {
		m := Moved{Topic: t.Topic, Partition: b.partition, To: b.next}
		if at, ok := had.Lookup(t.Topic, b.partition); ok && at.At >= 0 {
			m.From = &at.At
		}
		moved = append(moved, m)
		offsets.AddOffset(t.Topic, b.partition, b.next, -1)
	}
	if dry {
		return moved, nil
	}
	done, err := admin.CommitOffsets(ctx, group, offsets)
	if err == nil {
		err = done.Error()
	}
	switch {
	case errors.Is(err, kerr.UnknownMemberID): // who commits is no member, and may only where there is none
		return nil, fault.New(fault.Conflict, "seek", group, "the group has members, who would commit over it")
	case err != nil:
		return nil, kafkaError("seek", t, err)
	}
	return moved, nil
}
