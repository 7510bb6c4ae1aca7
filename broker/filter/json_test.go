package filter_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
)

// fuzzJSON wants what the scanner says of a valid object's member to be what encoding/json
// says.
func fuzzJSON(t *testing.T, value []byte) {
	m := &adminapi.Message{Value: value}
	there := compile(t, `has(json.a)`).Match(m.ForFilter())
	same := compile(t, `json.a == key`)
	if !json.Valid(value) || !utf8.Valid(value) {
		_ = same.Match(m.ForFilter()) // no panic is all
		return
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) != nil || object == nil || repeats(value) {
		return
	}
	raw, ok := object["a"]
	if there != ok && !(ok && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')) { // a number may be too large
		t.Fatalf("%q: has a is %v", value, there)
	}
	var text string
	if ok && raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		m.Key = []byte(text)
		if got := same.Eval(m.ForFilter()); got != filter.Yes {
			t.Fatalf("%q: a is not %q: %v", value, text, got)
		}
	}
}

// repeats tells whether a name of the object stands twice: we take the first, others the
// last.
func repeats(value []byte) bool {
	d := json.NewDecoder(bytes.NewReader(value))
	if _, err := d.Token(); err != nil {
		return true
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		text, ok := name.(string)
		var skipped json.RawMessage
		if err != nil || !ok || seen[text] || d.Decode(&skipped) != nil {
			return true
		}
		seen[text] = true
	}
	return false
}
