package format

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/robustmq/rmq/broker/grammar"
)

// Template is a Go template over data.
type Template struct{ t *template.Template }

// outputMax bounds what a template writes for one value.
const outputMax = 64 << 20

// CompileTemplate reads a Go template. The error is an *Error.
func CompileTemplate(source string) (*Template, error) {
	if len(source) > SourceMax {
		return nil, &Error{Source: source, Pos: SourceMax, What: fmt.Sprintf("a template is at most %d bytes", SourceMax)}
	}
	t, err := template.New("").Funcs(templateFuncs).Parse(source)
	if err != nil {
		return nil, templateError(source, err)
	}
	return &Template{t}, nil
}

// templateFuncs are those beyond Go's own.
var templateFuncs = template.FuncMap{
	"json":   func(v any) (string, error) { b, err := encode(v); return string(b), err },
	"hex":    func(s string) string { return hex.EncodeToString([]byte(s)) },
	"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"lower":  strings.ToLower, "upper": strings.ToUpper, "trim": strings.TrimSpace,
	"join": func(sep string, list []any) string {
		var parts []string
		for _, v := range list {
			parts = append(parts, fmt.Sprint(v))
		}
		return strings.Join(parts, sep)
	},
	"time": func(layout, s string) (string, error) {
		t, err := grammar.ParseTime(s)
		return t.Format(layout), err
	},
	"ago": func(s string) (string, error) {
		t, err := grammar.ParseTime(s)
		return time.Since(t).Round(time.Second).String(), err
	},
}

// templatePlace is how text/template says where: "template: :LINE:COLUMN: …", the column
// only when it runs.
var templatePlace = regexp.MustCompile(`^template: :(\d+)(?::(\d+))?: `)

func templateError(source string, err error) error {
	e := &Error{Source: source, What: strings.TrimPrefix(err.Error(), "template: ")}
	if m := templatePlace.FindStringSubmatch(err.Error()); m != nil {
		e.What = strings.TrimPrefix(err.Error(), m[0])
		line, _ := strconv.Atoi(m[1]) // digits, by the pattern
		for range line - 1 {
			if i := strings.IndexByte(source[e.Pos:], '\n'); i >= 0 {
				e.Pos += i + 1
			}
		}
		column, _ := strconv.Atoi(m[2]) // "" is 0
		e.Pos = min(e.Pos+column, len(source))
		if i := strings.Index(source[e.Pos:], "{{"); column == 0 && i >= 0 {
			e.Pos += i
		}
	}
	if i := strings.Index(e.What, ": "); strings.HasPrefix(e.What, "executing ") && i >= 0 {
		e.What = e.What[i+2:]
	}
	return e
}

// Append appends what the template makes of data, and a line end when it made none.
func (t *Template) Append(dst []byte, v any) ([]byte, error) {
	b := bounded{b: bytes.NewBuffer(nil)}
	if err := t.t.Execute(&b, v); err != nil {
		return dst, fmt.Errorf("template: %w", templateError("", err))
	}
	out := b.b.Bytes()
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(dst, out...), nil
}

// bounded is a buffer with an end.
type bounded struct{ b *bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > outputMax {
		return 0, fmt.Errorf("it writes more than %d bytes for one value", outputMax)
	}
	return b.b.Write(p)
}
