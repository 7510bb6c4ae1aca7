package format

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/itchyny/gojq"
)

// JQ is a compiled jq expression. It reads no files and no environment.
type JQ struct{ code *gojq.Code }

// CompileJQ reads a jq expression. The error is an *Error.
func CompileJQ(source string) (*JQ, error) {
	if len(source) > SourceMax {
		return nil, &Error{Source: source, Pos: SourceMax, What: fmt.Sprintf("a jq expression is at most %d bytes", SourceMax)}
	}
	query, err := gojq.Parse(source)
	if err != nil {
		e := &Error{Source: source, What: strings.TrimPrefix(err.Error(), "unexpected token "), Hint: "see https://jqlang.org/manual"}
		if bad, ok := errors.AsType[*gojq.ParseError](err); ok {
			e.Pos = max(0, bad.Offset-max(1, len(bad.Token)))
			e.What = "the expression ends too early"
			if bad.Token != "" {
				e.What = fmt.Sprintf("%q is not expected", bad.Token)
			} else {
				e.Pos = len(source)
			}
		}
		return nil, e
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, &Error{Source: source, What: err.Error(), Pos: placeOf(source, err.Error())}
	}
	return &JQ{code}, nil
}

// placeOf finds the name that a compiler complains of in an expression.
func placeOf(source, what string) int {
	if i := strings.LastIndexByte(what, ' '); i >= 0 {
		name, _, _ := strings.Cut(what[i+1:], "/")
		if at := strings.Index(source, name); at >= 0 {
			return at
		}
	}
	return 0
}

// Run gives each result for v, which Data has made, to emit, in the form of Data.
func (q *JQ) Run(ctx context.Context, v any, emit func(any) error) error {
	results := q.code.RunWithContext(ctx, v)
	for {
		v, ok := results.Next()
		if !ok {
			return nil
		}
		if err, bad := v.(error); bad {
			if halt, ok := errors.AsType[*gojq.HaltError](err); ok && halt.Value() == nil {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("jq: %w", err)
		}
		if err := emit(v); err != nil {
			return err
		}
	}
}

// Append runs the expression for v and appends each result and a line end: strings as they
// are, everything else as JSON.
func (q *JQ) Append(ctx context.Context, dst []byte, v any) ([]byte, error) {
	err := q.Run(ctx, v, func(v any) error {
		if s, ok := v.(string); ok {
			dst = append(append(dst, s...), '\n')
			return nil
		}
		b, err := gojq.Marshal(v)
		dst = append(append(dst, b...), '\n')
		return err
	})
	return dst, err
}

// Truthy tells what jq takes for true: anything but false and null.
func Truthy(v any) bool {
	f, isNumber := v.(float64)
	return v != nil && v != false && !(isNumber && math.IsNaN(f))
}

// Encode writes a value of Run, or of Data, as JSON.
func Encode(v any) ([]byte, error) { return gojq.Marshal(v) }
