package kind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Branch is a value within a structured one.
type Branch struct {
	Name string // of a member; "" elsewhere
	Path string // ".pos.lat", ".tags[0]"; "." is the whole
	Kids []*Branch
	Open string // "{" or "[": it has kids, or could have
	Text string // as JSON, of one that cannot
}

// Number is the number that a node is.
func (n *Branch) Number() (float64, bool) {
	if n.Open != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(n.Text, 64)
	return f, err == nil
}

// MessageTree is the tree of a message's value, if that is, or was decoded to, an object or a list.
func MessageTree(m *adminapi.Message, l Look) (*Branch, bool) {
	value, _, _ := l.Value(m)
	return Tree(value)
}

// Tree reads JSON that is an object or a list; false: it is none, or more than is looked at.
// The order of members is kept.
func Tree(value []byte) (*Branch, bool) {
	trimmed := bytes.TrimLeft(value, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' || len(trimmed) > prettyMax || depth(trimmed) > depthMax || !json.Valid(trimmed) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(trimmed))
	dec.UseNumber()
	n, err := readNode(dec, "", ".")
	return n, err == nil
}

func readNode(dec *json.Decoder, name, path string) (*Branch, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	n := &Branch{Name: name, Path: path}
	d, ok := tok.(json.Delim)
	if !ok {
		text, err := json.Marshal(tok)
		n.Text = string(text)
		return n, err
	}
	n.Open = d.String()
	for i := 0; dec.More(); i++ {
		member, below := "", fmt.Sprintf("%s[%d]", strings.TrimSuffix(path, "."), i)
		if d == '{' {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			member = key.(string) // of an object it always is
			below = strings.TrimSuffix(path, ".") + step(member)
		} else if path == "." {
			below = fmt.Sprintf(".[%d]", i)
		}
		kid, err := readNode(dec, member, below)
		if err != nil {
			return nil, err
		}
		n.Kids = append(n.Kids, kid)
	}
	_, err = dec.Token()
	return n, err
}

// step writes a member's name as a step of a path.
func step(name string) string {
	for i, r := range name {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			quoted, _ := json.Marshal(name) // of a string there is no error
			return "[" + string(quoted) + "]"
		}
	}
	if name == "" {
		return `[""]`
	}
	return "." + name
}

// TreeLine is a line of a tree as it is shown, with the branch that begins on it; nil: one ends there.
type TreeLine struct {
	Line   Line
	Branch *Branch
}

// Lines writes a tree; nodes whose paths are closed take one line.
func (n *Branch) Lines(closed map[string]bool) (out []TreeLine) {
	n.lines(&out, closed, 0, "")
	return out
}

func (n *Branch) lines(out *[]TreeLine, closed map[string]bool, deep int, comma string) {
	l := Line{{Text: strings.Repeat("  ", deep)}}
	if n.Name != "" {
		name, _ := json.Marshal(n.Name)
		l = append(l, Cell{Clean(string(name)), Name}, Cell{Text: ": "})
	}
	end := "}"
	if n.Open == "[" {
		end = "]"
	}
	switch {
	case n.Open == "":
		tone := Num
		if strings.HasPrefix(n.Text, `"`) {
			tone = Text
		}
		*out = append(*out, TreeLine{append(l, Cell{Clean(n.Text), tone}, Cell{Text: comma}), n})
	case len(n.Kids) == 0:
		*out = append(*out, TreeLine{append(l, Cell{Text: n.Open + end + comma}), n})
	case closed[n.Path]:
		*out = append(*out, TreeLine{append(l, Cell{Text: n.Open}, Cell{fmt.Sprintf(" %d more ", len(n.Kids)), Faint}, Cell{Text: end + comma}), n})
	default:
		*out = append(*out, TreeLine{append(l, Cell{Text: n.Open}), n})
		for i, kid := range n.Kids {
			c := ","
			if i == len(n.Kids)-1 {
				c = ""
			}
			kid.lines(out, closed, deep+1, c)
		}
		*out = append(*out, TreeLine{Line: Line{{Text: strings.Repeat("  ", deep) + end + comma}}})
	}
}

// Leaves calls f for every node that has nothing in it, in order.
func (n *Branch) Leaves(f func(*Branch)) {
	if len(n.Kids) == 0 {
		f(n)
	}
	for _, kid := range n.Kids {
		kid.Leaves(f)
	}
}

// Path is a way to a value within a structured one.
type Path struct {
	Source string
	steps  []any // string: a member; int: an index
}

// ParsePath reads .pos.lat, .tags[0], ["odd name"] and, for the whole value, a dot. "value." may stand
// before it, as in filters.
func ParsePath(src string) (Path, error) {
	rest := strings.TrimSpace(src)
	if r, ok := strings.CutPrefix(rest, "value"); ok && (r == "" || r[0] == '.' || r[0] == '[') {
		rest = r
	}
	if rest != "" && rest[0] != '.' && rest[0] != '[' {
		rest = "." + rest
	}
	p := Path{}
	whole := rest
	for rest != "" && rest != "." {
		rest = strings.TrimPrefix(rest, ".")
		if !strings.HasPrefix(rest, "[") {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return p, fmt.Errorf("%q is no path; .temp and .tags[0] are", src)
			}
			p.steps, rest = append(p.steps, rest[:end]), rest[end:]
			continue
		}
		var at any
		dec := json.NewDecoder(strings.NewReader(rest[1:]))
		if err := dec.Decode(&at); err != nil {
			return p, fmt.Errorf("%q is no path; .temp and .tags[0] are", src)
		}
		rest = rest[1+int(dec.InputOffset()):]
		after, ok := strings.CutPrefix(rest, "]")
		if !ok {
			return p, fmt.Errorf("%q: a ] is missing", src)
		}
		rest = after
		switch at := at.(type) {
		case string:
			p.steps = append(p.steps, at)
		case float64:
			p.steps = append(p.steps, int(at))
		default:
			return p, fmt.Errorf("%q: [ and ] have a number or a name in quotes between them", src)
		}
	}
	if p.Source = whole; len(p.steps) == 0 {
		p.Source = "."
	}
	return p, nil
}

// Number is the number at the path in a value that is JSON.
func (p *Path) Number(value []byte) (float64, bool) {
	var at any
	if len(value) > prettyMax || json.Unmarshal(value, &at) != nil {
		return 0, false
	}
	for _, s := range p.steps {
		switch in := at.(type) {
		case map[string]any:
			name, ok := s.(string)
			if !ok {
				return 0, false
			}
			at = in[name]
		case []any:
			i, ok := s.(int)
			if !ok || i < 0 || i >= len(in) {
				return 0, false
			}
			at = in[i]
		default:
			return 0, false
		}
	}
	f, ok := at.(float64)
	return f, ok
}
