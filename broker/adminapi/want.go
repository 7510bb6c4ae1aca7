package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
)

// SchemaWanted is of a Wanted.
const SchemaWanted = "rmq.wanted/1"

// Want says what to wait for: one thing, by its name, and what is to be so of it. The waiting is woken
// by the broker's changes.
//
//	{"topic": "sensors", "if": ["records>=3"], "within": "10s"}
//	{"topic": "orders", "where": "json.id == 7"}
//	{"queue": "jobs", "if": ["ready=0", "unacked=0"]}
//	{"session": "dev1", "if": ["connected=false", "backlog=2"]}
//	{"group": "billing", "if": ["state=Stable", "members=2", "lag=0"]}
//	{"retained": "sensors/#", "if": ["messages=1"]}
//
// A condition is FIELD, one of = != < <= > >=, and VALUE: the field is one that the API shows of the
// thing, and of a list its length counts; or "exists", or "gone". None means that it exists, or, with
// Where, that it has such a message.
type Want struct {
	Namespace string `json:"namespace,omitempty"`

	// One of these.
	Topic    string `json:"topic,omitempty"`
	Queue    string `json:"queue,omitempty"`
	Session  string `json:"session,omitempty"`
	Group    string `json:"group,omitempty"`
	Retained string `json:"retained,omitempty"` // an MQTT filter

	// Where, of a topic, a queue or retained messages, is an expression of package filter: Wanted has
	// the messages that it holds of, and "messages" counts them.
	Where  string      `json:"where,omitempty"`
	If     []Condition `json:"if,omitempty"`
	Within string      `json:"within,omitempty"` // "10s"; "": WantWithin
}

// Bounds of a Want.
const (
	WantWithin     = 10 * time.Second
	WantWithinMax  = time.Hour
	WantConditions = 32
	WantMessages   = 1000 // that Wanted has at most, and InspectBytes of values
)

// Wanted is what was waited for, as it is.
type Wanted struct {
	Topic    *Topic    `json:"topic,omitempty"`
	Queue    *Queue    `json:"queue,omitempty"`
	Session  *Session  `json:"session,omitempty"`
	Group    *Group    `json:"group,omitempty"`
	Messages []Message `json:"messages,omitempty"` // of Where, or of Retained
}

// Kind and Name tell what is waited for.
func (w *Want) Kind() (kind, name string, err error) {
	n := 0
	for _, x := range [...][2]string{{"topic", w.Topic}, {"queue", w.Queue}, {"session", w.Session}, {"group", w.Group}, {"retained", w.Retained}} {
		if x[1] != "" {
			kind, name = x[0], x[1]
			n++
		}
	}
	switch {
	case n != 1:
		return "", "", fault.New(fault.Invalid, "want", "", "one of topic, queue, session, group and retained says what to wait for")
	case w.Where != "" && (kind == "session" || kind == "group"):
		return "", "", fault.New(fault.Invalid, "want", kind+" "+name, "where is about messages")
	case len(w.If) > WantConditions:
		return "", "", fault.New(fault.TooLarge, "want", kind+" "+name, "%d conditions are more than %d", len(w.If), WantConditions)
	}
	return kind, name, nil
}

// For is how long to wait.
func (w *Want) For() (time.Duration, error) {
	if w.Within == "" {
		return WantWithin, nil
	}
	d, err := grammar.ParseDuration(w.Within)
	if err != nil || d < 0 {
		return 0, fault.New(fault.Invalid, "want", "", "within %q is not a duration such as 250ms, 30s, 1h30m", w.Within)
	}
	return min(d, WantWithinMax), nil
}

// Condition is one of a Want.
type Condition string

// operators are those of conditions, the longer ones first.
var operators = [...]string{"!=", "<=", ">=", "=", "<", ">"}

// Words that are conditions.
const (
	Exists Condition = "exists"
	Gone   Condition = "gone"
)

func (c Condition) split() (field, op, value string, ok bool) {
	i := strings.IndexAny(string(c), "!<>=")
	if i <= 0 {
		return "", "", "", false
	}
	for _, o := range operators {
		if rest, found := strings.CutPrefix(string(c)[i:], o); found {
			return strings.TrimSpace(string(c)[:i]), o, strings.TrimSpace(rest), true
		}
	}
	return "", "", "", false
}

// Holds tells whether the condition is so of a thing, and how it stands. thing is what the API shows of
// it; nil: there is none.
func (c Condition) Holds(thing map[string]any) (holds bool, now string, err error) {
	bad := func(format string, args ...any) (bool, string, error) {
		return false, "", fault.New(fault.Invalid, "want", string(c), format, args...)
	}
	switch {
	case c == Exists:
		return thing != nil, "there is none", nil
	case c == Gone:
		return thing == nil, "it is there", nil
	}
	field, op, text, ok := c.split()
	if !ok {
		return bad("it is not FIELD, one of %s, and VALUE; nor exists, nor gone", strings.Join(operators[:], " "))
	}
	if thing == nil {
		return false, "there is none", nil
	}
	value, ok := thing[field]
	if !ok {
		return bad("it has no field %s: it has %s", field, strings.Join(fieldsOf(thing), ", "))
	}
	now = fmt.Sprintf("%s is %v", field, value)
	if l, ok := value.([]any); ok {
		value = float64(len(l))
		now = fmt.Sprintf("%s are %d", field, len(l))
	}
	order := 0
	switch v := value.(type) {
	case float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return bad("%s is a number, and %q is none", field, text)
		}
		order = compare(v, n)
	case string:
		order = strings.Compare(v, text)
	case bool:
		want, err := strconv.ParseBool(text)
		if err != nil || op != "=" && op != "!=" {
			return bad("%s is true or false", field)
		}
		if v != want {
			order = 1
		}
	default:
		return bad("%s is nothing to compare with", field)
	}
	switch op {
	case "=":
		holds = order == 0
	case "!=":
		holds = order != 0
	case "<":
		holds = order < 0
	case "<=":
		holds = order <= 0
	case ">":
		holds = order > 0
	case ">=":
		holds = order >= 0
	}
	return holds, now, nil
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Fields returns what the API shows of a thing, by name.
func Fields(thing any) map[string]any {
	b, err := json.Marshal(thing)
	if err != nil { // our own types always marshal
		panic("adminapi: " + err.Error())
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		panic("adminapi: " + err.Error())
	}
	return out
}

func (c *Client) Want(ctx context.Context, w Want) (out Wanted, err error) {
	return out, c.call(ctx, "POST", pathWant, nil, w, &out)
}

// fieldsOf are the names that conditions may have of a thing.
func fieldsOf(thing map[string]any) []string {
	var names []string
	for name, v := range thing {
		if _, object := v.(map[string]any); !object && v != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
