package filter

import "strings"

// Reference is what docs/FILTER.md says of names and functions: a section by its title.
func Reference() map[string]string {
	var f, p, fn strings.Builder
	f.WriteString("| name | type | |\n|---|---|---|\n")
	for _, row := range fields {
		f.WriteString("| `" + row.name + "` | " + row.typ.plain() + " | " + row.text + " |\n")
	}
	p.WriteString("| name | |\n|---|---|\n")
	for _, row := range properties {
		p.WriteString("| `" + row.name + "` | `properties[\"" + row.standard + "\"]` |\n")
	}
	fn.WriteString("| function | result | example | |\n|---|---|---|---|\n")
	for _, row := range functions {
		fn.WriteString("| `" + row.name + "` | " + row.result.plain() + " | `" + strings.ReplaceAll(row.usage, "|", `\|`) + "` | " + row.text + " |\n")
	}
	return map[string]string{"Fields": f.String(), "Properties": p.String(), "Functions": fn.String()}
}

// plain is the name of a type in a table.
func (t typ) plain() string {
	switch t {
	case typeBool:
		return "bool"
	case typeInt:
		return "int"
	case typeDouble:
		return "double"
	case typeTime:
		return "time"
	case typeDuration:
		return "duration"
	}
	return t.String()
}

// Names lists the names and functions of the language, for completion.
func Names() []string { return names() }

// Usages lists an example of each function.
func Usages() []string {
	var out []string
	for _, f := range functions {
		out = append(out, f.usage)
	}
	return out
}
