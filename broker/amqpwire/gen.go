//go:build ignore

// Gen writes methods.go from methods.tbl: a struct for each method, with its
// encoder and decoder, and the tables that lead from an identifier to them.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"strings"
)

type field struct {
	name string // Go name; "" when reserved
	typ  string
}

type method struct {
	class, name     string
	classID, id     int
	content         bool
	fields          []field
	goName, amqName string
}

func main() {
	log.SetFlags(0)
	methods, err := read("methods.tbl")
	if err != nil {
		log.Fatal(err)
	}
	src, err := format.Source(render(methods))
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("methods.go", src, 0o644); err != nil {
		log.Fatal(err)
	}
}

func read(path string) ([]method, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []method
	var class string
	var classID int
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if words[0] == "class" {
			class = words[1]
			if _, err := fmt.Sscan(words[2], &classID); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n, err)
			}
			continue
		}
		m := method{class: class, classID: classID, name: words[0]}
		if _, err := fmt.Sscan(words[1], &m.id); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		m.goName, m.amqName = goName(class)+goName(m.name), class+"."+m.name
		for _, w := range words[2:] {
			if w == "content" {
				m.content = true
				continue
			}
			name, typ, ok := strings.Cut(w, ":")
			if _, known := goTypes[typ]; !ok || !known {
				return nil, fmt.Errorf("%s:%d: field %q", path, n, w)
			}
			if name != "-" {
				name = goName(name)
			} else {
				name = ""
			}
			m.fields = append(m.fields, field{name, typ})
		}
		out = append(out, m)
	}
	return out, lines.Err()
}

func goName(s string) string {
	var b strings.Builder
	for _, part := range strings.Split(s, "-") {
		if part == "id" {
			b.WriteString("ID")
			continue
		}
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

var goTypes = map[string]string{
	"octet": "uint8", "short": "uint16", "long": "uint32", "longlong": "uint64",
	"shortstr": "string", "longstr": "[]byte", "table": "Table", "bit": "bool",
}

var readers = map[string]string{
	"octet": "r.octet()", "short": "r.short()", "long": "r.long()", "longlong": "r.longlong()",
	"shortstr": "r.shortstr()", "longstr": "r.longstr()", "table": "r.table()",
}

func render(ms []method) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("// Code generated from methods.tbl by gen.go; DO NOT EDIT.\n\npackage amqpwire\n\nimport (\n\"bytes\"\n\"encoding/binary\"\n)\n")
	p("// Method identifiers: the class in the upper 16 bits, the method in the lower.\nconst (")
	for _, m := range ms {
		p("ID%s MethodID = %d<<16 | %d", m.goName, m.classID, m.id)
	}
	p(")\n\n// String returns the method's name in the specification, \"basic.publish\".\nfunc (id MethodID) String() string {\nswitch id {")
	for _, m := range ms {
		p("case ID%s: return %q", m.goName, m.amqName)
	}
	p("}\nreturn unknownName(id)\n}\n")
	p("// HasContent tells whether a content header and body follow the method.\nfunc (id MethodID) HasContent() bool {\nswitch id {")
	var with []string
	for _, m := range ms {
		if m.content {
			with = append(with, "ID"+m.goName)
		}
	}
	p("case %s: return true\n}\nreturn false\n}\n", strings.Join(with, ", "))
	p("// newMethod returns an empty method, or nil for an identifier that is not known.\nfunc newMethod(id MethodID) Method {\nswitch id {")
	for _, m := range ms {
		p("case ID%s: return new(%s)", m.goName, m.goName)
	}
	p("}\nreturn nil\n}\n")
	for _, m := range ms {
		renderMethod(p, m)
	}
	return b.Bytes()
}

func renderMethod(p func(string, ...any), m method) {
	p("// %s is %s.\ntype %s struct {", m.goName, m.amqName, m.goName)
	for _, f := range m.fields {
		if f.name != "" {
			p("%s %s", f.name, goTypes[f.typ])
		}
	}
	p("}\n\nfunc (*%s) ID() MethodID { return ID%s }\n", m.goName, m.goName)

	p("func (m *%s) appendArgs(dst []byte) []byte {", m.goName)
	for i := 0; i < len(m.fields); i++ {
		f := m.fields[i]
		if f.typ == "bit" {
			var bits []string
			for ; i < len(m.fields) && m.fields[i].typ == "bit"; i++ {
				if m.fields[i].name != "" {
					bits = append(bits, fmt.Sprintf("bit(m.%s, %d)", m.fields[i].name, len(bits)))
				} else {
					bits = append(bits, "0")
				}
			}
			i--
			p("dst = append(dst, %s)", strings.Join(bits, "|"))
			continue
		}
		v := "m." + f.name
		if f.name == "" {
			v = map[string]string{"short": "0", "shortstr": `""`, "longstr": "nil"}[f.typ]
		}
		switch f.typ {
		case "octet":
			p("dst = append(dst, %s)", v)
		case "short":
			p("dst = binary.BigEndian.AppendUint16(dst, %s)", v)
		case "long":
			p("dst = binary.BigEndian.AppendUint32(dst, %s)", v)
		case "longlong":
			p("dst = binary.BigEndian.AppendUint64(dst, %s)", v)
		case "shortstr":
			p("dst = appendShort(dst, %s)", v)
		case "longstr":
			p("dst = appendLong(dst, %s)", v)
		case "table":
			p("dst = %s.Append(dst)", v)
		}
	}
	p("return dst\n}\n")

	p("func (m *%s) decodeArgs(r *reader) {", m.goName)
	for i := 0; i < len(m.fields); i++ {
		f := m.fields[i]
		if f.typ == "bit" {
			var lines []string
			for n := 0; i < len(m.fields) && m.fields[i].typ == "bit"; i, n = i+1, n+1 {
				if m.fields[i].name != "" {
					lines = append(lines, fmt.Sprintf("m.%s = bits&%d != 0", m.fields[i].name, 1<<n))
				}
			}
			i--
			if len(lines) == 0 {
				p("r.octet()")
			} else {
				p("bits := r.octet()\n%s", strings.Join(lines, "\n"))
			}
			continue
		}
		if f.name == "" {
			p("%s", readers[f.typ])
			continue
		}
		read := readers[f.typ]
		switch f.typ {
		case "shortstr":
			read = "string(" + read + ")"
		case "longstr":
			read = "bytes.Clone(" + read + ")"
		}
		p("m.%s = %s", f.name, read)
	}
	p("}\n")
}
