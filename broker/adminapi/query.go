package adminapi

import (
	"slices"
	"strings"
)

// Select sorts items by name and returns those that q asks for: what a Source does
// with a list it has in memory. It keeps items' backing array.
func Select[T any](items []T, name func(T) string, q Query) []T {
	items = slices.DeleteFunc(items, func(t T) bool {
		n := name(t)
		return !strings.HasPrefix(n, q.Prefix) || (q.After != "" && n <= q.After)
	})
	slices.SortStableFunc(items, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	limit := q.Limit
	if limit == 0 {
		limit = ListDefault
	}
	if len(items) > limit {
		items = items[:limit]
	}
	return items
}
