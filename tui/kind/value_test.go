package kind

import (
	"strings"
	"testing"
)

func text(lines []Line) string {
	var out []string
	for _, l := range lines {
		s := ""
		for _, c := range l {
			s += c.Text
		}
		out = append(out, s)
	}
	return strings.Join(out, "\n")
}

func TestLines(t *testing.T) {
	tests := []struct {
		name, value, contentType string
		form                     Form
		shown, want              string
	}{
		{"object", `{"b":1,"a":[true,null]}`, "", Pretty, "json", "{\n  \"b\": 1,\n  \"a\": [\n    true,\n    null\n  ]\n}"},
		{"numbers as they are", `{"n":1e3,"big":12345678901234567890}`, "", Pretty, "json", "{\n  \"n\": 1e3,\n  \"big\": 12345678901234567890\n}"},
		{"bare number", "21.5", "", Pretty, "text", "21.5"},
		{"broken json", `{"a":`, "application/json", Pretty, "text", `{"a":`},
		{"too deep", strings.Repeat("[", 65) + strings.Repeat("]", 65), "", Pretty, "text", strings.Repeat("[", 65) + strings.Repeat("]", 65)},
		{"lines", "one\r\ntwo\tthree\n", "", Pretty, "text", "one\ntwo    three"},
		{"cut within a letter", "gr\xc3", "", Pretty, "text", `gr\xc3`},
		{"bytes", "\x00\x01AB\xff", "", Pretty, "hex", "00000000  00 01 41 42 ff                                    ..AB."},
		{"said to be bytes", "AB", "application/octet-stream", Pretty, "hex", "00000000  41 42                                             AB"},
		{"json as text", `{"a":1}`, "", AsText, "text", `{"a":1}`},
		{"json as bytes", `{}`, "", AsHex, "hex", "00000000  7b 7d                                             {}"},
		{"escape in text", "a\x1b[31mb", "", AsText, "text", `a\x1b[31mb`},
		{"escape in json", "{\"a\":\"\\u001b\"}", "", Pretty, "json", "{\n  \"a\": \"\\u001b\"\n}"},
	}
	for _, tt := range tests {
		lines, shown := Lines([]byte(tt.value), tt.contentType, tt.form)
		if got := text(lines); got != tt.want || shown != tt.shown {
			t.Errorf("%s: %s\n%q, want %s\n%q", tt.name, shown, got, tt.shown, tt.want)
		}
	}
	if lines, shown := Lines(nil, "", Pretty); text(lines) != "(null)" || shown != "null" {
		t.Errorf("null: %q %s", text(lines), shown)
	}
	if lines, shown := Lines([]byte{}, "", AsHex); text(lines) != "(empty)" || shown != "empty" {
		t.Errorf("empty: %q %s", text(lines), shown)
	}
}

func TestJSONTones(t *testing.T) {
	lines, _ := Lines([]byte(`{"k\"ey":"v: {1}","n":-2.5,"t":true}`), "", Pretty)
	var got []string
	for _, l := range lines {
		for _, c := range l {
			if c.Tone != Plain {
				got = append(got, map[Tone]string{Name: "name", Text: "text", Num: "num"}[c.Tone]+" "+c.Text)
			}
		}
	}
	want := `name "k\"ey"|text "v: {1}"|name "n"|num -2.5|name "t"|num true`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x\u001b"]}`), uint8(0))
	f.Add([]byte("\x1b\xff\n\t"), uint8(1))
	f.Fuzz(func(t *testing.T, value []byte, form uint8) {
		lines, _ := Lines(value, "", Form(form)%Forms)
		for _, l := range lines {
			for _, c := range l {
				if !isClean(c.Text) {
					t.Fatalf("%q is not safe to show", c.Text)
				}
			}
		}
	})
}
