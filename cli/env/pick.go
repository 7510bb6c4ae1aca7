package env

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/cli/format"
)

// pick is how --jq and --template take of a result what is wanted. They take the place of
// -o.
type pick struct {
	JQ       string
	Template string

	jq       *format.JQ
	template *format.Template
	ctx      context.Context // of the command: a jq expression need not end by itself
}

// PickFlags adds --jq and --template.
func (e *Env) PickFlags(fs *pflag.FlagSet) {
	fs.StringVar(&e.pick.JQ, "jq", "", "print what a jq expression makes of the data of -o json (docs/FORMAT.md)")
	fs.StringVar(&e.pick.Template, "template", "", "print what a Go template makes of it")
}

// Picks tells whether --jq or --template was given.
func (e *Env) Picks() bool { return e.pick.JQ != "" || e.pick.Template != "" }

// PreparePick reads them, before anything is done.
func (e *Env) PreparePick(ctx context.Context) error {
	p := &e.pick
	p.ctx = ctx
	if p.JQ != "" && p.Template != "" {
		return Failf(Usage, "--jq and --template are two ways to print: give one")
	}
	var err error
	if p.JQ != "" {
		p.jq, err = format.CompileJQ(p.JQ)
		return BadFormat("--jq", err)
	}
	if p.Template != "" {
		p.template, err = format.CompileTemplate(p.Template)
		return BadFormat("--template", err)
	}
	return nil
}

// BadFormat tells what is wrong with a format, a template or a jq expression, with a caret
// below the place.
func BadFormat(by string, err error) error {
	e, ok := errors.AsType[*format.Error](err)
	if !ok {
		return err
	}
	return &Failure{Exit: Usage, What: fmt.Sprintf("%s: %s (column %d)", by, e.What, e.Column()), Show: e.Caret(), Hint: e.Hint, See: "docs/FORMAT.md", Err: err}
}

// printPicked prints what is wanted of data.
func (e *Env) printPicked(data any) error {
	e.printed = true
	v, err := format.Data(data)
	if err != nil {
		return err
	}
	var out []byte
	if e.pick.jq != nil {
		out, err = e.pick.jq.Append(e.pick.ctx, nil, v)
	} else {
		out, err = e.pick.template.Append(nil, v)
	}
	if writeErr := e.write(out); writeErr != nil { // what came before the error too
		return writeErr
	}
	return err
}
