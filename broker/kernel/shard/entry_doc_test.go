package shard

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// commandRow is a command's line in docs/format/entry.md.
func commandRow(op int) string {
	fields := "none"
	if f := commands[op].fields; f != "" {
		fields = "`" + strings.ReplaceAll(f, " ", "` `") + "`"
	}
	return fmt.Sprintf("| %d | %s | %s |", op, commands[op].name, fields)
}

// docs/format/entry.md has every command, its number and its fields as they are written.
func TestEveryCommandIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/format/entry.md")
	if err != nil {
		t.Fatal(err)
	}
	for op := range commands {
		if commands[op].name == "" {
			continue
		}
		if row := commandRow(op); !strings.Contains(string(doc), row+"\n") {
			t.Errorf("docs/format/entry.md lacks the line\n%s", row)
		}
	}
}
