package tui

import (
	"context"
	"errors"
	"fmt"
	"sync"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/decode"
)

// decodings remembers what values are, so that each is decoded once. Where there is a schema registry to be asked,
// that happens in a command: what is not known yet is wanted, and until it is known the value is shown as it is.
type decodings struct {
	decoder *decode.Decoder
	asks    bool // a registry

	mu     sync.Mutex // guards what follows, and decoder where nothing is asked
	known  map[valueKey]decoding
	wanted []adminapi.Message
	busy   bool // a command is under way
}

// valueKey tells values apart, which are never written to.
type valueKey struct {
	first *byte
	n     int
	topic string
}

// decoding is what a value is; as is "" where that is best seen in its own bytes.
type decoding struct {
	doc []byte
	as  string
	err error
}

// Bounds of what is remembered.
const (
	decodingsMax = 2 * keptMax
	wantedMax    = 256 // values that one command asks a registry about
)

func newDecodings(o decode.Options) (*decodings, error) {
	if o.Kind == "" {
		o.Kind = decode.Auto
	}
	d, err := decode.New(o)
	return &decodings{decoder: d, asks: o.Registry != "", known: map[valueKey]decoding{}}, err
}

// of is what a message's value is, as kind.Look has it.
func (d *decodings) of(m *adminapi.Message) (doc []byte, as string, err error) {
	if len(m.Value) == 0 {
		return nil, "", nil
	}
	key := valueKey{&m.Value[0], len(m.Value), m.Topic}
	d.mu.Lock()
	defer d.mu.Unlock()
	got, ok := d.known[key]
	switch {
	case ok:
	case d.asks:
		if len(d.wanted) < wantedMax {
			d.wanted = append(d.wanted, *m)
		}
	default:
		got = d.decode(context.Background(), m)
		d.keep(key, got)
	}
	return got.doc, got.as, got.err
}

func (d *decodings) keep(key valueKey, got decoding) {
	if len(d.known) >= decodingsMax {
		clear(d.known)
	}
	d.known[key] = got
}

func (d *decodings) decode(ctx context.Context, m *adminapi.Message) decoding {
	doc, as, err := d.decoder.Decode(ctx, m)
	switch {
	case errors.Is(err, decode.ErrNotKnown):
		return decoding{}
	case err != nil:
		return decoding{err: err}
	case as == decode.JSON || as == decode.Text || as == decode.Hex:
		return decoding{}
	case as == decode.Registered:
		as = fmt.Sprintf("by schema %d of the registry", decode.SchemaOf(m.Value))
	}
	return decoding{doc: doc, as: as}
}

// forDecoded is who asks when a registry is asked.
type forDecoded struct{}

// ask has the registry asked for what is wanted; nil: nothing is.
func (m *Model) askDecoded() tea.Cmd {
	d := m.decodings
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := d.wanted
	if d.busy || len(wanted) == 0 {
		return nil
	}
	d.wanted, d.busy = nil, true
	return m.feed.Do(forDecoded{}, func(ctx context.Context) (any, error) {
		for i := range wanted {
			w := &wanted[i]
			got := d.decode(ctx, w)
			d.mu.Lock()
			d.keep(valueKey{&w.Value[0], len(w.Value), w.Topic}, got)
			d.mu.Unlock()
		}
		d.mu.Lock()
		d.busy = false
		d.mu.Unlock()
		return nil, nil
	})
}
