package message

import (
	"context"
	"errors"
	"fmt"

	"github.com/robustmq/rmq/cli/decode"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/format"
	"github.com/robustmq/rmq/cli/link"
)

// decoding is how values become JSON, for --where, --jq, formats and to be shown.
type decoding struct {
	env.Decoding

	decoder *decode.Decoder // nil: values stay as they are
	failed  int64
	err     error // the first
}

// prepare reads the schema.
func (d *decoding) prepare() error {
	o := d.Options
	if o.Kind == "" {
		if o.Schema == "" && o.Registry == "" {
			return nil
		}
		o.Kind = decode.Auto
	}
	var err error
	if d.decoder, err = decode.New(o); err != nil {
		return env.Failf(env.Usage, "--decode: %v", err)
	}
	return nil
}

// item is a message with what is decoded of it. One that cannot be decoded stays as it is,
// and is counted.
func (d *decoding) item(m *link.Message) *format.Item {
	it := &format.Item{Message: m}
	if d.decoder == nil {
		return it
	}
	doc, _, err := d.decoder.Decode(context.Background(), m) // asking a registry has an end of its own
	if err == nil {
		it.JSON = doc
		return it
	}
	if !errors.Is(err, decode.ErrNotKnown) {
		if d.failed++; d.err == nil {
			d.err = err
		}
	}
	return it
}

// tally says how many values could not be decoded; "" when all could.
func (d *decoding) tally() string {
	if d.failed == 0 {
		return ""
	}
	return fmt.Sprintf("; %d could not be decoded: %v", d.failed, d.err)
}
