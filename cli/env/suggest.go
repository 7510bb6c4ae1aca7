package env

import "github.com/robustmq/rmq/broker/grammar"

// Closest returns the candidate that a misspelled word most likely meant; "" when none is
// near.
func Closest(word string, candidates []string) string { return grammar.Closest(word, candidates) }
