package meta

import (
	"fmt"
	"testing"
)

// A command that lacks what it is about, as one that was damaged may, is told and not applied.
func TestEntriesThatLackSomething(t *testing.T) {
	for op := Op(0); op <= DeleteItems+1; op++ {
		_, _, c, err := ParseEntry(AppendEntry(nil, 1, 1, fmt.Appendf(nil, `{"op":%d,"n":3}`, op)))
		if err == nil {
			new(State).Apply(&c) // and those that lack nothing are applied
		}
	}
	if _, _, _, err := ParseEntry(AppendEntry(nil, 1, 1, fmt.Appendf(nil, `{"op":%d}`, CreateQueue))); err == nil {
		t.Error("a queue without a name was taken")
	}
}
