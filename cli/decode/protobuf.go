package decode

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoType is a message type of Protobuf.
type protoType struct {
	message protoreflect.MessageDescriptor
}

// readProtoFile reads a .proto, or a set of descriptors as protoc -o writes it.
func readProtoFile(file, typ string) (*protoType, error) {
	if !strings.HasSuffix(file, ".proto") {
		return readDescriptors(file, typ)
	}
	if _, err := readFile(file); err != nil { // compilers tell less of a file that is not there
		return nil, err
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{filepath.Dir(file)}})}
	files, err := c.Compile(context.Background(), filepath.Base(file))
	if err != nil {
		return nil, fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return findMessage([]protoreflect.FileDescriptor{files[0]}, typ, file)
}

func readDescriptors(file, typ string) (*protoType, error) {
	b, err := readFile(file)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("%s: it is neither a .proto nor a set of descriptors: %w", file, err)
	}
	reg, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var files []protoreflect.FileDescriptor
	reg.RangeFiles(func(f protoreflect.FileDescriptor) bool { files = append(files, f); return true })
	return findMessage(files, typ, file)
}

// findMessage finds a type by its name, with or without its package; "" is the only one.
func findMessage(files []protoreflect.FileDescriptor, typ, file string) (*protoType, error) {
	var names []string
	var found protoreflect.MessageDescriptor
	var walk func(protoreflect.MessageDescriptors, bool)
	walk = func(ms protoreflect.MessageDescriptors, top bool) {
		for i := range ms.Len() {
			m := ms.Get(i)
			name := string(m.FullName())
			if top {
				names = append(names, name)
			}
			if name == typ || typ != "" && strings.HasSuffix(name, "."+typ) || typ == "" && top && found == nil {
				found = m
			}
			walk(m.Messages(), false)
		}
	}
	for _, f := range files {
		walk(f.Messages(), true)
	}
	switch {
	case typ == "" && len(names) > 1:
		return nil, fmt.Errorf("%s has several messages: say which, as %s:%s", file, file, names[0])
	case found == nil:
		return nil, fmt.Errorf("%s has no message %s; there are %s", file, typ, strings.Join(names, ", "))
	}
	return &protoType{found}, nil
}

func (t *protoType) decode(src []byte) (any, error) {
	m := dynamicpb.NewMessage(t.message)
	if err := (proto.UnmarshalOptions{RecursionLimit: depthMax}).Unmarshal(src, m); err != nil {
		return nil, errors.New(strings.TrimPrefix(cleanProto(err), "proto: "))
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, errors.New(cleanProto(err))
	}
	return json.RawMessage(b), nil
}

// cleanProto undoes the spaces by which that package keeps its texts from being compared.
func cleanProto(err error) string { return strings.ReplaceAll(err.Error(), "\u00a0", " ") }

// decodeWire decodes Protobuf of which nobody knows the schema: fields by their number, each
// a list when it is repeated. What has a length is a message if it can be read as one, else
// text, else bytes.
func decodeWire(b *budget, src []byte) (any, error) { return wireMessage(b, src, 0) }

func wireMessage(b *budget, src []byte, depth int) (*object, error) {
	if err := b.node(depth); err != nil {
		return nil, err
	}
	o := &object{}
	at := map[string]int{}
	for len(src) > 0 {
		num, typ, n := protowire.ConsumeTag(src)
		if n < 0 {
			return nil, wireError(n)
		}
		src = src[n:]
		v, n, err := wireValue(b, num, typ, src, depth)
		if err != nil {
			return nil, err
		}
		src = src[n:]
		name := strconv.Itoa(int(num))
		i, again := at[name]
		if !again {
			at[name] = len(o.names)
			o.add(name, v)
			continue
		}
		if list, ok := o.values[i].([]any); ok {
			o.values[i] = append(list, v)
		} else {
			o.values[i] = []any{o.values[i], v}
		}
	}
	return o, nil
}

func wireError(n int) error {
	return errors.New(strings.TrimPrefix(cleanProto(protowire.ParseError(n)), "proto: "))
}

func wireValue(b *budget, num protowire.Number, typ protowire.Type, src []byte, depth int) (any, int, error) {
	if err := b.node(depth); err != nil {
		return nil, 0, err
	}
	switch typ {
	case protowire.VarintType:
		v, n := protowire.ConsumeVarint(src)
		if n < 0 {
			return nil, 0, wireError(n)
		}
		return v, n, nil
	case protowire.Fixed32Type:
		v, n := protowire.ConsumeFixed32(src)
		if n < 0 {
			return nil, 0, wireError(n)
		}
		return uint64(v), n, nil
	case protowire.Fixed64Type:
		v, n := protowire.ConsumeFixed64(src)
		if n < 0 {
			return nil, 0, wireError(n)
		}
		return v, n, nil
	case protowire.BytesType:
		v, n := protowire.ConsumeBytes(src)
		if n < 0 {
			return nil, 0, wireError(n)
		}
		if inner, ok := wireInner(b, v, depth); ok {
			return inner, n, nil
		}
		if printable(v) {
			return string(v), n, nil
		}
		return base64.StdEncoding.EncodeToString(v), n, nil
	case protowire.StartGroupType:
		v, n := protowire.ConsumeGroup(num, src)
		if n < 0 {
			return nil, 0, wireError(n)
		}
		o, err := wireMessage(b, v, depth+1)
		return o, n, err
	}
	return nil, 0, fmt.Errorf("field %d has no type of the wire (%d)", num, typ)
}

// wireInner reads bytes as a message, unless they are plainly text.
func wireInner(b *budget, v []byte, depth int) (any, bool) {
	if len(v) == 0 || printable(v) || depth >= depthMax {
		return nil, false
	}
	before := b.nodes
	if o, err := wireMessage(b, v, depth+1); err == nil {
		return o, true
	}
	b.nodes = min(before, b.nodes+len(v)) // what failed cost no more than its bytes
	return nil, false
}

// printable tells text from bytes.
func printable(v []byte) bool {
	if !utf8.Valid(v) {
		return false
	}
	for _, c := range v {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
