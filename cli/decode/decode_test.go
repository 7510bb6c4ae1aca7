package decode

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/robustmq/rmq/broker/adminapi"
)

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decodes(t *testing.T, decode func(*budget, []byte) (any, error), src, want string) {
	t.Helper()
	v, err := decode(newBudget(), bytesOf(t, src))
	if strings.HasPrefix(want, "error: ") {
		if err == nil || !strings.Contains(err.Error(), want[7:]) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v, want %s", src, err, want)
		return
	}
	if got, err := encode(v); err != nil || string(got) != want || !json.Valid(got) {
		t.Errorf("%s: %s %v, want %s", src, got, err, want)
	}
}

// The items of RFC 8949, appendix A, and what is not well formed of appendix F.
func TestCBOR(t *testing.T) {
	for src, want := range map[string]string{
		"00": "0", "17": "23", "1818": "24", "1903e8": "1000", "1b000000e8d4a51000": "1000000000000", "1bffffffffffffffff": "18446744073709551615",
		"c249010000000000000000": "18446744073709551616", "3bffffffffffffffff": "-18446744073709551616", "c349010000000000000000": "-18446744073709551617",
		"20": "-1", "3903e7": "-1000", "f90000": "0", "f98000": "-0", "f93c00": "1", "fb3ff199999999999a": "1.1", "f93e00": "1.5", "f97bff": "65504",
		"fa47c35000": "100000", "f90001": "5.960464477539063e-08", "f90400": "6.103515625e-05", "f97c00": `"Infinity"`, "f97e00": `"NaN"`, "f9fc00": `"-Infinity"`,
		"f4": "false", "f5": "true", "f6": "null", "f7": "null", "f0": "16", "f8ff": "255",
		"c11a514b67b0": `"2013-03-21T20:04:00Z"`, "c1fb41d452d9ec200000": `"2013-03-21T20:04:00.5Z"`, "c074323031332d30332d32315432303a30343a30305a": `"2013-03-21T20:04:00Z"`,
		"40": `""`, "4401020304": `"AQIDBA=="`, "60": `""`, "6449455446": `"IETF"`, "62225c": `"\"\\"`, "62c3bc": `"ü"`,
		"80": "[]", "83010203": "[1,2,3]", "8301820203820405": "[1,[2,3],[4,5]]", "a0": "{}", "a201020304": `{"1":2,"3":4}`,
		"a26161016162820203": `{"a":1,"b":[2,3]}`, "5f42010243030405ff": `"AQIDBAU="`, "7f657374726561646d696e67ff": `"streaming"`,
		"9f018202039f0405ffff": "[1,[2,3],[4,5]]", "bf61610161629f0203ffff": `{"a":1,"b":[2,3]}`, "d9d9f700": "0",
		"": "error: too early", "18": "error: too early", "1c": "error: reserved", "ff": "error: a break", "81ff": "error: a break", "5f00ff": "error: is none", "9f": "error: too early",
		"a1": "error: too early", "a101": "error: too early", "bf01ff": "error: a break", "0000": "error: 1 bytes are left", "1f": "error: no data item", "c1ff": "error: a break",
		"9bffffffffffffffff00": "error: too early", "7bffffffffffffffff61": "error: too early",
	} {
		decodes(t, decodeCBOR, src, want)
	}
	decodes(t, decodeCBOR, strings.Repeat("81", 1000)+"00", "error: nested")
}

func TestMsgPack(t *testing.T) {
	for src, want := range map[string]string{
		"00": "0", "7f": "127", "ff": "-1", "e0": "-32", "cc80": "128", "cd0100": "256", "ceffffffff": "4294967295", "cfffffffffffffffff": "18446744073709551615",
		"d080": "-128", "d1ff7f": "-129", "d280000000": "-2147483648", "d3ffffffffffffffff": "-1", "c0": "null", "c2": "false", "c3": "true",
		"ca3fc00000": "1.5", "cb3ff199999999999a": "1.1", "a3616263": `"abc"`, "d903616263": `"abc"`, "c40201ff": `"Af8="`,
		"930102a161": `[1,2,"a"]`, "82a16101a162c0": `{"a":1,"b":null}`, "8101a178": `{"1":"x"}`, "dc000101": "[1]", "de0001a16101": `{"a":1}`,
		"d6ff514b67b0": `"2013-03-21T20:04:00Z"`, "d7ff77359400514b67b0": `"2013-03-21T20:04:00.5Z"`, "c70cff1dcd650000000000514b67b0": `"2013-03-21T20:04:00.5Z"`,
		"d405aa": `{"type":5,"data":"qg=="}`,
		"":       "error: too early", "c1": "error: never used", "92": "error: too early", "a5": "error: too early", "0000": "error: 1 bytes are left", "dfffffffff": "error: too early",
	} {
		decodes(t, decodeMsgPack, src, want)
	}
	decodes(t, decodeMsgPack, strings.Repeat("91", 1000)+"00", "error: nested")
}

const avroOrder = `{"type":"record","name":"Order","namespace":"shop","fields":[
 {"name":"id","type":"long"},{"name":"note","type":["null","string"]},
 {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID"]}},
 {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[{"name":"sku","type":"string"},{"name":"n","type":"int"}]}}},
 {"name":"tags","type":{"type":"map","values":"double"}},
 {"name":"hash","type":{"type":"fixed","name":"Hash","size":2}},
 {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
 {"name":"day","type":{"type":"int","logicalType":"date"}},
 {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
 {"name":"paid","type":"boolean"},{"name":"next","type":["null","Order"]}]}`

// avroOrderBytes is an order in Avro's encoding.
const avroOrderBytes = "0e" + "02 06616263" + "02" + "04 0261 04 0262 01 00" + "01 10 0278 000000000000f83f 00" + "abcd" + "a0db8282ed58" + "02" + "04 ff6a" + "01" + "00"

func TestAvro(t *testing.T) {
	schema, _, err := parseAvro(avroOrder, nil)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(b *budget, src []byte) (any, error) { return decodeAvro(b, schema, src) }
	decodes(t, decode, avroOrderBytes, `{"id":7,"note":"abc","state":"PAID","items":[{"sku":"a","n":2},{"sku":"b","n":-1}],"tags":{"x":1.5},"hash":"q80=",`+
		`"at":"2018-05-16T08:45:39.92Z","day":"1970-01-02","price":"-1.50","paid":true,"next":null}`)
	for src, want := range map[string]string{
		"": "error: id: it ends too early", "0e04": "error: note: a union has no member 2", "0e0008": "error: state: shop.State has no symbol 4",
		avroOrderBytes + "00": "error: 1 bytes are left", "0e0000 feffffffffffffffff01": "error: items", "ffffffffffffffffffffff": "error: id: a number has more than 64 bits",
		"0e 02 fe00": "error: note: it ends too early", "0e 02 01": "error: note: a length is -1",
	} {
		decodes(t, decode, src, want)
	}
	nulls, _, err := parseAvro(`{"type":"array","items":"null"}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Items of no bytes cost nothing to send, and are bounded all the same.
	decodes(t, func(b *budget, src []byte) (any, error) { return decodeAvro(b, nulls, src) }, "feffffffffffffff7f 00", "error: it holds more than")
	list, _, err := parseAvro(`{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	decodes(t, func(b *budget, src []byte) (any, error) { return decodeAvro(b, list, src) }, strings.Repeat("02", 1000)+"00", "error: next: next:")
	for source, want := range map[string]string{
		`{"type":"record","name":"R"`: "no Avro schema", `"nope"`: `there is no type "nope"`, `{"type":"record","fields":[]}`: "has no name", `{"type":"fixed","name":"F","size":1e12}`: "the size of F",
		`[1]`: "a type is a name", `{"name":"x"}`: `has no "type"`,
	} {
		if _, _, err := parseAvro(source, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}

const protoOrder = `syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto";
message Order { int64 id = 1; string note = 2; repeated Item items = 3; map<string, double> tags = 4; google.protobuf.Timestamp at = 5; State state = 6;
  message Item { string sku = 1; sint32 n = 2; } }
enum State { NEW = 0; PAID = 1; }
message Other { string x = 1; Order order = 2; }`

func protoBytes() []byte {
	var item []byte
	item = protowire.AppendString(protowire.AppendTag(item, 1, protowire.BytesType), "a")
	item = protowire.AppendVarint(protowire.AppendTag(item, 2, protowire.VarintType), protowire.EncodeZigZag(-2))
	var b []byte
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 7)
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), "abc")
	b = protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), item)
	return protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), 1)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProtobuf(t *testing.T) {
	file := write(t, "order.proto", protoOrder)
	d, err := New(Options{Kind: Auto, Schema: file + ":Order"})
	if err != nil {
		t.Fatal(err)
	}
	doc, kind, err := d.Decode(t.Context(), &adminapi.Message{Value: protoBytes()})
	if want := `{"id":"7","note":"abc","items":[{"sku":"a","n":-2}],"state":"PAID"}`; err != nil || kind != Protobuf || string(doc) != want {
		t.Errorf("%s %s %v, want %s", doc, kind, err, want)
	}
	if _, _, err := d.Decode(t.Context(), &adminapi.Message{Value: []byte{0xff}}); err == nil || !strings.HasPrefix(err.Error(), "protobuf: ") {
		t.Errorf("%v", err)
	}
	for typ, want := range map[string]string{"": "several messages: say which, as", ":Nope": "has no message Nope; there are shop.Order, shop.Other"} {
		if _, err := New(Options{Kind: Protobuf, Schema: file + typ}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", typ, err, want)
		}
	}
	if _, err := New(Options{Kind: Protobuf, Schema: write(t, "bad.proto", "message {")}); err == nil || !strings.Contains(err.Error(), "bad.proto:1:") {
		t.Errorf("%v", err)
	}
	if _, err := New(Options{Kind: Protobuf, Schema: "/nowhere/x.proto"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}

// Without a schema the fields have numbers.
func TestProtobufWithoutSchema(t *testing.T) {
	d, err := New(Options{Kind: Protobuf})
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := d.Decode(t.Context(), &adminapi.Message{Value: append(protoBytes(), protoBytes()[:2]...)})
	if want := `{"1":[7,7],"2":"abc","3":{"1":"a","2":3},"6":1}`; err != nil || string(doc) != want {
		t.Errorf("%s %v, want %s", doc, err, want)
	}
	decodes(t, decodeWire, "07", "error: ")
	decodes(t, decodeWire, "0a05", "error: ")
}

// plant is a payload of Sparkplug B with a metric of most types.
func plant() []byte {
	metric := func(name string, datatype uint64, rest func([]byte) []byte) []byte {
		var m []byte
		m = protowire.AppendString(protowire.AppendTag(m, 1, protowire.BytesType), name)
		m = protowire.AppendVarint(protowire.AppendTag(m, 4, protowire.VarintType), datatype)
		return rest(m)
	}
	varint := func(num protowire.Number, v uint64) func([]byte) []byte {
		return func(m []byte) []byte {
			return protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), v)
		}
	}
	raw := func(num protowire.Number, v []byte) func([]byte) []byte {
		return func(m []byte) []byte {
			return protowire.AppendBytes(protowire.AppendTag(m, num, protowire.BytesType), v)
		}
	}
	var dataset []byte
	dataset = varint(1, 1)(dataset)
	dataset = raw(2, []byte("col"))(dataset)
	dataset = raw(3, []byte{3})(dataset) // packed
	dataset = raw(4, raw(1, varint(1, 5)(nil))(nil))(dataset)
	var b []byte
	b = varint(1, 1769860800250)(b)
	minus := int32(-5)
	for _, m := range [][]byte{
		metric("temp", 3, varint(10, uint64(uint32(minus)))),
		metric("on", 11, varint(14, 1)),
		metric("name", 12, raw(15, []byte("x"))),
		metric("at", 13, varint(11, 1769860800250)),
		metric("blob", 17, raw(16, []byte{1, 2})),
		metric("list", 23, raw(16, []byte{0xff, 0xff, 2, 0})),
		metric("bools", 32, raw(16, []byte{3, 0, 0, 0, 0xa0})),
		metric("strings", 33, raw(16, []byte("a\x00b\x00"))),
		metric("none", 3, varint(7, 1)),
		metric("set", 16, raw(17, dataset)),
	} {
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), m)
	}
	return varint(3, 9)(b)
}

func TestSparkplug(t *testing.T) {
	decodes(t, decodeSparkplug, hex.EncodeToString(plant()), `{"timestamp":"2026-01-31T12:00:00.25Z","metrics":[{"name":"temp","datatype":"Int32","value":-5},{"name":"on","datatype":"Boolean","value":true},`+
		`{"name":"name","datatype":"String","value":"x"},{"name":"at","datatype":"DateTime","value":"2026-01-31T12:00:00.25Z"},{"name":"blob","datatype":"Bytes","value":"AQI="},`+
		`{"name":"list","datatype":"Int16Array","value":[-1,2]},{"name":"bools","datatype":"BooleanArray","value":[true,false,true]},{"name":"strings","datatype":"StringArray","value":["a","b"]},`+
		`{"name":"none","datatype":"Int32","is_null":true,"value":null},`+
		`{"name":"set","datatype":"DataSet","value":{"num_of_columns":1,"columns":["col"],"types":[3],"rows":[{"elements":[{"value":5}]}]}}],"seq":9}`)
	decodes(t, decodeSparkplug, "0a", "error: ")
	decodes(t, decodeSparkplug, "0801 12050a03616263", `{"timestamp":"1970-01-01T00:00:00.001Z","metrics":[{"name":"abc"}]}`)
	decodes(t, decodeSparkplug, "0a0178", "error: timestamp: it has type 2 of the wire, not 0")
}

// What a value is, is found out by who says it most clearly.
func TestAuto(t *testing.T) {
	d, err := New(Options{Kind: Auto})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		m    adminapi.Message
		kind string
		want string
	}{
		{adminapi.Message{Value: []byte(`{"a": 1}`)}, JSON, `{"a":1}`},
		{adminapi.Message{Value: []byte("plain <text>")}, Text, `"plain <text>"`},
		{adminapi.Message{Value: nil}, Auto, "null"},
		{adminapi.Message{Value: bytesOf(t, "a1616181187f")}, Text, `"\ufffdaa\ufffd\u0018\u007f"`},
		{adminapi.Message{Value: bytesOf(t, "a161618118c8")}, CBOR, `{"a":[200]}`},
		{adminapi.Message{Value: bytesOf(t, "81a161cce8")}, MsgPack, `{"a":232}`},
		{adminapi.Message{Value: bytesOf(t, "8301f6ff"), Properties: map[string]string{"content-type": "application/cbor"}}, CBOR, ""},
		{adminapi.Message{Value: bytesOf(t, "820102"), Properties: map[string]string{"content-type": "application/cbor; x=y"}}, CBOR, "[1,2]"},
		{adminapi.Message{Value: bytesOf(t, "9101"), Headers: []adminapi.Header{{Name: "Content-Type", Value: []byte("application/msgpack")}}}, MsgPack, "[1]"},
		{adminapi.Message{Value: []byte("1"), Properties: map[string]string{"content-type": "text/plain"}}, Text, `"1"`},
		{adminapi.Message{Topic: "spBv1.0/g/NDATA/e", Value: bytesOf(t, "1801")}, Sparkplug, `{"seq":1}`},
		{adminapi.Message{Topic: "spBv1.0/STATE/host", Value: []byte(`{"online":true}`)}, JSON, `{"online":true}`},
		{adminapi.Message{Value: bytesOf(t, "fffe")}, "", ""},
	} {
		if tt.kind == Text && strings.Contains(tt.want, "ufffd") {
			continue // bytes that are no text: told below
		}
		doc, kind, err := d.Decode(t.Context(), &tt.m)
		if kind != tt.kind || string(doc) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%x: %s %q %v, want %s %s", tt.m.Value, doc, kind, err, tt.want, tt.kind)
		}
	}
}

func TestRegistry(t *testing.T) {
	asked := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		reply := map[string]any{
			"/api/schemas/ids/1":             map[string]any{"schema": avroOrder},
			"/api/schemas/ids/2":             map[string]any{"schemaType": "PROTOBUF", "schema": protoOrder},
			"/api/schemas/ids/3":             map[string]any{"schemaType": "JSON", "schema": "{}"},
			"/api/schemas/ids/4":             map[string]any{"schema": `{"type":"record","name":"R","fields":[{"name":"o","type":"shop.Order"}]}`, "references": []any{map[string]any{"name": "shop.Order", "subject": "order", "version": 1}}},
			"/api/subjects/order/versions/1": map[string]any{"schema": avroOrder},
			"/api/schemas/ids/5":             map[string]any{"schema": `"string"`},
			"/api/schemas/ids/6":             map[string]any{"schemaType": "THRIFT"},
		}[r.URL.Path]
		if reply == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(reply) // to a recorder of the test's
	}))
	defer srv.Close()
	d, err := New(Options{Kind: Auto, Registry: strings.Replace(srv.URL, "://", "://u:p@", 1) + "/api/"})
	if err != nil {
		t.Fatal(err)
	}
	order := `{"id":7,"note":"abc","state":"PAID"`
	for range 2 {
		for _, tt := range []struct{ src, want string }{
			{"0000000001" + avroOrderBytes, order},
			{"0000000002 00" + hex.EncodeToString(protoBytes()), `{"id":"7","note":"abc"`},
			{"0000000002 0202" + "0a0178", `{"x":"x"}`},
			{"0000000002 040002" + "0a0178", `{"sku":"x"}`}, // Order.Item, behind the entries of the map
			{"0000000003" + hex.EncodeToString([]byte(`{"a":1}`)), `{"a":1}`},
			{"0000000004" + avroOrderBytes, `{"o":` + order},
			{"0000000005 0461 62", `"ab"`},
			{"0000000006 00", "error: registry: schema 6: THRIFT is no kind of schema that is known here"},
			{"0000000009 00", "error: registry: schema 9: the registry does not have it"},
			{"0000000002 0212" + "0a0178", "error: registry: its schema has no message 9"},
		} {
			doc, _, err := d.Decode(t.Context(), &adminapi.Message{Value: bytesOf(t, tt.src)})
			if strings.HasPrefix(tt.want, "error: ") && (err == nil || err.Error() != tt.want[7:]) || !strings.HasPrefix(tt.want, "error: ") && !strings.HasPrefix(string(doc), tt.want) {
				t.Errorf("%s: %s %v, want %s", tt.src, doc, err, tt.want)
			}
		}
	}
	for path, n := range asked {
		if n != 1 {
			t.Errorf("the registry was asked %d times for %s", n, path)
		}
	}
	if _, err := New(Options{Kind: Auto, Registry: "host:8081"}); err == nil {
		t.Error("a registry without a scheme is taken")
	}
	srv.Close()
	gone, err := New(Options{Kind: Auto, Registry: strings.Replace(srv.URL, "://", "://u:p@", 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = gone.Decode(t.Context(), &adminapi.Message{Value: bytesOf(t, "000000000100")})
	if err == nil || !strings.Contains(err.Error(), "the registry does not answer") || strings.Contains(err.Error(), "u:p") {
		t.Errorf("%v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Kind: "xml"}, `"xml" is none of auto, json, avro`},
		{Options{Kind: Avro}, "avro cannot be read without its schema"},
		{Options{Kind: CBOR, Schema: write(t, "x.avsc", `"int"`)}, "cbor has no schema"},
		{Options{Kind: Avro, Schema: write(t, "x.avsc", avroOrder) + ":Nope"}, "has no type Nope"},
	} {
		if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.o, err, tt.want)
		}
	}
	d, err := New(Options{Kind: Avro, Schema: write(t, "x.avsc", avroOrder) + ":Item"})
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := d.Decode(t.Context(), &adminapi.Message{Value: bytesOf(t, "026104")})
	if string(doc) != `{"sku":"a","n":2}` || err != nil {
		t.Errorf("%s %v", doc, err)
	}
}

// Whatever comes, a decoder makes JSON of it or says why not.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"a26161016162820203", "82a16101a162c0", avroOrderBytes, hex.EncodeToString(plant()), hex.EncodeToString(protoBytes()), "9f018202039f0405ffff", "c70cff1dcd650000000000514b67b0"} {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	avro, _, err := parseAvro(avroOrder, nil)
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "order.proto")
	if err := os.WriteFile(path, []byte(protoOrder), 0o600); err != nil {
		f.Fatal(err)
	}
	proto, err := readProtoFile(path, "Order")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, d := range []*Decoder{
			{kind: Auto}, {kind: CBOR}, {kind: MsgPack}, {kind: Sparkplug}, {kind: Protobuf}, {kind: Avro, avro: avro}, {kind: Protobuf, proto: proto}, {kind: Text}, {kind: Hex}, {kind: JSON},
		} {
			doc, kind, err := d.Decode(t.Context(), &adminapi.Message{Value: src})
			if err == nil && !json.Valid(doc) {
				t.Fatalf("%s made %s of %x", kind, doc, src)
			}
		}
	})
}

func FuzzAvroSchema(f *testing.F) {
	f.Add(avroOrder, []byte{14, 0})
	f.Add(`{"type":"array","items":{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}}`, []byte{2, 2, 0, 0})
	f.Fuzz(func(t *testing.T, source string, value []byte) {
		schema, _, err := parseAvro(source, nil)
		if err != nil {
			return
		}
		if v, err := decodeAvro(newBudget(), schema, value); err == nil {
			if doc, err := encode(v); err != nil || !json.Valid(doc) {
				t.Fatalf("%s of %x with %s: %v", doc, value, source, err)
			}
		}
	})
}

func ExampleDecoder_Decode() {
	d, err := New(Options{Kind: Auto})
	if err != nil {
		fmt.Println(err)
		return
	}
	doc, kind, err := d.Decode(context.Background(), &adminapi.Message{Value: []byte("\xa1\x61a\x81\x18\xc8")})
	fmt.Println(string(doc), kind, err)
	// Output: {"a":[200]} cbor <nil>
}
