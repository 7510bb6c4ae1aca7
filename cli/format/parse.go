package format

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// node is a piece of text as it stands, or a field.
type node struct {
	pos  int
	text string // when verb is 0

	verb     byte
	expr     string // of %(…)
	modifier string // what stands between braces; "" is none
	at       int    // where the modifier begins
	inner    []node // of %h{…}
}

// parse cuts a format into nodes.
func parse(source string) ([]node, error) {
	if len(source) > SourceMax {
		return nil, &Error{Source: source, Pos: SourceMax, What: fmt.Sprintf("a format is at most %d bytes", SourceMax)}
	}
	p := parser{source: source}
	nodes, err := p.nodes(0, false)
	return nodes, err
}

type parser struct {
	source string
	pos    int
}

func (p *parser) fail(pos int, hint, format string, args ...any) error {
	return &Error{Source: p.source, Pos: pos, What: fmt.Sprintf(format, args...), Hint: hint}
}

// nodes reads to the end, or, inside braces, to the brace that closes them.
func (p *parser) nodes(open int, inside bool) ([]node, error) {
	var out []node
	var text []byte
	from := p.pos
	flush := func() {
		if len(text) > 0 {
			out = append(out, node{pos: from, text: string(text)})
			text = nil
		}
		from = p.pos
	}
	for p.pos < len(p.source) {
		switch c := p.source[p.pos]; {
		case c == '}' && inside:
			flush()
			p.pos++
			return out, nil
		case c == '\\':
			b, err := p.escape()
			if err != nil {
				return nil, err
			}
			text = append(text, b)
		case c == '%':
			if p.pos+1 < len(p.source) && strings.IndexByte("%{}", p.source[p.pos+1]) >= 0 {
				text = append(text, p.source[p.pos+1])
				p.pos += 2
				continue
			}
			flush()
			n, err := p.field(inside)
			if err != nil {
				return nil, err
			}
			out = append(out, n)
			from = p.pos
		default:
			text = append(text, c)
			p.pos++
		}
	}
	if inside {
		return nil, p.fail(open, "a brace that is text is %}", "the brace is not closed")
	}
	flush()
	return out, nil
}

// escape reads what stands behind a backslash.
func (p *parser) escape() (byte, error) {
	at := p.pos
	if p.pos += 2; p.pos > len(p.source) {
		return 0, p.fail(at, `a backslash is \\`, "nothing stands behind the backslash")
	}
	switch c := p.source[at+1]; c {
	case 't':
		return '\t', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 'e':
		return 0x1b, nil
	case '0':
		return 0, nil
	case '\\':
		return '\\', nil
	case 'x':
		if p.pos+2 <= len(p.source) {
			if n, err := strconv.ParseUint(p.source[p.pos:p.pos+2], 16, 8); err == nil {
				p.pos += 2
				return byte(n), nil
			}
		}
		return 0, p.fail(at, "", `\x wants two hexadecimal digits`)
	}
	r, _ := utf8.DecodeRuneInString(p.source[at+1:])
	return 0, p.fail(at, `there are \t \n \r \e \0 \\ \xNN`, `\%c is no escape`, r)
}

// field reads a field, whose % is next.
func (p *parser) field(inside bool) (node, error) {
	n := node{pos: p.pos}
	if p.pos++; p.pos == len(p.source) {
		return n, p.fail(n.pos, "a % that is text is %%", "nothing stands behind the %%")
	}
	n.verb = p.source[p.pos]
	p.pos++
	v := verbOf(n.verb)
	switch {
	case n.verb == '(':
		end := closing(p.source, p.pos)
		if end < 0 {
			return n, p.fail(n.pos, "", "the parenthesis is not closed")
		}
		n.expr = p.source[p.pos:end]
		p.pos = end + 1
	case v == nil:
		r, _ := utf8.DecodeRuneInString(p.source[p.pos-1:])
		if why, ok := otherVerbs[n.verb]; ok {
			return n, p.fail(n.pos, "", "%%%c is %s, which is not known here", r, why)
		}
		return n, p.fail(n.pos, "there are "+verbList()+"; a % that is text is %%", "%%%c is no field", r)
	case inside && !v.inHeader:
		return n, p.fail(n.pos, "there are %k %v %K %V %i", "%%%c is no field of a header", n.verb)
	}
	if n.verb == 'h' {
		open := p.pos
		if p.pos == len(p.source) || p.source[p.pos] != '{' {
			return n, p.fail(n.pos, "such as %h{%k=%v }", "%%h wants a format for each header, in braces")
		}
		p.pos++
		var err error
		n.inner, err = p.nodes(open, true)
		return n, err
	}
	if p.pos < len(p.source) && p.source[p.pos] == '{' {
		return n, p.modifier(&n)
	}
	return n, nil
}

// modifier reads what stands in braces behind a field. In it, a name may be followed by
// an argument in brackets, which may hold anything but what closes them.
func (p *parser) modifier(n *node) error {
	open := p.pos
	p.pos++
	n.at = p.pos
	for p.pos < len(p.source) {
		switch c := p.source[p.pos]; c {
		case '}':
			if n.modifier = p.source[n.at:p.pos]; n.modifier == "" {
				return p.fail(open, "a brace that is text is %{", "nothing stands in the braces")
			}
			p.pos++
			return nil
		case '[', '(', '{', '#':
			end := brackets(p.source[p.pos:])
			if end < 0 {
				return p.fail(p.pos, "", "the bracket is not closed")
			}
			p.pos += end
		default:
			p.pos++
		}
	}
	return p.fail(open, "a brace that is text is %{", "the brace is not closed")
}

// brackets returns the length of an argument with its brackets: "[x]", "[[x]]", "##x##".
func brackets(s string) int {
	n := 1
	for n < len(s) && s[n] == s[0] {
		n++
	}
	shut := strings.Repeat(map[byte]string{'[': "]", '(': ")", '{': "}", '#': "#"}[s[0]], n)
	i := strings.Index(s[n:], shut)
	if i < 0 {
		return -1
	}
	return n + i + n
}

// argument splits a modifier into its name and its argument.
func argument(modifier string) (name, arg string, ok bool) {
	i := strings.IndexAny(modifier, "[({#")
	if i < 0 {
		return modifier, "", false
	}
	rest := modifier[i:]
	if n := brackets(rest); n == len(rest) {
		width := 1
		for rest[width] == rest[0] && 2*(width+1) <= n {
			width++
		}
		return modifier[:i], rest[width : n-width], true
	}
	return modifier, "", false
}

// closing returns the place of the parenthesis that closes an expression which begins at
// from, past parentheses and texts within; -1 when there is none.
func closing(s string, from int) int {
	depth := 0
	for i := from; i < len(s); i++ {
		switch c := s[i]; c {
		case '(':
			depth++
		case ')':
			if depth == 0 {
				return i
			}
			depth--
		case '"', '\'':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		}
	}
	return -1
}
