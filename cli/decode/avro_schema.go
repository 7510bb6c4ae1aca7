package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// avroType is one type of a schema. Types that refer to themselves are circles of pointers.
type avroType struct {
	kind    string // record, enum, array, map, union, fixed, or a primitive
	name    string // in full, of record, enum and fixed
	logical string
	of      []*avroType // of fields, of items, of members
	fields  []string
	symbols []string
	size    int // of fixed
	scale   int // of decimal
}

const (
	schemaMax    = 4 << 20 // bytes of a schema
	avroFixedMax = 1 << 20 // bytes of a fixed
	avroScaleMax = 128     // digits behind a decimal's point
)

func readAvroFile(file, typ string) (*avroType, error) {
	b, err := readFile(file)
	if err != nil {
		return nil, err
	}
	t, names, err := parseAvro(string(b), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if typ == "" {
		return t, nil
	}
	for name, t := range names {
		if name == typ || strings.HasSuffix(name, "."+typ) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%s has no type %s", file, typ)
}

func readFile(file string) ([]byte, error) {
	s, err := os.Stat(file)
	if err == nil && s.Size() > schemaMax {
		err = fmt.Errorf("%s: a schema is at most %d bytes", file, schemaMax)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// parseAvro reads a schema; known are the named types that it may refer to.
func parseAvro(source string, known map[string]*avroType) (*avroType, map[string]*avroType, error) {
	p := avroParser{names: map[string]*avroType{}}
	for name, t := range known {
		p.names[name] = t
	}
	var v any
	if err := json.Unmarshal([]byte(source), &v); err != nil {
		if trimmed := strings.TrimSpace(source); avroPrimitives[trimmed] { // a registry may give it bare
			return &avroType{kind: trimmed}, p.names, nil
		}
		return nil, nil, fmt.Errorf("it is no Avro schema: %w", err)
	}
	t, err := p.parse(v, "", 0)
	return t, p.names, err
}

var avroPrimitives = map[string]bool{"null": true, "boolean": true, "int": true, "long": true, "float": true, "double": true, "bytes": true, "string": true}

type avroParser struct{ names map[string]*avroType }

func (p *avroParser) parse(v any, space string, depth int) (*avroType, error) {
	if depth > depthMax {
		return nil, errDepth
	}
	switch v := v.(type) {
	case string:
		if avroPrimitives[v] {
			return &avroType{kind: v}, nil
		}
		if t := p.names[fullName(v, space)]; t != nil {
			return t, nil
		}
		if t := p.names[v]; t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("there is no type %q", v)
	case []any:
		t := &avroType{kind: "union"}
		for _, m := range v {
			of, err := p.parse(m, space, depth+1)
			if err != nil {
				return nil, err
			}
			t.of = append(t.of, of)
		}
		return t, nil
	case map[string]any:
		return p.object(v, space, depth)
	}
	return nil, errors.New("a type is a name, a list or an object")
}

func fullName(name, space string) string {
	if space == "" || strings.Contains(name, ".") {
		return name
	}
	return space + "." + name
}

func (p *avroParser) object(v map[string]any, space string, depth int) (*avroType, error) {
	kind, ok := v["type"].(string)
	if !ok {
		if inner, ok := v["type"]; ok { // {"type": {"type": …}}
			return p.parse(inner, space, depth+1)
		}
		return nil, errors.New("a type has no \"type\"")
	}
	t := &avroType{kind: kind}
	t.logical, _ = v["logicalType"].(string)
	if scale, ok := v["scale"].(float64); ok {
		if scale < 0 || scale > avroScaleMax {
			return nil, fmt.Errorf("a scale is at most %d", avroScaleMax)
		}
		t.scale = int(scale)
	}
	name, _ := v["name"].(string)
	if kind == "record" || kind == "error" || kind == "enum" || kind == "fixed" {
		if name == "" {
			return nil, fmt.Errorf("a %s has no name", kind)
		}
		if s, ok := v["namespace"].(string); ok {
			space = s
		}
		t.name = fullName(name, space)
		if i := strings.LastIndexByte(t.name, '.'); i >= 0 {
			space = t.name[:i]
		}
		p.names[t.name] = t
	}
	switch kind {
	case "record", "error":
		t.kind = "record"
		fields, _ := v["fields"].([]any)
		for _, f := range fields {
			field, _ := f.(map[string]any)
			name, _ := field["name"].(string)
			if name == "" {
				return nil, fmt.Errorf("a field of %s has no name", t.name)
			}
			of, err := p.parse(field["type"], space, depth+1)
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", name, err)
			}
			t.fields, t.of = append(t.fields, name), append(t.of, of)
		}
	case "enum":
		symbols, _ := v["symbols"].([]any)
		for _, s := range symbols {
			s, _ := s.(string)
			t.symbols = append(t.symbols, s)
		}
	case "fixed":
		size, _ := v["size"].(float64)
		if size < 0 || size > avroFixedMax {
			return nil, fmt.Errorf("the size of %s is not from 0 to %d", t.name, avroFixedMax)
		}
		t.size = int(size)
	case "array", "map":
		items := v["items"]
		if kind == "map" {
			items = v["values"]
		}
		of, err := p.parse(items, space, depth+1)
		if err != nil {
			return nil, err
		}
		t.of = []*avroType{of}
	default:
		if !avroPrimitives[kind] {
			return p.parse(kind, space, depth+1)
		}
	}
	return t, nil
}
