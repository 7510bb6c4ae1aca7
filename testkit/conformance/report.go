package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Report is what a run came to.
type Report struct {
	Target  string   `json:"target"`
	Seconds float64  `json:"seconds"`
	Results []Result `json:"results"`

	suites []Selection
}

// Count is how many statements have each verdict.
type Count struct {
	Pass   int `json:"pass"`
	Varies int `json:"varies"`
	Fail   int `json:"fail"`
	Skip   int `json:"skip"`
	Unseen int `json:"unseen"`
}

func (c *Count) add(v Verdict) {
	switch v {
	case Pass:
		c.Pass++
	case Varies:
		c.Varies++
	case Fail:
		c.Fail++
	case Skip:
		c.Skip++
	case Unseen:
		c.Unseen++
	}
}

// Section is the count of one section.
type Section struct {
	Suite  string `json:"suite"`
	Number string `json:"number"`
	Title  string `json:"title"`
	Count
}

// Count counts everything.
func (r *Report) Count() (c Count) {
	for _, x := range r.Results {
		c.add(x.Verdict)
	}
	return c
}

// Sections counts by section, in order.
func (r *Report) Sections() []Section {
	var out []Section
	i := 0
	for _, sel := range r.suites {
		for _, s := range sel.Statements {
			number, title := sel.Suite.Group(s)
			if n := len(out); n == 0 || out[n-1].Suite != sel.Suite.Name || out[n-1].Number != number {
				out = append(out, Section{Suite: sel.Suite.Name, Number: number, Title: title})
			}
			out[len(out)-1].add(r.Results[i].Verdict)
			i++
		}
	}
	return out
}

// Failures returns the results that fail; in a strict run those that vary too.
func (r *Report) Failures(strict bool) []Result {
	var out []Result
	for _, x := range r.Results {
		if x.Verdict == Fail || strict && x.Verdict == Varies {
			out = append(out, x)
		}
	}
	return out
}

// Tell writes an outcome for people: what was wanted, what came, and what was said.
func (o Outcome) Tell(b io.Writer, indent string) {
	if o.Verdict == Fail && len(o.Cases) == 0 {
		fmt.Fprintf(b, "%swant  %s\n%sgot   %s\n", indent, o.Want, indent, o.Got)
	}
	if len(o.Cases) == 0 {
		for _, v := range o.Variations {
			fmt.Fprintf(b, "%sadvised  %s\n%sgot      %s\n", indent, v.Want, indent, v.Got)
		}
	}
	for _, l := range o.Exchange {
		fmt.Fprintf(b, "%s%s %s %s\n", indent, l.Conn, l.Dir, l.Text)
		if l.Hex != "" {
			fmt.Fprintf(b, "%s     %s\n", indent, l.Hex)
		}
	}
	for _, c := range o.Cases {
		if c.Verdict == Skip {
			continue
		}
		fmt.Fprintf(b, "%scase %s\n", indent, c.Name)
		c.Tell(b, indent+"  ")
	}
}

// JUnit writes the report as JUnit XML, as CI systems read it.
func (r *Report) JUnit(out io.Writer, strict bool) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type skipped struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Time    string   `xml:"time,attr"`
		Failure *failure `xml:"failure"`
		Skipped *skipped `xml:"skipped"`
	}
	type testsuite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	var doc struct {
		XMLName xml.Name    `xml:"testsuites"`
		Suites  []testsuite `xml:"testsuite"`
	}
	i := 0
	for _, sel := range r.suites {
		s := testsuite{Name: sel.Suite.Name}
		for _, st := range sel.Statements {
			x := r.Results[i]
			i++
			number, _ := sel.Suite.Group(st)
			c := testcase{Name: x.ID + " " + x.Text, Class: sel.Suite.Name + "." + number, Time: fmt.Sprintf("%.3f", x.Seconds)}
			var text strings.Builder
			x.Tell(&text, "")
			switch {
			case x.Verdict == Fail:
				c.Failure = &failure{Message: "want " + x.Want + ", got " + x.Got, Text: text.String()}
				s.Failures++
			case strict && x.Verdict == Varies:
				c.Failure = &failure{Message: "advised " + x.Variations[0].Want + ", got " + x.Variations[0].Got, Text: text.String()}
				s.Failures++
			case x.Verdict == Skip || x.Verdict == Unseen:
				c.Skipped = &skipped{Message: x.Why}
				s.Skipped++
			}
			s.Tests++
			s.Cases = append(s.Cases, c)
		}
		doc.Suites = append(doc.Suites, s)
	}
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(out)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}
