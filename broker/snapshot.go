package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/robustmq/rmq/broker/admin"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
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
	if err != nil {
		return id, err
	}
	spool, done := newSpool()
	err = errors.Join(b.kernel.Snapshot(ctx, w, spool), done())
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

// newSpool makes a file that nobody else finds, in the system's directory for those that go; where there is none it is
// memory.
func newSpool() (kernel.Spool, func() error) {
	f, err := os.CreateTemp("", "rmq-snapshot-*")
	if err != nil {
		return new(memorySpool), func() error { return nil }
	}
	gone := os.Remove(f.Name()) == nil // while it is open, where the system has that
	return f, func() error {
		err := f.Close()
		if !gone {
			err = errors.Join(err, os.Remove(f.Name()))
		}
		return err
	}
}

// memorySpool is one without a file.
type memorySpool struct{ bytes.Buffer }

func (s *memorySpool) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(s.Bytes()).ReadAt(b, at)
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

// load begins the broker anew with a snapshot, if whoever opened it does that.
func (b *Broker) load(ctx context.Context, r io.Reader) (l adminapi.Loaded, err error) {
	no := func(kind fault.Kind, hint, format string, args ...any) error {
		e := adminapi.ErrorOf(fault.New(kind, "load", "snapshot", format, args...))
		e.Hint = hint
		return e
	}
	switch {
	case b.cfg.Cluster != nil:
		return l, no(fault.Unsupported, "begin a broker that is alone with it: rmq up --memory --any-port --name other --snapshot NAME", "a node of a cluster has what the others have")
	case b.cfg.DataDir != "":
		return l, no(fault.Conflict, "begin one with another directory: rmq down   and then: rmq up --data DIR --snapshot NAME",
			"this broker keeps its data in %s, over which no snapshot is put", b.cfg.DataDir)
	case b.cfg.Load == nil:
		return l, no(fault.Unsupported, "start one that can: rmq up --memory", "the program that runs this broker does not begin it anew")
	}
	image, c, err := ReadImage(r)
	if err != nil {
		return l, err
	}
	if err := b.cfg.Load(ctx, image, c); err != nil {
		return l, err
	}
	return adminapi.Loaded{
		Number: b.cfg.Loads + 1, ID: c.ID.String(), Taken: c.Taken, Streams: c.Streams, Queues: c.Queues, Sessions: c.Sessions, Lost: c.Lost,
	}, nil
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
