package kind

import (
	"math"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
)

// thing is a subject with a name, a state and a lag.
type thing struct {
	name, state string
	lag         float64
}

func (s thing) Any(has func(string) bool) bool { return has(s.name) || has(s.state) }

func (s thing) Field(name string) Value {
	switch name {
	case "name":
		return TextValue(s.name)
	case "state":
		return TextValue(s.state)
	case "lag":
		return NumberValue(s.lag)
	}
	return Value{}
}

var thingFields = []string{"name", "state", "lag"}

func TestFilter(t *testing.T) {
	all := []thing{{"billing", "Stable", 113}, {"lake loader", "Empty", 184_390}, {"mailer", "Stable", 0}, {"odd:one", "Dead", math.NaN()}}
	tests := []struct{ filter, want string }{
		{"", "billing, lake loader, mailer, odd:one"},
		{"  ", "billing, lake loader, mailer, odd:one"},
		{"bill", "billing"},
		{"BILL", "billing"},
		{"!stable", "lake loader, odd:one"},
		{"stable !mail", "billing"},
		{"state:stable", "billing, mailer"},
		{"!state:stable", "lake loader, odd:one"},
		{"STATE:em", "lake loader"},
		{"lag>100", "billing, lake loader"},
		{"lag>=113 lag<1k", "billing"},
		{"lag<=0", "mailer"},
		{"lag=113", "billing"},
		{"lag:113", "billing"},
		{"lag>100k", "lake loader"},
		{"!lag>100", "mailer, odd:one"},
		{"state=Dead", "odd:one"},
		{"state=Dea", ""},
		{`"lake loader"`, "lake loader"},
		{`name:"e l"`, "lake loader"},
		{`"odd:one"`, "odd:one"},
		{"12:34", ""},
		{"a<b", ""}, // a is no column: it is text
	}
	for _, tt := range tests {
		f, err := ParseFilter(tt.filter, thingFields)
		if err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		var got []string
		for _, s := range all {
			if f.Match(s) {
				got = append(got, s.name)
			}
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.filter, s, tt.want)
		}
	}
}

func TestFilterRefused(t *testing.T) {
	tests := []struct{ filter, says string }{
		{"sate:x", "no column sate; there are name state lag"},
		{"lag>much", `"much" is no number`},
		{"lag>", "lag> what?"},
		{"state:", "state: what?"},
		{"!", "! what?"},
		{`"open`, "a quote has no end"},
		{strings.Repeat("a ", 33), "more than 32 terms"},
	}
	for _, tt := range tests {
		if _, err := ParseFilter(tt.filter, thingFields); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %s", tt.filter, err, tt.says)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`state:"a b" !x lag>=1.5Ki`)
	f.Fuzz(func(t *testing.T, src string) {
		got, err := ParseFilter(src, thingFields)
		if err != nil {
			return // any error is fine; a panic is not
		}
		got.Match(thing{"a", "b", 1})
		again, err := ParseFilter(got.Source, thingFields)
		if err != nil || len(again.Terms) != len(got.Terms) {
			t.Fatalf("%q parsed, but not once more: %v", src, err)
		}
	})
}

func TestLiveQuery(t *testing.T) {
	tests := []struct {
		src   string
		q     adminapi.LiveQuery
		terms int // left to be decided here
	}{
		{"", adminapi.LiveQuery{}, 0},
		{"fleet/+/temp", adminapi.LiveQuery{Filter: "fleet/+/temp"}, 0},
		{`json.temp > 30 && qos == 1`, adminapi.LiveQuery{Where: `json.temp > 30 && qos == 1`}, 0},
		{"size>4", adminapi.LiveQuery{Where: "size>4"}, 0}, // the same either way
		{"address:#", adminapi.LiveQuery{Filter: "#"}, 0},
		{"proto:MQTT text:urgent", adminapi.LiveQuery{Protocol: "mqtt", Contains: "urgent"}, 0},
		{"fleet/# alarm !debug size>4Ki", adminapi.LiveQuery{Filter: "fleet/#"}, 3},
		{"address:fleet !proto:mqtt", adminapi.LiveQuery{}, 2}, // no wildcard: part of an address
		{"a+b", adminapi.LiveQuery{}, 1},                       // + is no level of its own
	}
	for _, tt := range tests {
		q, here, err := LiveQuery(tt.src)
		if err != nil || q != tt.q || len(here.Terms) != tt.terms || here.Source != tt.src {
			t.Errorf("%s: %+v and %d terms, %v; want %+v and %d", tt.src, q, len(here.Terms), err, tt.q, tt.terms)
		}
	}
	for _, src := range []string{"a/# b/#", "!fleet/#", "!text:x", "text:a text:b", "sate:x"} {
		if _, _, err := LiveQuery(src); err == nil {
			t.Errorf("%s was taken", src)
		}
	}
}

// The command that shows the same takes the same text.
func TestConsumeCommand(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{`json.temp > 30 && qos == 1`, `rmq consume 'mqtt:#' --where 'json.temp > 30 && qos == 1'`},
		{"fleet/+/temp !alarm", "rmq consume mqtt:fleet/+/temp"},
	} {
		q, _, err := LiveQuery(tt.src)
		if got := ConsumeCommand(q); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v", tt.src, got, err)
		}
	}
}
