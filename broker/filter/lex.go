package filter

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenInt
	tokenDouble
	tokenText
	tokenOperator
)

type token struct {
	kind tokenKind
	pos  int
	text string // a name, an operator, or what a text says
	n    int64
	f    float64
}

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenText:
		return strconv.Quote(t.text)
	case tokenInt:
		return strconv.FormatInt(t.n, 10)
	case tokenDouble:
		return strconv.FormatFloat(t.f, 'g', -1, 64)
	}
	return t.text
}

// operators, the longer before those that begin alike.
var operators = []string{"&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]"}

// lex cuts an expression into tokens, the last of which is tokenEnd.
func lex(src string) ([]token, error) {
	if len(src) > ExprMax {
		return nil, &Error{Source: src, Pos: ExprMax, What: fmt.Sprintf("an expression is at most %d bytes", ExprMax)}
	}
	var out []token
	for i := 0; ; {
		for i < len(src) && strings.IndexByte(" \t\r\n", src[i]) >= 0 {
			i++
		}
		if i == len(src) {
			return append(out, token{kind: tokenEnd, pos: i}), nil
		}
		t, next, err := lexOne(src, i)
		if err != nil {
			return nil, err
		}
		out, i = append(out, t), next
	}
}

func lexOne(src string, i int) (t token, next int, err error) {
	c := src[i]
	switch {
	case c == '"' || c == '\'':
		return lexText(src, i, i, false)
	case (c == 'r' || c == 'R') && i+1 < len(src) && (src[i+1] == '"' || src[i+1] == '\''):
		return lexText(src, i, i+1, true)
	case isLetter(c):
		j := i
		for j < len(src) && (isLetter(src[j]) || isDigit(src[j])) {
			j++
		}
		return token{kind: tokenName, pos: i, text: src[i:j]}, j, nil
	case isDigit(c):
		return lexNumber(src, i)
	}
	for _, op := range operators {
		if strings.HasPrefix(src[i:], op) {
			return token{kind: tokenOperator, pos: i, text: op}, i + len(op), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(src[i:])
	e := &Error{Source: src, Pos: i, What: fmt.Sprintf("%q means nothing here", r)}
	switch c {
	case '=':
		e.Hint = "equal is =="
	case '&':
		e.Hint = "and is &&"
	case '|':
		e.Hint = "or is ||"
	}
	return token{}, 0, e
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

func lexNumber(src string, i int) (token, int, error) {
	j := i
	if strings.HasPrefix(src[i:], "0x") || strings.HasPrefix(src[i:], "0X") {
		for j += 2; j < len(src) && (isDigit(src[j]) || isLetter(src[j])); j++ {
		}
		n, err := strconv.ParseInt(src[i+2:j], 16, 64)
		if err != nil {
			return token{}, 0, &Error{Source: src, Pos: i, What: src[i:j] + " is not a number of 64 bits"}
		}
		return token{kind: tokenInt, pos: i, n: n}, j, nil
	}
	double := false
	for j < len(src) {
		switch c := src[j]; {
		case isDigit(c):
		case c == '.' && j+1 < len(src) && isDigit(src[j+1]) && !double:
			double = true
		case (c == 'e' || c == 'E') && exponent(src[j+1:]):
			double = true
			if !isDigit(src[j+1]) {
				j++
			}
		default:
			goto done
		}
		j++
	}
done:
	if j < len(src) && isLetter(src[j]) {
		for k := j; ; k++ {
			if k == len(src) || !isLetter(src[k]) && !isDigit(src[k]) {
				return token{}, 0, &Error{Source: src, Pos: i, What: src[i:k] + " is not a number", Hint: fmt.Sprintf("a duration is duration(%q), a text %q", src[i:k], src[i:k])}
			}
		}
	}
	if double {
		f, err := strconv.ParseFloat(src[i:j], 64)
		if err != nil {
			return token{}, 0, &Error{Source: src, Pos: i, What: src[i:j] + " is not a number of 64 bits"}
		}
		return token{kind: tokenDouble, pos: i, f: f}, j, nil
	}
	n, err := strconv.ParseInt(src[i:j], 10, 64)
	if err != nil {
		return token{}, 0, &Error{Source: src, Pos: i, What: src[i:j] + " is not a number of 64 bits"}
	}
	return token{kind: tokenInt, pos: i, n: n}, j, nil
}

// exponent tells whether s goes on as the exponent of a number.
func exponent(s string) bool {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && isDigit(s[0])
}

// lexText reads a text whose quote is at q. raw takes backslashes as they are.
func lexText(src string, start, q int, raw bool) (token, int, error) {
	fail := func(pos int, what string) (token, int, error) {
		return token{}, 0, &Error{Source: src, Pos: pos, What: what}
	}
	var b []byte
	for i := q + 1; i < len(src); i++ {
		switch c := src[i]; {
		case c == src[q]:
			return token{kind: tokenText, pos: start, text: string(b)}, i + 1, nil
		case c == '\\' && !raw:
			if i+1 == len(src) {
				return fail(start, "the text has no end")
			}
			i++
			switch e := src[i]; e {
			case '\\', '"', '\'', '`', '?', '/':
				b = append(b, e)
			case 'n':
				b = append(b, '\n')
			case 'r':
				b = append(b, '\r')
			case 't':
				b = append(b, '\t')
			case 'a', 'b', 'f', 'v':
				b = append(b, map[byte]byte{'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v'}[e])
			case 'x', 'u', 'U':
				digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[e]
				if i+digits >= len(src) {
					return fail(i-1, fmt.Sprintf("\\%c wants %d hexadecimal digits", e, digits))
				}
				n, err := strconv.ParseUint(src[i+1:i+1+digits], 16, 32)
				if err != nil || e != 'x' && !utf8.ValidRune(rune(n)) {
					return fail(i-1, fmt.Sprintf("\\%c wants %d hexadecimal digits of a character", e, digits))
				}
				if e == 'x' {
					b = append(b, byte(n))
				} else {
					b = utf8.AppendRune(b, rune(n))
				}
				i += digits
			default:
				return token{}, 0, &Error{Source: src, Pos: i - 1, What: fmt.Sprintf("\\%c is no escape", e), Hint: `a backslash is \\; r"…" takes them as they are`}
			}
		default:
			b = append(b, c)
		}
	}
	return fail(start, "the text has no end")
}
