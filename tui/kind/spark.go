package kind

import (
	"math"
	"strings"
)

// blocks fill a cell by eighths.
var blocks = [...]rune{'▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'}

// Spark draws the last width values of a series as columns of block characters, height
// lines high, the top line first. The newest value stands at the right. The tallest
// column is top, or the largest value drawn when top is 0.
//
// A value that is not known (NaN) leaves its column empty; zero is the lowest block; and
// whatever is more than zero is higher than zero.
func Spark(values []float64, width, height int, top float64) []string {
	if width <= 0 || height <= 0 {
		return nil
	}
	if len(values) > width {
		values = values[len(values)-width:]
	}
	if top <= 0 {
		top = Peak(values)
	}
	steps := height * len(blocks)
	lines := make([]string, height)
	for row := range height {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", width-len(values)))
		below := (height - 1 - row) * len(blocks) // steps that are under this line
		for _, v := range values {
			b.WriteRune(block(level(v, top, steps) - below))
		}
		lines[row] = b.String()
	}
	return lines
}

// level is how many eighths a value reaches: none when unknown, one for zero.
func level(v, top float64, steps int) int {
	switch {
	case math.IsNaN(v) || v < 0:
		return 0
	case v == 0 || top <= 0:
		return 1
	}
	return max(2, min(steps, int(math.Ceil(v/top*float64(steps)))))
}

func block(eighths int) rune {
	if eighths <= 0 {
		return ' '
	}
	return blocks[min(eighths, len(blocks))-1]
}

// Peak is the largest value known; 0 when there is none.
func Peak(values []float64) float64 {
	peak := 0.0
	for _, v := range values {
		if v > peak { // NaN is not
			peak = v
		}
	}
	return peak
}
