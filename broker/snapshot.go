package broker

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/robustmq/rmq/broker/admin"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/storage/snapshot"
)

// Snapshot writes all that the broker holds at one moment, and notes beside it. What has durability
// memory, or dies with its connection, is not in it, as it would not be after a restart.
func (b *Broker) Snapshot(ctx context.Context, to io.Writer, notes ...snapshot.Note) (id snapshot.ID, err error) {
	about := b.kernel.AboutSnapshot()
	about.Release, _ = admin.Build()
	about.Profile = b.cfg.Profile
	about.Virtual = b.cfg.Hands != nil
	w, err := snapshot.NewWriter(to, about)
	if err == nil {
		err = b.kernel.Snapshot(ctx, w)
	}
	for i := range notes {
		if err == nil {
			err = w.Note(notes[i].Name, notes[i].Content)
		}
	}
	if err != nil {
		return id, err
	}
	return w.End()
}

// Image is Snapshot in memory: an engine that is opened of it may be another broker's Config.Engine. Of a
// broker that keeps its data in memory nothing is copied that is immutable.
func (b *Broker) Image(ctx context.Context) (i *memlog.Image, err error) {
	if e, ok := b.engine.(interface{ Image() *memlog.Image }); ok {
		err = b.kernel.Cut(ctx, func() error {
			i = e.Image()
			return nil
		})
		return i, err
	}
	var file bytes.Buffer
	if _, err := b.Snapshot(ctx, &file); err != nil {
		return nil, err
	}
	i, _, err = ReadImage(&file)
	return i, err
}

// ReadImage reads a snapshot into memory.
func ReadImage(r io.Reader) (*memlog.Image, *snapshot.Contents, error) {
	e := memlog.New()
	c, err := snapshot.Install(r, e, self)
	i := e.Image()
	if err := errors.Join(err, e.Close()); err != nil {
		return nil, nil, told(err)
	}
	return i, c, nil
}

// self is the id of a node that is alone.
const self = 1

// told gives an error of a snapshot its kind.
func told(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, snapshot.ErrInUse):
		return &fault.Error{Kind: fault.Conflict, Op: "load", Target: "snapshot", Err: err}
	case errors.Is(err, snapshot.ErrCorrupt):
		return &fault.Error{Kind: fault.Invalid, Op: "load", Target: "snapshot", Err: err}
	case errors.Is(err, snapshot.ErrVersion):
		return &fault.Error{Kind: fault.Unsupported, Op: "load", Target: "snapshot", Err: err}
	}
	return err
}

// install begins an empty engine with Config.Snapshot: not before all of that is known to be whole.
func (b *Broker) install() error {
	if b.cfg.Cluster != nil {
		return fault.New(fault.Unsupported, "load", "snapshot", "a node of a cluster begins with what the others have")
	}
	for _, use := range []func(io.Reader) error{
		func(r io.Reader) error { _, err := snapshot.Check(r); return err },
		func(r io.Reader) error { _, err := snapshot.Install(r, b.engine, self); return err },
	} {
		r, err := b.cfg.Snapshot()
		if err != nil {
			return err
		}
		if err := errors.Join(use(r), r.Close()); err != nil {
			return told(err)
		}
	}
	return nil
}
