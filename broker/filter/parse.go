package filter

import "fmt"

// expr is a node of the tree.
type expr struct {
	kind exprKind
	pos  int    // where an error about it points
	name string // a name, a member, a function, an operator
	args []*expr
	val  Value // of a literal
	of   bool  // a call was written args[0].name(…)
}

type exprKind uint8

const (
	exprLiteral exprKind = iota
	exprName
	exprMember // args[0].name
	exprIndex  // args[0][args[1]]
	exprCall   // name(args…)
	exprUnary
	exprBinary
	exprChoice // args[0] ? args[1] : args[2]
	exprList
)

// parser reads tokens by the strength of operators.
type parser struct {
	src    string
	tokens []token
	depth  int
}

func parse(src string) (*expr, error) {
	tokens, err := lex(src)
	if err != nil {
		return nil, err
	}
	p := &parser{src: src, tokens: tokens}
	if p.peek().kind == tokenEnd {
		return nil, &Error{Source: src, What: "the expression is empty", Hint: `such as: key == "7"`}
	}
	e, err := p.expr()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, p.unexpected(t, "an operator or the end")
	}
	return e, nil
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) take() token {
	t := p.tokens[0]
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

// is tells whether the next token is an operator.
func (p *parser) is(op string) bool { t := p.peek(); return t.kind == tokenOperator && t.text == op }

func (p *parser) accept(op string) bool {
	if p.is(op) {
		p.take()
		return true
	}
	return false
}

func (p *parser) want(op string) error {
	if !p.accept(op) {
		return p.unexpected(p.peek(), op)
	}
	return nil
}

// words are those of other languages, and what they are here.
var words = map[string]string{"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!", "is": "==", "like": "matches", "LIKE": "matches", "IN": "in"}

func (p *parser) unexpected(t token, wanted string) error {
	e := &Error{Source: p.src, Pos: t.pos, What: fmt.Sprintf("%s is expected, not %s", wanted, t)}
	if here := words[t.text]; t.kind == tokenName && here != "" {
		e.Hint = fmt.Sprintf("%s is %s here", t.text, here)
	}
	return e
}

// nest bounds how deep the tree, and so every recursion over it, becomes.
func (p *parser) nest(pos int) error {
	if p.depth++; p.depth > DepthMax {
		return &Error{Source: p.src, Pos: pos, What: fmt.Sprintf("an expression is nested at most %d deep", DepthMax)}
	}
	return nil
}

func (p *parser) expr() (*expr, error) {
	if err := p.nest(p.peek().pos); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	cond, err := p.binary(0)
	if err != nil || !p.is("?") {
		return cond, err
	}
	e := &expr{kind: exprChoice, pos: p.take().pos, args: []*expr{cond, nil, nil}}
	if e.args[1], err = p.expr(); err != nil {
		return nil, err
	}
	if err := p.want(":"); err != nil {
		return nil, err
	}
	e.args[2], err = p.expr()
	return e, err
}

// strengths are the binary operators, the weakest first.
var strengths = [][]string{
	{"||"}, {"&&"}, {"==", "!=", "<=", ">=", "<", ">", "in"}, {"+", "-"}, {"*", "/", "%"},
}

// binary reads operators of a strength and above, from left to right. The tree grows a
// level with each, so each counts as one until the end of the expression.
func (p *parser) binary(strength int) (*expr, error) {
	if strength == len(strengths) {
		return p.unary()
	}
	left, err := p.binary(strength + 1)
	if err != nil {
		return nil, err
	}
	before := p.depth
	defer func() { p.depth = before }()
	for {
		t := p.peek()
		found := false
		for _, op := range strengths[strength] {
			found = found || t.text == op && (t.kind == tokenOperator || t.kind == tokenName && op == "in")
		}
		if !found {
			return left, nil
		}
		if strength > 1 { // "||" and "&&" are made flat: their number is bounded by the length alone
			if err := p.nest(t.pos); err != nil {
				return nil, err
			}
		}
		p.take()
		right, err := p.binary(strength + 1)
		if err != nil {
			return nil, err
		}
		if strength <= 1 && left.kind == exprBinary && left.name == t.text && left.of {
			left.args = append(left.args, right)
			continue
		}
		left = &expr{kind: exprBinary, pos: t.pos, name: t.text, args: []*expr{left, right}, of: strength <= 1}
	}
}

func (p *parser) unary() (*expr, error) {
	t := p.peek()
	if !p.is("!") && !p.is("-") {
		return p.postfix()
	}
	p.take()
	if err := p.nest(t.pos); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if n := p.peek(); t.text == "-" && n.pos == t.pos+1 {
		switch n.kind { // a negative literal; -2^63 is not worth a case
		case tokenInt:
			p.take()
			return &expr{kind: exprLiteral, pos: t.pos, val: Int(-n.n)}, nil
		case tokenDouble:
			p.take()
			return &expr{kind: exprLiteral, pos: t.pos, val: double(-n.f)}, nil
		}
	}
	e, err := p.unary()
	if err != nil {
		return nil, err
	}
	return &expr{kind: exprUnary, pos: t.pos, name: t.text, args: []*expr{e}}, nil
}

// postfix reads members, indexes and calls behind a primary.
func (p *parser) postfix() (*expr, error) {
	e, err := p.primary()
	if err != nil {
		return nil, err
	}
	before := p.depth
	defer func() { p.depth = before }()
	for {
		t := p.peek()
		if !p.is(".") && !p.is("[") {
			return e, nil
		}
		if err := p.nest(t.pos); err != nil {
			return nil, err
		}
		p.take()
		if t.text == "[" {
			index, err := p.expr()
			if err != nil {
				return nil, err
			}
			if err := p.want("]"); err != nil {
				return nil, err
			}
			e = &expr{kind: exprIndex, pos: t.pos, args: []*expr{e, index}}
			continue
		}
		name := p.take()
		if name.kind != tokenName {
			return nil, p.unexpected(name, "a name")
		}
		if !p.accept("(") {
			e = &expr{kind: exprMember, pos: name.pos, name: name.text, args: []*expr{e}}
			continue
		}
		args, err := p.list(")")
		if err != nil {
			return nil, err
		}
		e = &expr{kind: exprCall, pos: name.pos, name: name.text, args: append([]*expr{e}, args...), of: true}
	}
}

func (p *parser) primary() (*expr, error) {
	t := p.take()
	switch t.kind {
	case tokenInt:
		return &expr{pos: t.pos, val: Int(t.n)}, nil
	case tokenDouble:
		return &expr{pos: t.pos, val: double(t.f)}, nil
	case tokenText:
		return &expr{pos: t.pos, val: Text(t.text)}, nil
	case tokenName:
		switch t.text {
		case "true", "false":
			return &expr{pos: t.pos, val: Bool(t.text == "true")}, nil
		case "null":
			return &expr{pos: t.pos, val: Value{kind: kindNull}}, nil
		case "in":
			return nil, p.unexpected(t, "a value")
		}
		if !p.accept("(") {
			return &expr{kind: exprName, pos: t.pos, name: t.text}, nil
		}
		args, err := p.list(")")
		return &expr{kind: exprCall, pos: t.pos, name: t.text, args: args}, err
	case tokenOperator:
		switch t.text {
		case "(":
			e, err := p.expr()
			if err != nil {
				return nil, err
			}
			return e, p.want(")")
		case "[":
			args, err := p.list("]")
			return &expr{kind: exprList, pos: t.pos, args: args}, err
		}
	}
	return nil, p.unexpected(t, "a value")
}

// list reads expressions with commas between them, and what ends them.
func (p *parser) list(end string) ([]*expr, error) {
	var out []*expr
	if p.accept(end) {
		return nil, nil
	}
	for {
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
		if p.accept(end) {
			return out, nil
		}
		if !p.accept(",") {
			return nil, p.unexpected(p.peek(), ", or "+end)
		}
	}
}
