package message

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/format"
	"github.com/robustmq/rmq/cli/link"
)

// editor changes messages by a program of jq.
type editor struct{ code *gojq.Code }

// editHelp says what the program works on.
const editHelp = "a jq program that changes each: it gets {key, value, headers, properties}, value as JSON where it is, and says what becomes of them; empty leaves it where it is"

func newEditor(program string) (*editor, error) {
	if program == "" {
		return nil, nil
	}
	if _, err := format.CompileJQ(program); err != nil { // it says where
		return nil, env.BadFormat("--edit", err)
	}
	q, err := gojq.Parse(program)
	if err != nil {
		return nil, env.Failf(env.Usage, "--edit: %v", err)
	}
	code, err := gojq.Compile(q)
	if err != nil {
		return nil, env.Failf(env.Usage, "--edit: %v", err)
	}
	return &editor{code}, nil
}

// edit changes a message in place. false: the program gives nothing for it.
func (e *editor) edit(m *link.Message) (bool, error) {
	if e == nil {
		return true, nil
	}
	before := editable(m)
	results := e.code.Run(editable(m))
	v, ok := results.Next()
	if !ok {
		return false, nil
	}
	if err, bad := v.(error); bad {
		return false, env.Failf(env.Usage, "--edit: %v", err)
	}
	if another, more := results.Next(); more {
		if err, bad := another.(error); bad {
			return false, env.Failf(env.Usage, "--edit: %v", err)
		}
		return false, env.Failf(env.Usage, "--edit gives more than one value for a message")
	}
	after, ok := v.(map[string]any)
	if !ok {
		return false, env.Failf(env.Usage, "--edit gives %s, not an object with key, value, headers and properties: write it as '.value.price = 3'", gojq.TypeOf(v))
	}
	if !reflect.DeepEqual(before["value"], after["value"]) { // as it was otherwise, byte for byte
		m.Value = editedBytes(after["value"])
		m.Size = len(m.Value)
	}
	if !reflect.DeepEqual(before["key"], after["key"]) {
		m.Key = editedBytes(after["key"])
	}
	if err := editHeaders(m, before["headers"], after["headers"]); err != nil {
		return false, err
	}
	was, _ := before["properties"].(map[string]any)
	is, ok := after["properties"].(map[string]any)
	if !ok && after["properties"] != nil {
		return false, env.Failf(env.Usage, "--edit: properties are %s, not an object", gojq.TypeOf(after["properties"]))
	}
	if !reflect.DeepEqual(was, is) {
		m.Properties = map[string]string{}
		for name, value := range is {
			m.Properties[name] = string(editedBytes(value))
		}
	}
	return true, nil
}

// editHeaders changes the headers that the program has changed; others stay, repeats too.
func editHeaders(m *link.Message, was, is any) error {
	before, _ := was.(map[string]any)
	after, ok := is.(map[string]any)
	if !ok && is != nil {
		return env.Failf(env.Usage, "--edit: headers are %s, not an object", gojq.TypeOf(is))
	}
	changed := func(name string) bool {
		b, there := before[name]
		a, stays := after[name]
		return there != stays || !reflect.DeepEqual(a, b)
	}
	m.Headers = slices.DeleteFunc(slices.Clone(m.Headers), func(h link.Header) bool { return changed(h.Name) })
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if changed(name) {
			m.Headers = append(m.Headers, link.Header{Name: name, Value: editedBytes(after[name])})
		}
	}
	return nil
}

// editable is a message as the program gets it.
func editable(m *link.Message) map[string]any {
	headers, properties := map[string]any{}, map[string]any{}
	for _, h := range m.Headers {
		if _, again := headers[h.Name]; !again {
			headers[h.Name] = editableText(h.Value)
		}
	}
	for name, value := range m.Properties {
		properties[name] = value
	}
	value := editableText(m.Value)
	if v, ok := parsed(m.Value); ok {
		value = v
	}
	return map[string]any{"key": editableText(m.Key), "value": value, "headers": headers, "properties": properties}
}

func editableText(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// parsed reads JSON with its numbers exact as far as jq keeps them.
func parsed(b []byte) (any, bool) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, false
	}
	var v any
	if json.Unmarshal(b, &v) != nil {
		return nil, false
	}
	return v, true
}

func editedBytes(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []byte(v)
	}
	b, err := gojq.Marshal(v)
	if err != nil {
		return fmt.Append(nil, v)
	}
	return b
}
