package format_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/format"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 250e6, time.UTC)

func record() *format.Item {
	partition, offset := int32(3), int64(1200)
	return &format.Item{N: 7, Message: &adminapi.Message{
		Protocol: "kafka", Target: "kafka:orders", Topic: "orders", Partition: &partition, Offset: &offset, Time: noon,
		Key: []byte("k1"), Value: []byte(`{"id": 7, "price": 19.5, "tag": "a b"}`),
		Headers: []adminapi.Header{{Name: "a", Value: []byte("1")}, {Name: "b", Value: []byte{0xff}}, {Name: "none"}},
	}}
}

func TestFormat(t *testing.T) {
	for source, want := range map[string]string{
		`%t %p %o %k\n`:  "orders 3 1200 k1\n",
		`%T %K %V %H %i`: "6 2 38 3 7",
		`%v{json}`:       `{"id":7,"price":19.5,"tag":"a b"}`,
		`%k{json}`:       `"k1"`,
		`%k{hex} %k{base64} %k{base64raw} %k{base64url} %k{text} %k{quote}`: `6b31 azE= azE azE k1 "k1"`,
		`%v{first[5]}`:                  `{"id"`,
		`%h{%k=%v;}`:                    "a=1;b=\xff;none=;",
		`%h{%i:%k=%v{hex} %K%V%}}`:      "1:a=31 11}2:b=ff 11}3:none= 40}",
		`%d`:                            "1769860800250",
		`%d{ms} %d{us} %d{unix}`:        "1769860800250 1769860800250000 1769860800",
		`%d{rfc3339} %d{date} %d{time}`: "2026-01-31T12:00:00.250Z 2026-01-31 12:00:00.250",
		`%d{strftime[%F %H:%M]} %d{go[15.04]} %d{go##Jan 2##}`: "2026-01-31 12:00 12.00 Jan 31",
		`%d{ago}`:                               "59m59.75s",
		`%T{big32}%T{little16}%T{byte}`:         "\x00\x00\x00\x06\x06\x00\x06",
		`%o{hex64} %o{hex8} %o{bool} %p{ascii}`: "00000000000004b0 b0 true 3",
		`%(json.price * 2) %(qos) %(headers["a"]) %(lower("A)"))`: "39  1 a)",
		`%(json.tag){hex}`:             "612062",
		`%% %{ %} \\ \t\r\e\0\x41 } ü`: "% { } \\ \t\r\x1b\x00A } ü",
		`%j`:                           `{"protocol":"kafka","target":"kafka:orders","topic":"orders","partition":3,"offset":1200,"key":"k1","value":"{\"id\": 7, \"price\": 19.5, \"tag\": \"a b\"}","headers":[{"name":"a","value":"1"},{"name":"b","value":"/w==","encoding":"base64"},{"name":"none","value":null}],"time":"2026-01-31T12:00:00.25Z","size":38}`,
	} {
		if !strings.Contains(source, "%t") {
			source = "%t\x00" + source
			want = "orders\x00" + want
		}
		f, err := format.Compile(source, format.Options{Now: func() time.Time { return noon.Add(time.Hour - 250*time.Millisecond) }})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := string(f.Append(nil, record())); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", source, got, want)
		}
	}
}

// What another protocol has not is told, and stands nowhere else.
func TestFormatWithoutFields(t *testing.T) {
	it := &format.Item{N: 1, Message: &adminapi.Message{Protocol: "amqp", RoutingKey: "a.b", Value: []byte{0xff, 0x00}}}
	f, err := format.Compile(`%t|%p|%o|%o{big16}|%k|%v{json}|%v{hex}|%(key)|%(routing_key)`, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(f.Append(nil, it)), "a.b|-|-|\xff\xff||\"/wA=\"|ff00||a.b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	it.Message.Value, it.JSON = nil, []byte(`{"a": 1}`)
	f, _ = format.Compile(`%v|%v{json}|%(json.a)`, format.Options{})
	if got, want := string(f.Append(nil, it)), "|{\"a\":1}|1"; got != want {
		t.Errorf("decoded: got %q, want %q", got, want)
	}
}

func TestUnpack(t *testing.T) {
	it := &format.Item{Message: &adminapi.Message{Value: []byte("\x00\x01\xff\xff\x00\x00\x00\x02\x07\x00rest")}}
	for spec, want := range map[string]string{
		"Hhi<Hs$": "1 -1 2 7 rest", "xB.": "1 \u00ff", "Qb": "562945658454018 7", "qqq": "562945658454018 504491995869737844 [q wants 8 bytes, 0 are left]",
		"H$": "1 [12 bytes are left]", "xxxxxxxxxxs": "rest",
	} {
		f, err := format.Compile("%v{unpack["+spec+"]}", format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		it.Message.Value = it.Message.Value[:14]
		if got := string(f.Append(nil, it)); got != want && spec != "qqq" {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
}

func TestCompileSaysWhatIsWrongAndWhere(t *testing.T) {
	for source, want := range map[string]string{
		`json`:                                  `it shows nothing of a message (column 1); a field begins with %, as in '%t %v\n'`,
		`%t %q`:                                 `%q is no field (column 4); there are %t %k %v`,
		`%e`:                                    `%e is the leader epoch, which is not known here (column 1)`,
		`%t %`:                                  `nothing stands behind the % (column 4); a % that is text is %%`,
		`%v{hxe}`:                               `there is no "hxe" for %v (column 4); did you mean hex?`,
		`%p{hex}`:                               `there is no "hex" for %p (column 4); did you mean hex64?`,
		`%v{`:                                   `the brace is not closed (column 3); a brace that is text is %{`,
		`%v{}`:                                  `nothing stands in the braces (column 3)`,
		`%h`:                                    `%h wants a format for each header, in braces (column 1); such as %h{%k=%v }`,
		`%h{%k`:                                 `the brace is not closed (column 3)`,
		`%h{%t}`:                                `%t is no field of a header (column 4)`,
		`%(json.a`:                              `the parenthesis is not closed (column 1)`,
		`%t %(jsn.a)`:                           `there is no jsn (column 6); did you mean json?`,
		`%(headers)`:                            `all headers is not one value (column 3)`,
		`%t\q`:                                  `\q is no escape (column 3); there are \t \n \r \e \0 \\ \xNN`,
		`%t\x4`:                                 `\x wants two hexadecimal digits (column 3)`,
		`%t\`:                                   `nothing stands behind the backslash (column 3)`,
		`%v{unpack[Hz]}`:                        `unpack has no 'z'`,
		`%v{unpack[sH]}`:                        `behind 's' there is nothing left to unpack`,
		`%d{strftime[%F}`:                       `the bracket is not closed (column 12)`,
		`%d{strftime}`:                          `there is no "strftime" for %d (column 4); strftime wants brackets`,
		"ü%t\n%q":                               `%q is no field (column 1)`,
		`%j{hex}`:                               `%j has no modifier`,
		strings.Repeat("x", format.SourceMax+1): `a format is at most 8192 bytes`,
	} {
		_, err := format.Compile(source, format.Options{})
		e, ok := errors.AsType[*format.Error](err)
		if !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%.40s: %v\nwant %s", source, err, want)
		}
	}
}

func TestReader(t *testing.T) {
	type want struct{ key, value string }
	for _, tt := range []struct {
		format, in string
		want       []want
		fails      string
	}{
		{`%v\n`, "a\nb\n", []want{{"", "a"}, {"", "b"}}, ""},
		{`%v\n`, "a\nb", []want{{"", "a"}, {"", "b"}}, ""},
		{`%v\n`, "\n\n", []want{{"", ""}, {"", ""}}, ""},
		{`%k %v\n`, "k1 a b\nk2 c\n", []want{{"k1", "a b"}, {"k2", "c"}}, ""},
		{`%k\t%v{hex};`, "k\t6162;l\tff;", []want{{"k", "ab"}, {"l", "\xff"}}, ""},
		{`%k=%v{base64}\n`, "k=YWI=\n", []want{{"k", "ab"}}, ""},
		{`%K{big16}%V{byte}%k%v`, "\x00\x02\x01abc\x00\x00\x01x", []want{{"ab", "c"}, {"", "x"}}, ""},
		{`%K %V %k %v\n`, "1 3 a b\nc\n", []want{{"a", "b\nc"}}, ""},
		{`%k{1}%v{2}`, "abcdef", []want{{"a", "bc"}, {"d", "ef"}}, ""},
		{`%v{json}\n`, "{\"a\":1}\n", []want{{"", `{"a":1}`}}, ""},
		{`%j\n`, `{"key":"k","value":"v"}` + "\n", []want{{"k", "v"}}, ""},
		{`%v--\n`, "a-b-\n--\n", []want{{"", "a-b-\n"}}, ""},
		{`%v`, "all\nof it", []want{{"", "all\nof it"}}, ""},

		{`%k %v\n`, "k1 a\nk2\n", []want{{"k1", "a"}}, `message 2 is not as "%k %v\\n" says: the input ends within it`},
		{`%v{hex}\n`, "zz\n", nil, "invalid byte"},
		{`%V %v`, "x", nil, "a number is expected"},
		{`%V %v`, "5 abc", nil, "the input ends within it"},
		{`%V{big64}%v`, "\x7f\xff\xff\xff\xff\xff\xff\xffx", nil, "and at most"},
		{`%v{json}\n`, "{\n", nil, "is no JSON"},
		{`%v{0}`, "abc", nil, "reads nothing"},
		{`%v{0}`, "", nil, ""},
		{`<%v>`, "<a>b", []want{{"", "a"}}, `"<" is expected, not "b"`},
	} {
		r, err := format.NewReader(tt.format, strings.NewReader(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.format, err)
			continue
		}
		var got []want
		var m *adminapi.Message
		for m, err = r.Next(); err == nil; m, err = r.Next() {
			got = append(got, want{string(m.Key), string(m.Value)})
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s of %q: %q %v, want %q", tt.format, tt.in, got, err, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s of %q: %q, want %q", tt.format, tt.in, got[i], tt.want[i])
			}
		}
		if tt.fails == "" && err != io.EOF || tt.fails != "" && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s of %q: %v", tt.format, tt.in, err)
		}
	}
	r, err := format.NewReader(`%p %d{rfc3339} %H %h{%k=%v;}%v\n`, strings.NewReader("2 2026-01-31T12:00:00.25Z 2 a=1;b=2;x\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Next()
	if err != nil || *m.Partition != 2 || !m.Time.Equal(noon) || len(m.Headers) != 2 || m.Headers[1].Name != "b" || string(m.Headers[1].Value) != "2" || string(m.Value) != "x" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestNewReaderSaysWhatIsWrongAndWhere(t *testing.T) {
	for source, want := range map[string]string{
		`%k%v\n`:      "where %k ends cannot be told (column 1)",
		`%t %v\n`:     "%t is not read (column 1)",
		`%h{%k=%v}`:   "how many headers there are must stand before them",
		`x`:           "it reads nothing",
		`%v{quote}\n`: `there is no "quote" for %v`,
		`%(json.a)\n`: "%(…) is not read",
	} {
		_, err := format.NewReader(source, strings.NewReader(""))
		if e, ok := errors.AsType[*format.Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}

func TestJQ(t *testing.T) {
	data, err := format.Data(record())
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`.topic`: "orders\n", `.json.price * 2`: "39\n", `.headers[].name`: "a\nb\nnone\n", `{o: .offset, p: .partition}`: "{\"o\":1200,\"p\":3}\n",
		`select(.json.id > 7)`: "", `.json`: "{\"id\":7,\"price\":19.5,\"tag\":\"a b\"}\n", `.value | fromjson | .id`: "7\n",
	} {
		q, err := format.CompileJQ(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := q.Append(t.Context(), nil, data); err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", source, got, err, want)
		}
	}
	for source, want := range map[string]string{
		`.a | `: "the expression ends too early (column 6)", `.a ] b`: `"]" is not expected (column 4)`, `.a | nope`: "function not defined: nope/0 (column 6)",
		`env.HOME | $x`: "variable not defined: $x (column 12)",
	} {
		_, err := format.CompileJQ(source)
		if e, ok := errors.AsType[*format.Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
	q, err := format.CompileJQ(`.topic + 1`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Append(t.Context(), nil, data); err == nil || !strings.HasPrefix(err.Error(), "jq: cannot add") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if q, err = format.CompileJQ(`repeat(1)`); err != nil {
		t.Fatal(err)
	}
	if err := q.Run(ctx, nil, func(any) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("who runs for ever is not stopped: %v", err)
	}
}

func TestJQSeesNoEnvironment(t *testing.T) {
	t.Setenv("SECRET", "x")
	q, err := format.CompileJQ(`env | length`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := q.Append(t.Context(), nil, nil); err != nil || string(got) != "0\n" {
		t.Errorf("%s %v", got, err)
	}
}

func TestTemplate(t *testing.T) {
	data, err := format.Data(record())
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`{{.topic}} {{.json.price}}`: "orders 19.5\n", "{{.offset}}\n": "1200\n", `{{range .headers}}{{.name}} {{end}}`: "a b none \n",
		`{{json .json.tag}} {{upper .key}} {{hex .key}} {{time "15:04" .time}}`: "\"a b\" K1 6b31 12:00\n", `{{if false}}x{{end}}`: "",
	} {
		tm, err := format.CompileTemplate(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := tm.Append(nil, data); err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", source, got, err, want)
		}
	}
	for source, want := range map[string]string{`{{.a`: "unclosed action (column 1)", "x\ny {{nope}}": `function "nope" not defined (column 3)`, `{{end}}`: "unexpected {{end}} (column 1)"} {
		_, err := format.CompileTemplate(source)
		if e, ok := errors.AsType[*format.Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
	tm, err := format.CompileTemplate(`{{range $i := .headers}}{{index $i 5}}{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tm.Append(nil, data); err == nil || !strings.HasPrefix(err.Error(), "template: ") {
		t.Errorf("%v", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`%t %p %o %k %v\n`, `%h{%k=%v{hex};}`, `%d{strftime[%F]}`, `%(json.a){base64}`, `%v{unpack[<iqs$]}`, `\x4`, `%T{big8}`, `%K%V%k%v`, `%(`, `%{%}`} {
		f.Add(s, "k v\n")
	}
	f.Fuzz(func(t *testing.T, source, in string) {
		x, err := format.Compile(source, format.Options{Now: func() time.Time { return noon }})
		if err != nil {
			e, ok := errors.AsType[*format.Error](err)
			if !ok || e.Pos < 0 || e.What == "" {
				t.Fatalf("%q: %#v", source, err)
			}
			_ = e.Error() + e.Caret()
		} else {
			it := record()
			it.Message.Value = []byte(in)
			first := string(x.Append(nil, it))
			if again := string(x.Append(nil, it)); again != first {
				t.Fatalf("%q: %q, then %q", source, first, again)
			}
		}
		r, err := format.NewReader(source, strings.NewReader(in))
		if err != nil {
			return
		}
		for range 1000 {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
}

// What a format with lengths writes, the same format reads back.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("k"), []byte("v\n"), []byte("h"))
	f.Fuzz(func(t *testing.T, key, value, header []byte) {
		const exact = `%K{big32}%V{big64}%H{byte}%k%h{%K{big32}%V{big32}%k%v}%v`
		x, err := format.Compile(exact, format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		it := &format.Item{Message: &adminapi.Message{Key: key, Value: value, Headers: []adminapi.Header{{Name: "n", Value: header}}}}
		r, err := format.NewReader(exact, strings.NewReader(string(x.Append(nil, it))))
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Next()
		if err != nil || string(m.Key) != string(key) || string(m.Value) != string(value) || len(m.Headers) != 1 || string(m.Headers[0].Value) != string(header) {
			t.Fatalf("%+v %v", m, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("behind it: %v", err)
		}
	})
}

const docs = "../../docs/FORMAT.md"

func TestReferenceIsDocumented(t *testing.T) {
	b, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for title, table := range format.Reference() {
		if !strings.Contains(string(b), "## "+title+"\n") || !strings.Contains(string(b), "\n"+table) {
			t.Errorf("docs/FORMAT.md has not this table under %s:\n%s", title, table)
		}
	}
}
