package filter_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/message"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// order is a Kafka record with something of everything.
func order() *adminapi.Message {
	partition, offset, qos := int32(3), int64(1200), uint8(1)
	return &adminapi.Message{
		Protocol: "kafka", Topic: "orders", Partition: &partition, Offset: &offset, QoS: &qos,
		Key:     []byte("dev-7"),
		Value:   []byte(`{"id": 7, "price": 19.5, "ok": true, "none": null, "name": "Ren\u00e9 \"R\"", "items": [{"sku":"a","n":1},{"sku":"b","n":2}], "tags": ["x","y"], "a b": {"c": "d"}, "big": 12345678901234567890}`),
		Headers: []adminapi.Header{{Name: "source", Value: []byte("shop")}, {Name: "source", Value: []byte("again")}, {Name: "retries", Value: []byte("4")}, {Name: "null"}, {Name: "content-type", Value: []byte("application/json")}},
		Time:    noon, Priority: 5,
	}
}

// reading is an MQTT publish whose value is no JSON object.
func reading() *adminapi.Message {
	qos := uint8(2)
	return &adminapi.Message{
		Protocol: "mqtt", Topic: "sensors/dev1/temp", Value: []byte("21.5"), QoS: &qos, Retain: true, Time: noon,
		Properties: map[string]string{"content-type": "text/plain", "correlation-id-b64": "/wA="},
	}
}

func compile(t testing.TB, source string) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(source, filter.Options{Now: func() time.Time { return noon.Add(time.Hour) }})
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return f
}

func TestMatch(t *testing.T) {
	const yes, no, unknown = filter.Yes, filter.No, filter.Unknown
	tests := []struct {
		source string
		want   filter.Truth // of order()
	}{
		// fields
		{`topic == "orders"`, yes},
		{`topic == 'orders' && key == "dev-7"`, yes},
		{`address == "orders"`, yes},
		{`protocol == "mqtt"`, no},
		{`partition == 3 && offset >= 1200`, yes},
		{`qos in [1, 2]`, yes},
		{`priority > 5`, no},
		{`retain`, no},
		{`!retain && !redelivered && !duplicate`, yes},
		{`size > 100 && size == size(value)`, yes},
		{`queue == "jobs"`, unknown},
		{`exchange == ""`, unknown},
		{`namespace == "/"`, unknown},

		// what is not there
		{`json.nothing > 3`, unknown},
		{`!(json.nothing > 3)`, unknown},
		{`json.nothing != 3`, unknown},
		{`false && json.nothing`, no},
		{`json.nothing && false`, no},
		{`json.nothing || true`, yes},
		{`json.nothing || false`, unknown},
		{`has(json.nothing)`, no},
		{`!has(json.nothing) || json.nothing > 3`, yes},
		{`json.nothing == null`, yes},
		{`json.none == null`, yes},
		{`has(json.none)`, yes},
		{`json.id != null && null != key`, yes},
		{`value == null`, no},
		{`headers["null"] == null`, yes},
		{`has(headers["null"])`, yes},
		{`headers["null"] == "x"`, no},

		// headers and properties
		{`headers["source"] == "shop"`, yes},
		{`headers.source == "shop"`, yes},
		{`"source" in headers && !("sauce" in headers)`, yes},
		{`has(headers["sauce"])`, no},
		{`int(headers["retries"]) > 3`, yes},
		{`int(headers["source"]) > 3`, unknown},
		{`content_type == "application/json"`, yes},
		{`properties["content-type"].startsWith("application/")`, yes},
		{`headers[key] == "x"`, unknown},
		{`size(headers) == 5`, yes},

		// JSON
		{`json.id == 7`, yes},
		{`json.id == 7.0`, yes},
		{`json.id == "7"`, no},
		{`json.id != "7"`, yes},
		{`string(json.id) == "7"`, yes},
		{`json["id"] == 7 && json["a b"].c == "d"`, yes},
		{`json.price * 2 == 39`, yes},
		{`json.price > 19 && json.price < 20`, yes},
		{`json.ok`, yes},
		{`json.id`, unknown},
		{`json.name == "René \"R\""`, yes},
		{`json.name.contains("é")`, yes},
		{`json.items[1].sku == "b"`, yes},
		{`json.items[-1].n == 2`, yes},
		{`json.items[2].n == 2`, unknown},
		{`json.items[-3].n == 2`, unknown},
		{`json.items[json.items[0].n].sku == "b"`, yes},
		{`size(json.items) == 2 && size(json.items[0]) == 2`, yes},
		{`"y" in json.tags`, yes},
		{`"z" in json.tags`, no},
		{`"id" in json`, yes},
		{`"x" in json.id`, unknown},
		{`json.id in [1, 7]`, yes},
		{`json.tags == json.tags`, unknown},
		{`string(json.tags) == '["x","y"]'`, yes},
		{`json.big > 12345678901234560000.0`, yes},
		{`json.id.sku == 1`, unknown},

		// text
		{`key.startsWith("dev-") && key.endsWith("7")`, yes},
		{`contains(value, "price")`, yes},
		{`value.matches(r'"id":\s*7\b')`, yes},
		{`value.matches("(?i)REN")`, yes},
		{`lower("ÄBC") == "äbc" && upper(key) == "DEV-7" && lower(upper(key)) == key`, yes},
		{`" x ".trim() == "x"`, yes},
		{`"a" + key + "b" == "adev-7b"`, yes},
		{`key < "e" && key > "d"`, yes},
		{`"\x41\u00e9\U0001F600\n" == "Aé😀\n"`, yes},
		{`topicMatches("+")`, yes},
		{`"a/b/c".topicMatches("a/#")`, yes},
		{`topicMatches("a/b/c", "a/+")`, no},

		// numbers
		{`1 + 2 * 3 == 7 && (1 + 2) * 3 == 9`, yes},
		{`7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3`, yes},
		{`7.0 / 2 == 3.5`, yes},
		{`0x1F == 31 && 1e3 == 1000.0 && 1.5e-1 == 0.15`, yes},
		{`partition / (offset - 1200) == 1`, unknown},
		{`offset * 9223372036854775807 > 0`, unknown},
		{`offset + 9223372036854775807 > 0`, unknown},
		{`-offset < 0 && - 3 < -2`, yes},
		{`double("1e3") == 1000 && int("-5") == -5 && int(2.9) == 2`, yes},
		{`double(key) > 1`, unknown},

		// times
		{`time == timestamp("2026-01-31T12:00:00Z")`, yes},
		{`time >= "2026-01-31T12:00:00Z" && time < "2026-01-31T12:00:00.001Z"`, yes},
		{`now - time == duration("1h")`, yes},
		{`now() - time > "59m"`, yes},
		{`time + duration("2h") > now`, yes},
		{`time > now - duration("1d") && timestamp == time`, yes},
		{`timestamp(1769860800) == time && int(time) == 1769860800`, yes},
		{`duration("1w") == duration(604800) && duration("1m") * 3 == duration("3m") && duration("1h") / duration("1m") == 60`, yes},
		{`double(duration("1500ms")) == 1.5 && string(duration("90m")) == "1h30m0s"`, yes},
		{`string(time) == "2026-01-31T12:00:00Z"`, yes},
		{`expires_at < now`, unknown},

		// the rest
		{`retain ? key == "a" : key == "dev-7"`, yes},
		{`json.nothing ? true : true`, unknown},
		{`(json.id > 5 ? "high" : "low") == "high"`, yes},
		{`true`, yes},
		{`1 == 1 ? false : true`, no},
		{`key in ["a", "b"] || key in ["dev-7"]`, yes},
		{`key in []`, no},
		{`queue in ["a"]`, unknown},
	}
	for _, tt := range tests {
		if got := compile(t, tt.source).Eval(order().ForFilter()); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.source, got, tt.want)
		}
	}
}

func TestMatchMQTT(t *testing.T) {
	for source, want := range map[string]filter.Truth{
		`topicMatches("sensors/+/temp") && double(value) > 21`: filter.Yes,
		`json > 21 && json < 22`:                               filter.Yes,
		`json.a > 1`:                                           filter.Unknown,
		`qos == 2 && retain`:                                   filter.Yes,
		`partition == 0`:                                       filter.Unknown,
		`key == "x"`:                                           filter.Unknown,
		`content_type == "text/plain"`:                         filter.Yes,
		`correlation_id == "\xff\x00"`:                         filter.Yes,
		`reply_to == "x"`:                                      filter.Unknown,
	} {
		if got := compile(t, source).Eval(reading().ForFilter()); got != want {
			t.Errorf("%s: %v, want %v", source, got, want)
		}
	}
}

func TestMatchOfTheKernelsMessage(t *testing.T) {
	m := &message.Message{
		Source: message.MQTT, Address: "sensors/dev1/temp", Value: []byte(`{"celsius":31}`), Time: noon.UnixMilli(), QoS: 1,
		Headers: []message.Header{{Name: message.ContentType, Value: []byte("application/json")}, {Name: "x", Value: []byte("1")}}, Partition: 1,
	}
	for source, want := range map[string]bool{
		`topicMatches("sensors/#") && json.celsius > 30`: true,
		`protocol == "mqtt" && qos == 1 && !retain`:      true,
		`content_type == "application/json"`:             true,
		`headers["x"] == "1" && partition == 0`:          true,
		`now - time == duration("1h")`:                   true,
		`has(key) || has(expires_at) || has(offset)`:     false,
	} {
		if got := compile(t, source).Match(filter.Of(m)); got != want {
			t.Errorf("%s: %v, want %v", source, got, want)
		}
	}
}

func TestPrinter(t *testing.T) {
	for source, want := range map[string]string{
		`json.price * 2`: "39", `key`: "dev-7", `json.items[0]`: `{"sku":"a","n":1}`, `qos == 1`: "true", `now - time`: "1h0m0s",
		`time`: "2026-01-31T12:00:00Z", `json.none`: "null", `json.nothing`: "?", `queue`: "?", `"a" + key`: "adev-7",
	} {
		x, err := filter.CompilePrinter(source, filter.Options{Now: func() time.Time { return noon.Add(time.Hour) }})
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		got, ok := x.Append(nil, order().ForFilter())
		if !ok {
			got = []byte("?")
		}
		if string(got) != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	if _, err := filter.CompilePrinter(`headers`, filter.Options{}); err == nil {
		t.Error("all headers are one value")
	}
}

func TestCompileSaysWhatIsWrongAndWhere(t *testing.T) {
	tests := []struct{ source, want string }{
		{``, `the expression is empty (column 1); such as: key == "7"`},
		{`topc == "a"`, `there is no topc (column 1); did you mean topic?`},
		{`qos == 1 && kee == "a"`, `there is no kee (column 13); did you mean key?`},
		{`celsius > 3`, `there is no celsius (column 1); a text is "celsius", a member of a JSON value json.celsius, a header headers["celsius"]`},
		{`value > 21`, `text and a number are not compared (column 7); read it as a number: double(value), or as JSON: json`},
		{`qos == "1"`, `a number and text are not compared (column 5); a number has no quotes`},
		{`key = "a"`, `'=' means nothing here (column 5); equal is ==`},
		{`key == "a" & retain`, `'&' means nothing here (column 12); and is &&`},
		{`key == "a" and retain`, `an operator or the end is expected, not and (column 12); and is && here`},
		{`key == "a`, `the text has no end (column 8)`},
		{`key == "\q"`, `\q is no escape (column 9)`},
		{`key`, `it is text, not a condition (column 1); compare it: key == "…"`},
		{`key && true`, `&& wants conditions, not text (column 1); compare it: key == "…"`},
		{`!key`, `! wants a condition, not text (column 2)`},
		{`value.a == 1`, `text has no members (column 7); look into JSON by json.a`},
		{`json[true] == 1`, `JSON is looked into by a name or a place, not by a condition (column 6)`},
		{`headers[1] == "a"`, `the name of a header or property is text, not a number (column 9)`},
		{`headers == "a"`, `all headers and text are not compared (column 9)`},
		{`lenght(key) > 1`, `there is no function lenght (column 1); there are contains, startsWith`},
		{`key.startWith("a")`, `there is no function startWith (column 5); did you mean startsWith?`},
		{`key.contains(1)`, `contains wants text here, not a number (column 14); make text of it by string(…)`},
		{`contains(key)`, `contains takes 2 arguments (column 1); such as value.contains("error")`},
		{`key.matches("(")`, `missing closing ): ` + "`(`" + ` (column 13)`},
		{`key.matches(value)`, `the regular expression must be written out (column 13); such as matches(value, r"\d+")`},
		{`topicMatches("a/#/b")`, `"a/#/b" is no MQTT filter: # is the last level (column 14)`},
		{`topicMatches("a+")`, `"a+" is no MQTT filter: a wildcard stands alone in its level (column 14)`},
		{`duration("5x") > duration("1h")`, `it has no value (column 1)`},
		{`time > "yesterday"`, `"yesterday" is not a time (column 8); such as "2026-01-31T12:00:00Z"`},
		{`now - time > 5m`, `5m is not a number (column 14); a duration is duration("5m"), a text "5m"`},
		{`1 / 0 == 1`, `it has no value (column 3)`},
		{`key + 1 == "a"`, `text + a number makes no sense (column 5); make text of it by string(…)`},
		{`time + time == time`, `a time + a time makes no sense (column 6)`},
		{`protocol == "mqt"`, `a protocol is one of kafka, mqtt, amqp (column 13); did you mean "mqtt"?`},
		{`"a" in value`, `in wants a list, JSON, headers or properties, not text (column 5); for a part of a text write value.contains("…")`},
		{`qos in ["a"]`, `a number and text are not compared (column 9)`},
		{`retain < true`, `conditions are compared by == and != only (column 8)`},
		{`retain ? 1 : "a"`, `a choice is between values of one type, not a number and text (column 8)`},
		{`(key == "a"`, `) is expected, not the end (column 12)`},
		{`size(1) > 1`, `a number has no size (column 6); such as size(json.items) > 10`},
		{`99999999999999999999 > 1`, `99999999999999999999 is not a number of 64 bits (column 1)`},
		{strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), `an expression is nested at most 100 deep`},
		{"true" + strings.Repeat(" == true", 200), `an expression is nested at most 100 deep`},
		{`key == "` + strings.Repeat("x", filter.ExprMax) + `"`, `an expression is at most 8192 bytes`},
		{`ключ == "a"`, `'к' means nothing here (column 1)`},
		{`key == "ü" && topc == "a"`, `there is no topc (column 15)`},
	}
	for _, tt := range tests {
		_, err := filter.Compile(tt.source, filter.Options{})
		e, ok := errors.AsType[*filter.Error](err)
		if !ok || !strings.Contains(e.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", tt.source, err, tt.want)
		}
	}
}

// A chain of && or || is bounded by the length of the expression alone.
func TestLongChain(t *testing.T) {
	f := compile(t, strings.Repeat(`key != "a" && `, 500)+`retain == false`)
	if !f.Match(order().ForFilter()) {
		t.Error("it does not match")
	}
}

func TestCaret(t *testing.T) {
	_, err := filter.Compile(`key == "ü" && topc == "a"`, filter.Options{})
	e, _ := errors.AsType[*filter.Error](err)
	if want := "key == \"ü\" && topc == \"a\"\n              ^"; e.Caret() != want {
		t.Errorf("got\n%s\nwant\n%s", e.Caret(), want)
	}
}

// Broken JSON is looked into as far as it makes sense, and never further.
func TestBrokenJSON(t *testing.T) {
	tests := []struct {
		value, source string
		want          filter.Truth
	}{
		{`{"a":1,"b":`, `json.a == 1`, filter.Yes},
		{`{"a":1,"b":`, `json.b == 1`, filter.Unknown},
		{`{"a":1 "b":2}`, `json.b == 2`, filter.Unknown},
		{`{"a" 1}`, `json.a == 1`, filter.Unknown},
		{`{"a":"x`, `json.a == "x"`, filter.Unknown},
		{`{"a":"\`, `json.a == "x"`, filter.Unknown},
		{`{"a":"\ud83d\ude00 \ud83d"}`, `json.a == "😀 \uFFFD"`, filter.Yes},
		{`{"\u0061":1}`, `json.a == 1`, filter.Yes},
		{`{"a\"b":1, "c":"}"}`, `json["a\"b"] == 1 && json.c == "}"`, filter.Yes},
		{`{"a":01}`, `json.a == 1`, filter.Yes},
		{`{"a":-}`, `json.a == 1`, filter.Unknown},
		{`{"a":1e999}`, `json.a > 1`, filter.Unknown},
		{`[1,2`, `size(json) == 2`, filter.Unknown},
		{`[1,2`, `json[1] == 2`, filter.Yes},
		{`[]`, `size(json) == 0`, filter.Yes},
		{`{}`, `size(json) == 0 && json.a == null`, filter.Yes},
		{``, `has(json)`, filter.No},
		{"  \n\t{ \"a\" : [ 1 , { } , \"x\" ] } ", `json.a[2] == "x"`, filter.Yes},
		{`{"a":1,"a":2}`, `json.a == 1`, filter.Yes},
		{`nul`, `json == null`, filter.Yes}, // not there
		{strings.Repeat("[", 100000), `json[0] == 1`, filter.Unknown},
		{strings.Repeat(`{"a":`, 100000), `json.b == 1`, filter.Unknown},
		{`"` + strings.Repeat(`\`, 100000), `json == "x"`, filter.Unknown},
	}
	for _, tt := range tests {
		m := &adminapi.Message{Value: []byte(tt.value)}
		if got := compile(t, tt.source).Eval(m.ForFilter()); got != tt.want {
			t.Errorf("%.40s: %s: %v, want %v", tt.value, tt.source, got, tt.want)
		}
	}
}

// However often an expression looks at a large value, the work for one message is bounded.
func TestWorkIsBounded(t *testing.T) {
	part := `value.contains("nowhere") || `
	f := compile(t, strings.Repeat(part, 200)+`true`)
	if got := f.Eval((&adminapi.Message{Value: []byte("small")}).ForFilter()); got != filter.Yes {
		t.Errorf("of a small value: %v", got)
	}
	big := &adminapi.Message{Value: make([]byte, 4<<20)}
	g := compile(t, strings.TrimSuffix(strings.Repeat(part, 200), " || "))
	if got := g.Eval(big.ForFilter()); got != filter.Unknown {
		t.Errorf("of a large value: %v", got)
	}
	h := compile(t, strings.TrimSuffix(strings.Repeat("value + ", 100), " + ")+` == "x"`)
	if got := h.Eval(big.ForFilter()); got != filter.Unknown {
		t.Errorf("of text that would be too large: %v", got)
	}
}

// ordinary are expressions as people write them.
var ordinary = []string{
	`topicMatches("sensors/+/temp") && double(value) > 21`,
	`json.items[1].sku == "b" && json.price < 20.0`,
	`headers["source"] == "shop" && now - time < duration("5h")`,
	`key.startsWith("dev-") || key in ["a", "b", "c"]`,
	`value.matches(r'"price":\s*19') && content_type == "application/json"`,
	`upper(key) == "DEV-7" && "y" in json.tags && has(json.ok)`,
	`int(headers["retries"]) > 3 ? qos == 1 : qos == 2`,
	`json.name.contains("é") && "p" + key != "x"`,
}

func TestMatchAllocatesNothing(t *testing.T) {
	m := order().ForFilter()
	for _, source := range ordinary {
		f := compile(t, source)
		f.Match(m)
		if n := testing.AllocsPerRun(100, func() { f.Match(m) }); n != 0 {
			t.Errorf("%s allocates %v times", source, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	m := order().ForFilter()
	for _, source := range ordinary {
		b.Run(strings.ReplaceAll(source, "/", "|"), func(b *testing.B) {
			f := compile(b, source)
			b.ReportAllocs()
			for b.Loop() {
				f.Match(m)
			}
		})
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range ordinary {
		f.Add(s, order().Value)
	}
	for _, s := range []string{`-1 - -1 in [json, "a"]`, `r'\' + "\x41"`, `a ? b : c`, `((`, `json[json[0]]`, "\"\xff\"", `9223372036854775807 + 1 > 0`} {
		f.Add(s, []byte(`{"a":[1,{"b":"\u00e9"}]}`))
	}
	f.Fuzz(func(t *testing.T, source string, value []byte) {
		x, err := filter.Compile(source, filter.Options{Now: func() time.Time { return noon }})
		if err != nil {
			e, ok := errors.AsType[*filter.Error](err)
			if !ok || e.Pos < 0 || e.Pos > max(len(source), filter.ExprMax) || e.What == "" {
				t.Fatalf("%q: %#v", source, err)
			}
			_ = e.Error() + e.Caret()
			return
		}
		m := order()
		m.Value = value
		first := x.Eval(m.ForFilter())
		if again := x.Eval(m.ForFilter()); again != first {
			t.Fatalf("%q of %q is %v, then %v", source, value, first, again)
		}
	})
}

// What the JSON scanner finds is what encoding/json finds.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\u00e9"}],"c":-1.5e3,"a":2}`))
	f.Add([]byte(`{"a":{"x":"}"},"c":true}`))
	f.Fuzz(fuzzJSON)
}

const docs = "../../docs/FILTER.md"

// The tables of docs/FILTER.md are those of Reference.
func TestReferenceIsDocumented(t *testing.T) {
	b, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for title, table := range filter.Reference() {
		if !strings.Contains(string(b), "## "+title+"\n\n") || !strings.Contains(string(b), "\n"+table) {
			t.Errorf("docs/FILTER.md has not this table under %s:\n%s", title, table)
		}
	}
}

// Every example of the documentation compiles.
func TestDocumentedExpressionsCompile(t *testing.T) {
	b, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	_, rest, _ := strings.Cut(string(b), "```cel\n")
	for block := range strings.SplitSeq(rest, "```cel\n") {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "//") {
				continue
			}
			if _, err := filter.Compile(line, filter.Options{}); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			n++
		}
	}
	for _, usage := range filter.Usages() {
		if _, err := filter.Compile(usage, filter.Options{}); err != nil {
			t.Errorf("%s: %v", usage, err)
		}
	}
	if n == 0 {
		t.Error("no example was found")
	}
}

func ExampleCompile() {
	f, err := filter.Compile(`json.celsius > 30 && topicMatches("sensors/#")`, filter.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	m := &message.Message{Address: "sensors/dev1", Value: []byte(`{"celsius":31}`)}
	fmt.Println(f.Match(filter.Of(m)))
	// Output: true
}
