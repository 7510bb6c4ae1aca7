package kind

// Section is a part of what is told of one thing. It has one of Fields, Rows and Lines.
type Section struct {
	Title string
	Note  string // beside the title

	Fields []Field

	Head  []Head // of Rows
	Rows  [][]Cell
	Empty string // said when there are no rows

	Lines []Line // text as it is, to be wrapped
}

// Field is a named property.
type Field struct {
	Name  string
	Value Cell
}

// Head is the heading of a column of rows.
type Head struct {
	Title string
	Right bool
}

// Line is one line of text in pieces.
type Line []Cell

func field(name, value string) Field {
	if value == "" {
		return Field{name, Cell{"-", Faint}}
	}
	return Field{Name: name, Value: Cell{Text: Clean(value)}}
}

func left(titles ...string) []Head {
	var h []Head
	for _, t := range titles {
		h = append(h, Head{Title: t})
	}
	return h
}

func right(titles ...string) []Head {
	var h []Head
	for _, t := range titles {
		h = append(h, Head{Title: t, Right: true})
	}
	return h
}

func plain(texts ...string) []Cell {
	var out []Cell
	for _, t := range texts {
		out = append(out, Cell{Text: Clean(t)})
	}
	return out
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
