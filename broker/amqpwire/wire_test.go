package amqpwire

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeFrame(t *testing.T) {
	whole := AppendFrame(nil, FrameBody, 7, []byte("hello"))
	tests := []struct {
		name string
		in   []byte
		max  int
		n    int
		ok   bool
		code uint16
	}{
		{"nothing", nil, 4096, 7, false, 0},
		{"header", whole[:7], 4096, 13, false, 0},
		{"all but the end", whole[:12], 4096, 13, false, 0},
		{"whole", whole, 4096, 13, true, 0},
		{"whole and more", append(bytes.Clone(whole), 1), 4096, 13, true, 0},
		{"exactly the maximum", whole, 13, 13, true, 0},
		{"over the maximum", whole[:7], 12, 0, false, FrameError},
		{"length of all ones", []byte{3, 0, 1, 255, 255, 255, 255}, 131072, 0, false, FrameError},
		{"no such type", []byte{4, 0, 1, 0, 0, 0, 0}, 4096, 0, false, FrameError},
		{"wrong end", append(bytes.Clone(whole[:12]), 0), 4096, 0, false, FrameError},
		{"heartbeat", AppendHeartbeat(nil), 4096, 8, true, 0},
	}
	for _, tt := range tests {
		f, n, ok, err := DecodeFrame(tt.in, tt.max)
		if n != tt.n || ok != tt.ok || codeOf(err) != tt.code {
			t.Errorf("%s: n %d, ok %v, %v; want n %d, ok %v, code %d", tt.name, n, ok, err, tt.n, tt.ok, tt.code)
		}
		if ok && tt.in[0] == FrameBody && (f.Channel != 7 || string(f.Payload) != "hello") {
			t.Errorf("%s: decoded %+v", tt.name, f)
		}
	}
}

func codeOf(err error) uint16 {
	if err == nil {
		return 0
	}
	return err.(*Error).Code
}

// every returns one of each kind of value, and their nesting.
func every() Table {
	return Table{
		{"bool", Bool(true)}, {"no", Bool(false)},
		{"i8", Value{Kind: KindInt8, Num: uint64(math.MaxUint64)}}, {"u8", Value{Kind: KindUint8, Num: 255}},
		{"i16", Value{Kind: KindInt16, Num: uint64(1<<64 - 300)}}, {"u16", Value{Kind: KindUint16, Num: 65535}},
		{"i32", Int32(-70000)}, {"u32", Value{Kind: KindUint32, Num: 1<<32 - 1}},
		{"i64", Int(math.MinInt64)}, {"f32", Float32(-1.5)}, {"f64", Float64(math.Pi)},
		{"dec", Value{Kind: KindDecimal, Scale: 2, Num: 12345}},
		{"s", String("text")}, {"empty", Value{Kind: KindString, Bytes: []byte{}}},
		{"x", BytesOf([]byte{0, 255})}, {"t", Timestamp(1700000000)}, {"v", Void()},
		{"same", Int(1)}, {"same", Int(2)},
		{"f", Nested(Table{{"in", ArrayOf(Int(1), String("two"), Nested(Table{{"deep", Void()}}))}})},
		{"a", ArrayOf(Bool(true), Float64(0), ArrayOf(Void()))},
	}
}

func TestTableRoundTrip(t *testing.T) {
	in := every()
	b := in.Append(nil)
	out, err := DecodeTable(b[4:])
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("got  %+v\nwant %+v", out, in)
	}
	if again := out.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("encoded again:\n got %x\nwant %x", again, b)
	}
}

// TestTableGolden pins the octets of each kind.
func TestTableGolden(t *testing.T) {
	tests := []struct {
		v    Value
		want string
	}{
		{Bool(true), "7401"},
		{Value{Kind: KindInt8, Num: uint64(1<<64 - 2)}, "62fe"},
		{Value{Kind: KindUint8, Num: 254}, "42fe"},
		{Value{Kind: KindInt16, Num: uint64(1<<64 - 2)}, "73fffe"},
		{Value{Kind: KindUint16, Num: 2}, "750002"},
		{Int32(-2), "49fffffffe"},
		{Value{Kind: KindUint32, Num: 2}, "6900000002"},
		{Int(2), "6c0000000000000002"},
		{Float32(1), "663f800000"},
		{Float64(1), "643ff0000000000000"},
		{Value{Kind: KindDecimal, Scale: 3, Num: 5}, "440300000005"},
		{String("ab"), "53000000026162"},
		{BytesOf([]byte{9}), "780000000109"},
		{Timestamp(1), "540000000000000001"},
		{Void(), "56"},
		{Nested(Table{{"k", Void()}}), "4600000003016b56"},
		{ArrayOf(Void(), Void()), "41000000025656"},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(tt.v.append(nil)); got != tt.want {
			t.Errorf("%c: got %s, want %s", tt.v.Kind, got, tt.want)
		}
	}
	alt, err := DecodeTable([]byte("\x01kL\x00\x00\x00\x00\x00\x00\x00\x05"))
	if err != nil || !reflect.DeepEqual(alt, Table{{"k", Int(5)}}) {
		t.Errorf("L: %+v, %v", alt, err)
	}
}

func TestTableBad(t *testing.T) {
	deep := Void()
	for range TableDepthMax {
		deep = ArrayOf(deep)
	}
	tests := []struct {
		name, in string
		want     error
	}{
		{"name ends early", "\x05ab", errTable},
		{"no kind", "\x01k", errTable},
		{"kind that is none", "\x01kZ", errTable},
		{"value ends early", "\x01kI\x00\x00", errTable},
		{"string longer than the table", "\x01kS\xff\xff\xff\xffab", errTable},
		{"bad nested table", "\x01kF\x00\x00\x00\x02\x05a", errTable},
		{"bad array", "\x01kA\x00\x00\x00\x01Z", errTable},
		{"too deep", string(Table{{"k", deep}}.Append(nil)[4:]), errDeep},
		{"too many", "\x01kA\x00\x01\x00\x00" + strings.Repeat("V", 1<<16), errBig},
	}
	for _, tt := range tests {
		if err := CheckTable([]byte(tt.in)); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if _, err := DecodeTable([]byte(tt.in)); err != tt.want {
			t.Errorf("%s: decode: %v, want %v", tt.name, err, tt.want)
		}
	}
	if err := CheckTable(Table{{"k", deep.Array[0]}}.Append(nil)[4:]); err != nil {
		t.Errorf("at the greatest depth: %v", err)
	}
}

// methods returns every known method, filled by reflection.
func methods() []Method {
	var out []Method
	for class := range uint32(100) {
		for id := range uint32(130) {
			m := newMethod(MethodID(class<<16 | id))
			if m == nil {
				continue
			}
			v := reflect.ValueOf(m).Elem()
			for i := range v.NumField() {
				switch f := v.Field(i); f.Kind() {
				case reflect.Bool:
					f.SetBool(i%2 == 0)
				case reflect.String:
					f.SetString("s" + strings.Repeat("x", i))
				case reflect.Slice:
					if f.Type() == reflect.TypeFor[Table]() {
						f.Set(reflect.ValueOf(every()))
					} else {
						f.SetBytes([]byte("long"))
					}
				default:
					f.SetUint(uint64(i + 1))
				}
			}
			out = append(out, m)
		}
	}
	return out
}

func TestMethodRoundTrip(t *testing.T) {
	all := methods()
	if len(all) != 66 {
		t.Errorf("%d methods are known", len(all))
	}
	for _, m := range all {
		b := AppendMethod(nil, 9, m)
		f, n, ok, err := DecodeFrame(b, 1<<20)
		if err != nil || !ok || n != len(b) || f.Type != FrameMethod || f.Channel != 9 {
			t.Fatalf("%s: frame %+v, %v", m.ID(), f, err)
		}
		got, err := DecodeMethod(f.Payload)
		if err != nil {
			t.Fatalf("%s: %v", m.ID(), err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, want %+v", m.ID(), got, m)
		}
		for cut := range f.Payload {
			if _, err := DecodeMethod(f.Payload[:cut]); err == nil && cut < len(f.Payload) {
				t.Errorf("%s: accepted when cut to %d of %d octets", m.ID(), cut, len(f.Payload))
			}
		}
	}
}

// TestMethodGolden pins a few methods to the octets that RabbitMQ's clients exchange.
func TestMethodGolden(t *testing.T) {
	tests := []struct {
		m    Method
		want string
	}{
		{&ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}, "01000000" + "00000c" + "000a001e" + "07ff00020000003c" + "ce"},
		{&ConnectionOpen{VirtualHost: "/"}, "01000000" + "000008" + "000a0028" + "012f0000" + "ce"},
		{&BasicAck{DeliveryTag: 5, Multiple: true}, "01000000" + "00000d" + "003c0050" + "000000000000000501" + "ce"},
		{&QueueDeclare{Queue: "q", Durable: true, NoWait: true}, "01000000" + "00000d" + "0032000a" + "0000" + "0171" + "12" + "00000000" + "ce"},
		{&ChannelOpenOk{}, "01000000" + "000008" + "0014000b" + "00000000" + "ce"},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(AppendMethod(nil, 0, tt.m)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.m.ID(), got, tt.want)
		}
	}
}

func TestMethodBad(t *testing.T) {
	tests := []struct {
		in   string
		code uint16
	}{
		{"", FrameError},
		{"\x00\x3c", FrameError},
		{"\x00\x3c\x00\x01", CommandInvalid},
		{"\x00\x63\x00\x0a", CommandInvalid},
		{"\x00\x3c\x00\x50\x00", SyntaxError},
		{"\x00\x3c\x00\x28\x00\x00\xff", SyntaxError},
	}
	for _, tt := range tests {
		if _, err := DecodeMethod([]byte(tt.in)); codeOf(err) != tt.code {
			t.Errorf("%x: %v, want code %d", tt.in, err, tt.code)
		}
	}
}

// TestHot checks that the decoders and encoders of the methods that carry messages
// agree with the general ones.
func TestHot(t *testing.T) {
	same := func(name string, got []byte, m Method) {
		t.Helper()
		if want := AppendMethod(nil, 3, m); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
	x, k := []byte("x"), []byte("a.b")
	same("publish", AppendPublish(nil, 3, "x", "a.b", true), &BasicPublish{Exchange: "x", RoutingKey: "a.b", Mandatory: true})
	same("deliver", AppendDeliver(nil, 3, "tag", 7, true, x, k), &BasicDeliver{ConsumerTag: "tag", DeliveryTag: 7, Redelivered: true, Exchange: "x", RoutingKey: "a.b"})
	same("get-ok", AppendGetOk(nil, 3, 7, true, x, k, 2), &BasicGetOk{DeliveryTag: 7, Redelivered: true, Exchange: "x", RoutingKey: "a.b", MessageCount: 2})
	same("return", AppendReturn(nil, 3, NoRoute, "NO_ROUTE", x, k), &BasicReturn{ReplyCode: NoRoute, ReplyText: "NO_ROUTE", Exchange: "x", RoutingKey: "a.b"})
	same("ack", AppendAck(nil, 3, 7, true), &BasicAck{DeliveryTag: 7, Multiple: true})
	same("nack", AppendNack(nil, 3, 7, true), &BasicNack{DeliveryTag: 7, Multiple: true})

	args := AppendPublish(nil, 3, "x", "a.b", true)[11:]
	p, err := DecodePublish(args[:len(args)-1])
	if err != nil || string(p.Exchange) != "x" || string(p.RoutingKey) != "a.b" || !p.Mandatory || p.Immediate {
		t.Errorf("publish: %+v, %v", p, err)
	}
	for _, tt := range []struct {
		m    Method
		want Settlement
	}{
		{&BasicAck{DeliveryTag: 1, Multiple: true}, Settlement{1, true, false}},
		{&BasicNack{DeliveryTag: 2, Requeue: true}, Settlement{2, false, true}},
		{&BasicNack{DeliveryTag: 2, Multiple: true}, Settlement{2, true, false}},
		{&BasicReject{DeliveryTag: 3, Requeue: true}, Settlement{3, false, true}},
	} {
		s, err := DecodeSettlement(tt.m.ID(), tt.m.appendArgs(nil))
		if err != nil || s != tt.want {
			t.Errorf("%s: %+v, %v", tt.m.ID(), s, err)
		}
	}
}

func fullProperties() Properties {
	return Properties{
		Flags: flagsKnown, DeliveryMode: 2, Priority: 9, Timestamp: 1700000000,
		ContentType: []byte("text/plain"), ContentEncoding: []byte("gzip"), Headers: every().Append(nil)[4:],
		CorrelationID: []byte("c"), ReplyTo: []byte("r"), Expiration: []byte("1000"), MessageID: []byte("m"),
		Type: []byte("t"), UserID: []byte("guest"), AppID: []byte("a"), ClusterID: []byte(""),
	}
}

func TestContent(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 10_000)
	props := fullProperties()
	enc := props.Append(nil)
	for _, frameMax := range []int{4096, 131072, 0} {
		b := AppendContent(nil, 5, enc, body, frameMax)
		limit := frameMax
		if limit == 0 {
			limit = 1 << 30
		}
		f, n, ok, err := DecodeFrame(b, limit)
		if !ok || err != nil || f.Type != FrameHeader {
			t.Fatalf("%d: %+v, %v", frameMax, f, err)
		}
		h, err := DecodeHeader(f.Payload)
		if err != nil || h.Class != ClassBasic || h.BodySize != uint64(len(body)) || !bytes.Equal(h.Props, enc) {
			t.Fatalf("%d: header %+v, %v", frameMax, h, err)
		}
		var got Properties
		if err := got.Decode(h.Props); err != nil || !reflect.DeepEqual(got, props) {
			t.Errorf("%d: properties %+v, %v", frameMax, got, err)
		}
		var all []byte
		for b = b[n:]; len(b) > 0; b = b[n:] {
			if f, n, ok, err = DecodeFrame(b, limit); !ok || err != nil || f.Type != FrameBody || f.Channel != 5 {
				t.Fatalf("%d: body %+v, %v", frameMax, f, err)
			}
			all = append(all, f.Payload...)
		}
		if !bytes.Equal(all, body) {
			t.Errorf("%d: body changed", frameMax)
		}
	}
	for cut := range enc {
		var p Properties
		if err := p.Decode(enc[:cut]); err == nil {
			t.Errorf("properties cut to %d of %d octets were accepted", cut, len(enc))
		}
	}
	var p Properties
	if err := p.Decode([]byte{0, 1}); codeOf(err) != SyntaxError {
		t.Errorf("continued flags: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	props := fullProperties()
	var wire []byte
	wire = AppendPublish(wire, 1, "exchange", "routing.key", false)
	wire = AppendContent(wire, 1, props.Append(nil), make([]byte, 200), 131072)
	wire = AppendMethod(wire, 1, &BasicAck{DeliveryTag: 4})
	out := make([]byte, 0, 4096)
	n := testing.AllocsPerRun(100, func() {
		for b := wire; len(b) > 0; {
			f, n, _, err := DecodeFrame(b, 131072)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
			switch f.Type {
			case FrameMethod:
				id, args, _ := SplitMethod(f.Payload)
				if id == IDBasicPublish {
					_, err = DecodePublish(args)
				} else {
					_, err = DecodeSettlement(id, args)
				}
			case FrameHeader:
				var h Header
				if h, err = DecodeHeader(f.Payload); err == nil {
					var p Properties
					err = p.Decode(h.Props)
					out = AppendDeliver(out[:0], 1, "tag", 1, false, h.Props[:3], h.Props[:4])
					out = AppendContent(out, 1, h.Props, h.Props, 131072)
					out = AppendAck(out, 1, 1, true)
					out = p.Append(out)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range methods() {
		f.Add(AppendMethod(nil, 1, m))
	}
	props := fullProperties()
	f.Add(AppendContent(nil, 1, props.Append(nil), []byte("body"), 4096))
	f.Fuzz(func(t *testing.T, src []byte) {
		for len(src) > 0 {
			fr, n, ok, err := DecodeFrame(src, 1<<17)
			if err != nil || !ok {
				return
			}
			if again := AppendFrame(nil, fr.Type, fr.Channel, fr.Payload); !bytes.Equal(again, src[:n]) {
				t.Fatalf("frame changed: got %x, want %x", again, src[:n])
			}
			src = src[n:]
			switch fr.Type {
			case FrameMethod:
				m, err := DecodeMethod(fr.Payload)
				if err != nil {
					continue
				}
				again, err := DecodeMethod(m.appendArgs(bytes.Clone(fr.Payload[:4])))
				if err != nil || !reflect.DeepEqual(again, m) {
					t.Fatalf("method changed: got %+v, %v, want %+v", again, err, m)
				}
			case FrameHeader:
				h, err := DecodeHeader(fr.Payload)
				if err != nil {
					continue
				}
				var p, q Properties
				if p.Decode(h.Props) != nil {
					continue
				}
				if err := q.Decode(p.Append(nil)); err != nil || !reflect.DeepEqual(p, q) {
					t.Fatalf("properties changed: got %+v, %v, want %+v", q, err, p)
				}
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(every().Append(nil)[4:])
	f.Fuzz(func(t *testing.T, src []byte) {
		table, err := DecodeTable(src)
		if err != nil {
			return
		}
		again, err := DecodeTable(table.Append(nil)[4:])
		if err != nil || !reflect.DeepEqual(again, table) {
			t.Fatalf("table changed: got %+v, %v, want %+v", again, err, table)
		}
		for i := (Fields{Raw: src}); i.Next(); {
			if v, ok := Find(src, string(i.Name)); !ok || v.Kind == 0 {
				t.Fatalf("field %q was not found", i.Name)
			}
		}
	})
}

func BenchmarkDecodePublish(b *testing.B) {
	props := Properties{Flags: FlagDeliveryMode, DeliveryMode: 2}
	src := AppendPublish(nil, 1, "", "queue", false)
	src = AppendContent(src, 1, props.Append(nil), make([]byte, 100), 131072)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		for rest := src; len(rest) > 0; {
			f, n, _, err := DecodeFrame(rest, 131072)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
			switch f.Type {
			case FrameMethod:
				_, args, _ := SplitMethod(f.Payload)
				_, err = DecodePublish(args)
			case FrameHeader:
				var p Properties
				h, _ := DecodeHeader(f.Payload)
				err = p.Decode(h.Props)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
