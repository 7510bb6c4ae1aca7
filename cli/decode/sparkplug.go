package decode

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// sparkplugRoot begins the topics of Sparkplug B.
const sparkplugRoot = "spBv1.0/"

// sparkplugField is a field of a Sparkplug B message: its JSON name and how it is read.
type sparkplugField struct {
	name string
	kind byte              // u number, b bool, f float, d double, s text, y bytes, m message
	of   *sparkplugMessage // of a message
	many bool
}

// sparkplugMessage is a message type of Sparkplug B, by field numbers (Sparkplug 3.0, 6.4).
type sparkplugMessage map[protowire.Number]sparkplugField

var sparkplugPayload = newSparkplug()

func newSparkplug() *sparkplugMessage {
	value := func(from protowire.Number, m sparkplugMessage) sparkplugMessage { // the numbers that every value has
		for i, f := range []sparkplugField{{"int_value", 'u', nil, false}, {"long_value", 'u', nil, false}, {"float_value", 'f', nil, false},
			{"double_value", 'd', nil, false}, {"boolean_value", 'b', nil, false}, {"string_value", 's', nil, false}} {
			m[from+protowire.Number(i)] = f
		}
		return m
	}
	metric, properties, propertyList := &sparkplugMessage{}, &sparkplugMessage{}, &sparkplugMessage{}
	property := value(3, sparkplugMessage{1: {"type", 'u', nil, false}, 2: {"is_null", 'b', nil, false}, 9: {"propertyset_value", 'm', properties, false}, 10: {"propertysets_value", 'm', propertyList, false}})
	*properties = sparkplugMessage{1: {"keys", 's', nil, true}, 2: {"values", 'm', &property, true}}
	*propertyList = sparkplugMessage{1: {"propertyset", 'm', properties, true}}
	cell := value(1, sparkplugMessage{})
	row := sparkplugMessage{1: {"elements", 'm', &cell, true}}
	dataset := sparkplugMessage{1: {"num_of_columns", 'u', nil, false}, 2: {"columns", 's', nil, true}, 3: {"types", 'u', nil, true}, 4: {"rows", 'm', &row, true}}
	parameter := value(3, sparkplugMessage{1: {"name", 's', nil, false}, 2: {"type", 'u', nil, false}})
	template := sparkplugMessage{1: {"version", 's', nil, false}, 2: {"metrics", 'm', metric, true}, 3: {"parameters", 'm', &parameter, true}, 4: {"template_ref", 's', nil, false}, 5: {"is_definition", 'b', nil, false}}
	metadata := sparkplugMessage{1: {"is_multi_part", 'b', nil, false}, 2: {"content_type", 's', nil, false}, 3: {"size", 'u', nil, false}, 4: {"seq", 'u', nil, false},
		5: {"file_name", 's', nil, false}, 6: {"file_type", 's', nil, false}, 7: {"md5", 's', nil, false}, 8: {"description", 's', nil, false}}
	*metric = value(10, sparkplugMessage{1: {"name", 's', nil, false}, 2: {"alias", 'u', nil, false}, 3: {"timestamp", 'u', nil, false}, 4: {"datatype", 'u', nil, false},
		5: {"is_historical", 'b', nil, false}, 6: {"is_transient", 'b', nil, false}, 7: {"is_null", 'b', nil, false}, 8: {"metadata", 'm', &metadata, false},
		9: {"properties", 'm', properties, false}})
	// A metric's bytes stand among its values: 10 to 15 are as everywhere, 16 is bytes.
	(*metric)[16] = sparkplugField{"bytes_value", 'y', nil, false}
	(*metric)[17] = sparkplugField{"dataset_value", 'm', &dataset, false}
	(*metric)[18] = sparkplugField{"template_value", 'm', &template, false}
	return &sparkplugMessage{1: {"timestamp", 'u', nil, false}, 2: {"metrics", 'm', metric, true}, 3: {"seq", 'u', nil, false}, 4: {"uuid", 's', nil, false}, 5: {"body", 'y', nil, false}}
}

// sparkplugTypes are the data types, by number.
var sparkplugTypes = []string{"Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double", "Boolean", "String", "DateTime", "Text", "UUID",
	"DataSet", "Bytes", "File", "Template", "PropertySet", "PropertySetList", "Int8Array", "Int16Array", "Int32Array", "Int64Array", "UInt8Array", "UInt16Array", "UInt32Array",
	"UInt64Array", "FloatArray", "DoubleArray", "BooleanArray", "StringArray", "DateTimeArray"}

// decodeSparkplug decodes a payload of Sparkplug B. Each metric has its value under "value",
// by its data type.
func decodeSparkplug(b *budget, src []byte) (any, error) {
	o, err := sparkplugPayload.decode(b, src, 0)
	if err != nil {
		return nil, err
	}
	sparkplugTime(o)
	return o, nil
}

func (m *sparkplugMessage) decode(b *budget, src []byte, depth int) (*object, error) {
	if err := b.node(depth); err != nil {
		return nil, err
	}
	o := &object{}
	for len(src) > 0 {
		num, typ, n := protowire.ConsumeTag(src)
		if n < 0 {
			return nil, wireError(n)
		}
		src = src[n:]
		size := protowire.ConsumeFieldValue(num, typ, src)
		if size < 0 {
			return nil, wireError(size)
		}
		raw := src[:size]
		src = src[size:]
		f, ok := (*m)[num]
		if !ok {
			continue // an extension
		}
		if f.many && f.kind == 'u' && typ == protowire.BytesType { // packed
			if err := sparkplugPacked(b, o, f.name, raw, depth); err != nil {
				return nil, err
			}
			continue
		}
		v, err := f.value(b, typ, raw, depth)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if !f.many {
			o.add(f.name, v)
			continue
		}
		sparkplugAppend(o, f.name, v)
	}
	return o, sparkplugValue(o)
}

func sparkplugAppend(o *object, name string, v any) {
	for i, n := range o.names {
		if n == name {
			if list, ok := o.values[i].([]any); ok {
				o.values[i] = append(list, v)
			}
			return
		}
	}
	o.add(name, []any{v})
}

func sparkplugPacked(b *budget, o *object, name string, raw []byte, depth int) error {
	all, n := protowire.ConsumeBytes(raw)
	if n < 0 {
		return wireError(n)
	}
	for len(all) > 0 {
		if err := b.node(depth); err != nil {
			return err
		}
		v, n := protowire.ConsumeVarint(all)
		if n < 0 {
			return wireError(n)
		}
		all = all[n:]
		sparkplugAppend(o, name, v)
	}
	return nil
}

// value reads one field, of which raw is whole.
func (f *sparkplugField) value(b *budget, typ protowire.Type, raw []byte, depth int) (any, error) {
	if err := b.node(depth); err != nil {
		return nil, err
	}
	want := map[byte]protowire.Type{'u': protowire.VarintType, 'b': protowire.VarintType, 'f': protowire.Fixed32Type, 'd': protowire.Fixed64Type}
	wanted, ok := want[f.kind]
	if !ok {
		wanted = protowire.BytesType
	}
	if typ != wanted {
		return nil, fmt.Errorf("it has type %d of the wire, not %d", typ, wanted)
	}
	switch f.kind {
	case 'u', 'b':
		v, _ := protowire.ConsumeVarint(raw)
		if f.kind == 'b' {
			return v != 0, nil
		}
		return v, nil
	case 'f':
		v, _ := protowire.ConsumeFixed32(raw)
		return math.Float32frombits(v), nil
	case 'd':
		v, _ := protowire.ConsumeFixed64(raw)
		return math.Float64frombits(v), nil
	}
	v, _ := protowire.ConsumeBytes(raw)
	switch f.kind {
	case 's':
		return string(v), nil
	case 'y':
		return v, nil
	}
	return f.of.decode(b, v, depth+1)
}

// sparkplugValue puts what a metric, a property or a parameter says under "value", as its
// type has it: integers that are negative travel as if they were not.
func sparkplugValue(o *object) error {
	number, named := o.get("datatype").(uint64)
	which := "datatype"
	if !named {
		if number, named = o.get("type").(uint64); named {
			which = "type"
		}
	}
	typ := ""
	kept := &object{}
	var value any
	has := o.get("is_null") == true
	for i, name := range o.names {
		v := o.values[i]
		switch name {
		case which:
			if number < uint64(len(sparkplugTypes)) {
				typ = sparkplugTypes[number]
				v = typ
			}
			kept.add(name, v)
		case "timestamp":
			kept.add(name, v)
			sparkplugTime(kept)
		case "int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value", "bytes_value", "dataset_value", "template_value", "propertyset_value", "propertysets_value":
			value, has = v, true
		default:
			kept.add(name, v)
		}
	}
	if has && !(o.get("is_null") == true) {
		v, err := sparkplugTyped(typ, value)
		if err != nil {
			return err
		}
		kept.add("value", v)
	} else if has {
		kept.add("value", nil)
	}
	*o = *kept
	return nil
}

// sparkplugTime shows a timestamp as a time.
func sparkplugTime(o *object) {
	for i, name := range o.names {
		if ms, ok := o.values[i].(uint64); ok && name == "timestamp" && ms < 1<<47 {
			o.values[i] = time.UnixMilli(int64(ms))
		}
	}
}

func sparkplugTyped(typ string, v any) (any, error) {
	if raw, ok := v.([]byte); ok {
		if list, err := sparkplugArray(typ, raw); list != nil || err != nil {
			return list, err
		}
		return base64.StdEncoding.EncodeToString(raw), nil
	}
	n, ok := v.(uint64)
	if !ok {
		return v, nil
	}
	switch typ {
	case "Int8":
		return int64(int8(n)), nil
	case "Int16":
		return int64(int16(n)), nil
	case "Int32":
		return int64(int32(n)), nil
	case "Int64":
		return int64(n), nil
	case "DateTime":
		if n < 1<<47 {
			return time.UnixMilli(int64(n)), nil
		}
	}
	return n, nil
}

var errArray = errors.New("an array does not end where its items do")

// sparkplugArray reads an array, which is bytes in little-endian order; nil when it is none.
func sparkplugArray(typ string, raw []byte) ([]any, error) {
	width := map[string]int{"Int8Array": 1, "UInt8Array": 1, "Int16Array": 2, "UInt16Array": 2, "Int32Array": 4, "UInt32Array": 4, "FloatArray": 4,
		"Int64Array": 8, "UInt64Array": 8, "DoubleArray": 8, "DateTimeArray": 8}[typ]
	list := []any{}
	switch {
	case typ == "BooleanArray":
		if len(raw) < 4 {
			return nil, errArray
		}
		n := binary.LittleEndian.Uint32(raw)
		if raw = raw[4:]; uint64(len(raw)) != (uint64(n)+7)/8 || n > nodesMax {
			return nil, errArray
		}
		for i := range n {
			list = append(list, raw[i/8]&(0x80>>(i%8)) != 0)
		}
		return list, nil
	case typ == "StringArray":
		for len(raw) > 0 {
			end := 0
			for end < len(raw) && raw[end] != 0 {
				end++
			}
			if end == len(raw) {
				return nil, errArray
			}
			list = append(list, string(raw[:end]))
			raw = raw[end+1:]
		}
		return list, nil
	case width == 0:
		return nil, nil
	case len(raw)%width != 0:
		return nil, errArray
	case len(raw)/width > nodesMax:
		return nil, errNodes
	}
	for ; len(raw) > 0; raw = raw[width:] {
		var wide [8]byte
		copy(wide[:], raw[:width])
		n := binary.LittleEndian.Uint64(wide[:])
		shift := 64 - 8*width
		switch typ {
		case "FloatArray":
			list = append(list, math.Float32frombits(uint32(n)))
		case "DoubleArray":
			list = append(list, math.Float64frombits(n))
		case "DateTimeArray":
			if n < 1<<47 {
				list = append(list, time.UnixMilli(int64(n)))
			} else {
				list = append(list, n)
			}
		case "Int8Array", "Int16Array", "Int32Array", "Int64Array":
			list = append(list, int64(n<<shift)>>shift)
		default:
			list = append(list, n)
		}
	}
	return list, nil
}
