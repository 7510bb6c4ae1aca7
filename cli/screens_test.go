package cli_test

import (
	"strings"
	"testing"

	"github.com/robustmq/rmq/tui"
)

// Every screen names a command that tells the same without one, and there is that command, with the
// flags that are named.
func TestEveryScreenHasItsCommand(t *testing.T) {
	for _, name := range tui.Screens() {
		words := strings.Fields(strings.ReplaceAll(tui.Headless(name), "'", ""))
		if len(words) < 2 || words[0] != "rmq" {
			t.Errorf("%s: %q is no command", name, tui.Headless(name))
			continue
		}
		root := tree()
		c, rest, err := root.Find(words[1:])
		if err != nil || c == root || !c.Runnable() {
			t.Errorf("%s: there is no command %q: %v", name, tui.Headless(name), err)
			continue
		}
		if err := c.ParseFlags(rest); err != nil {
			t.Errorf("%s: %q: %v", name, tui.Headless(name), err)
			continue
		}
		if err := c.ValidateArgs(c.Flags().Args()); err != nil {
			t.Errorf("%s: %q: %v", name, tui.Headless(name), err)
		}
	}
}
