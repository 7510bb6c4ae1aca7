package format

import (
	"bytes"
	"encoding/json"
	"io"
)

// MarshalJSON writes the message, and what was decoded.
func (it *Item) MarshalJSON() ([]byte, error) { return Line(it, it.JSON != nil) }

// Line is a message as -o json prints it, without a line end. with adds what the value is as
// JSON, under "json".
func Line(it *Item, with bool) ([]byte, error) {
	b, err := encode(it.Message)
	if err != nil || !with {
		return b, err
	}
	if doc := it.document(); doc != nil {
		b = append(append(append(b[:len(b)-1], `,"json":`...), doc...), '}')
	}
	return b, nil
}

// document is the value as compact JSON, or nil.
func (it *Item) document() []byte {
	doc := it.JSON
	if doc == nil {
		doc = it.Message.Value
	}
	if doc == nil || !json.Valid(doc) {
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, doc) != nil {
		return nil
	}
	return b.Bytes()
}

// encode leaves <, > and & alone.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}

// Data is a value as jq and templates see it: what its JSON says, with numbers as they are
// written.
func Data(v any) (any, error) {
	var b []byte
	var err error
	if it, ok := v.(*Item); ok {
		b, err = Line(it, true)
	} else {
		b, err = encode(v)
	}
	if err != nil {
		return nil, err
	}
	return parseJSON(b)
}

func parseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	return v, nil
}
