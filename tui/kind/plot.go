package kind

import (
	"math"
	"strings"
	"time"
)

// Point is a number at a time.
type Point struct {
	At    time.Time
	Value float64
}

// braille is a canvas of dots, two wide and four high in each cell.
type braille struct {
	w, h  int // cells
	cells []byte
}

// dots are the bits of a cell, by column and row.
var dots = [2][4]byte{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

func (b *braille) set(x, y int) {
	if x >= 0 && y >= 0 && x < 2*b.w && y < 4*b.h {
		b.cells[y/4*b.w+x/2] |= dots[x%2][y%4]
	}
}

// line sets the dots of a straight line (Bresenham's).
func (b *braille) line(x0, y0, x1, y1 int) {
	dx, dy := abs(x1-x0), -abs(y1-y0)
	sx, sy := sign(x1-x0), sign(y1-y0)
	for e := dx + dy; ; {
		b.set(x0, y0)
		if x0 == x1 && y0 == y1 {
			return
		}
		twice := 2 * e
		if twice >= dy {
			e += dy
			x0 += sx
		}
		if twice <= dx {
			e += dx
			y0 += sy
		}
	}
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func (b *braille) rows() []string {
	out := make([]string, b.h)
	for y := range out {
		var s strings.Builder
		for x := range b.w {
			if c := b.cells[y*b.w+x]; c == 0 {
				s.WriteByte(' ')
			} else {
				s.WriteRune(0x2800 + rune(c))
			}
		}
		out[y] = s.String()
	}
	return out
}

// Range is the least and the greatest of points.
func Range(points []Point) (least, most float64) {
	least, most = math.Inf(1), math.Inf(-1)
	for _, p := range points {
		least, most = min(least, p.Value), max(most, p.Value)
	}
	return least, most
}

// Plot draws points, in the order of their times, as a line of dots on width by height cells: the first
// at the left, the least at the bottom.
func Plot(points []Point, width, height int) []string {
	if width <= 0 || height <= 0 {
		return nil
	}
	b := braille{width, height, make([]byte, width*height)}
	if len(points) == 0 {
		return b.rows()
	}
	least, most := Range(points)
	from, over := points[0].At, points[len(points)-1].At.Sub(points[0].At)
	at := func(p Point) (x, y int) {
		x, y = 2*width-1, 2*height // alone at the end, or level in the middle
		if over > 0 {
			x = int(math.Round(float64(p.At.Sub(from)) / float64(over) * float64(2*width-1)))
		}
		if most > least {
			y = int(math.Round((most/2 - p.Value/2) / (most/2 - least/2) * float64(4*height-1))) // halves do not overflow
		}
		return x, y
	}
	x0, y0 := at(points[0])
	for _, p := range points {
		x1, y1 := at(p)
		b.line(x0, y0, x1, y1)
		x0, y0 = x1, y1
	}
	return b.rows()
}
