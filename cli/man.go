package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manPage is a command as a page of the manual, in the macros of man(7).
func manPage(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" rmq \"rmq manual\"\n.ad l\n.nh\n", roff(strings.ToUpper(manName(c))))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(c)), roff(c.Short))
	if c.Runnable() {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	}
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	b.WriteString(".SH DESCRIPTION\n")
	manProse(&b, long)
	if subs := visible(c); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, s := range subs {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(manName(s)), roff(s.Short))
		}
	}
	manFlags(&b, c.NonInheritedFlags())
	if c.HasParent() && c.Runnable() {
		b.WriteString(".PP\nThe options of every command are in\n.BR rmq (1).\n")
	}
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n.EX\n")
		for line := range strings.SplitSeq(unindent(c.Example), "\n") {
			b.WriteString(roff(line) + "\n")
		}
		b.WriteString(".EE\n")
	}
	if c.Runnable() {
		b.WriteString(".SH EXIT STATUS\n0 when it is done; the others are in\n.BR rmq\\-exit\\-codes (1).\n")
	}
	if c.HasParent() {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(manName(c.Parent())))
	}
	return b.String()
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manProse writes paragraphs, and what is indented as it stands.
func manProse(b *strings.Builder, s string) {
	code := false
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		switch indented := strings.HasPrefix(line, "  "); {
		case line == "" && !code:
			b.WriteString(".PP\n")
			continue
		case line == "":
			b.WriteString("\n")
			continue
		case indented && !code:
			b.WriteString(".RS 4\n.EX\n")
			code = true
		case !indented && code:
			b.WriteString(".EE\n.RE\n.PP\n")
			code = false
		}
		b.WriteString(roff(strings.TrimPrefix(line, "  ")) + "\n")
	}
	if code {
		b.WriteString(".EE\n.RE\n")
	}
}

func manFlags(b *strings.Builder, fs *pflag.FlagSet) {
	rows := flagRows(fs)
	if len(rows) == 0 {
		return
	}
	b.WriteString(".SH OPTIONS\n")
	for _, r := range rows {
		b.WriteString(".TP\n")
		if r.short != "" {
			fmt.Fprintf(b, "\\fB\\-%s\\fP, ", r.short)
		}
		fmt.Fprintf(b, "\\fB\\-\\-%s\\fP", roff(r.name))
		if r.kind != "" {
			fmt.Fprintf(b, " \\fI%s\\fP", roff(r.kind))
		}
		b.WriteString("\n" + roff(r.text) + "\n")
	}
}

// roff writes a line of text so that nothing in it is a request or an escape, and what is typed can be
// copied.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}
