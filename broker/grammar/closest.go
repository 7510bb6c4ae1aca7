package grammar

import "strings"

// Closest returns the candidate that a misspelled word most likely meant: the one
// fewest edits away, at most a third of the word; "" when none is near.
func Closest(word string, candidates []string) string {
	if word == "" {
		return ""
	}
	best, bestCost := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		cost := edits(strings.ToLower(word), strings.ToLower(c))
		if cost > 1 && len(word) > 2 && strings.HasPrefix(strings.ToLower(c), strings.ToLower(word)) {
			cost = 1 // an unfinished word
		}
		if cost < bestCost {
			best, bestCost = c, cost
		}
	}
	return best
}

// wordMax bounds what is compared: edits costs the product of the lengths.
const wordMax = 256

// edits counts insertions, deletions, substitutions and swaps of neighbours between a
// and b.
func edits(a, b string) int {
	if len(a) > wordMax || len(b) > wordMax {
		return wordMax
	}
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
