package chaos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
)

// Plan is a list of rules, and where chance begins.
type Plan struct {
	Seed  uint64 `json:"seed,omitempty" yaml:"seed,omitempty"`
	Rules []Rule `json:"rules" yaml:"rules"`
}

// Rule says where something goes wrong, for whom, when, and what.
type Rule struct {
	Name string `json:"name,omitempty" yaml:"name,omitempty"` // "": one is made
	// At is a place: SEAM, SEAM/WHAT, or SEAM/in/WHAT and SEAM/out/WHAT where something of one name goes both
	// ways. in is from the client to the broker.
	At string `json:"at" yaml:"at"`
	Do Effect `json:"do" yaml:"do"`

	// For whom: patterns in which * stands for any text. "" is everybody, and everything.
	Client   string `json:"client,omitempty" yaml:"client,omitempty"`     // client id, or the name of a connection of AMQP
	Topic    string `json:"topic,omitempty" yaml:"topic,omitempty"`       // of a message
	Listener string `json:"listener,omitempty" yaml:"listener,omitempty"` // URL of the listener: of a connection

	// When: the first After times nothing happens, then Times times, each with a chance.
	After  int              `json:"after,omitempty" yaml:"after,omitempty"`
	Times  int              `json:"times,omitempty" yaml:"times,omitempty"`   // 0: always
	Chance float64          `json:"chance,omitempty" yaml:"chance,omitempty"` // 0: 1
	From   grammar.Duration `json:"from,omitempty" yaml:"from,omitempty"`     // since the rule was added
	For    grammar.Duration `json:"for,omitempty" yaml:"for,omitempty"`       // since From; 0: until it is removed

	// What, as the effect needs it.
	Code   Code             `json:"code,omitempty" yaml:"code,omitempty"`     // of the protocol, by name or number
	Delay  grammar.Duration `json:"delay,omitempty" yaml:"delay,omitempty"`   // how long
	Jitter grammar.Duration `json:"jitter,omitempty" yaml:"jitter,omitempty"` // that chance adds at most
	Bytes  grammar.Size     `json:"bytes,omitempty" yaml:"bytes,omitempty"`   // how many, or how many a second
}

// Effect is what goes wrong.
type Effect string

const (
	Drop       Effect = "drop"       // it is lost
	Delay      Effect = "delay"      // it comes later, and what is behind it too
	Duplicate  Effect = "duplicate"  // it comes twice
	Answer     Effect = "answer"     // a packet of MQTT is answered with Code, or, an answer, carries it
	Fail       Effect = "fail"       // a request of Kafka is answered with Code; a file operation fails
	Nack       Effect = "nack"       // a publish is not taken, and is nacked
	Close      Effect = "close"      // the channel of AMQP is closed with Code
	Block      Effect = "block"      // the connection of AMQP is blocked, for Delay
	Disconnect Effect = "disconnect" // the connection is ended as the protocol has it, with Code
	Reset      Effect = "reset"      // the connection breaks; of seam conn, once Bytes have passed
	Refuse     Effect = "refuse"     // the connection is not taken
	Hang       Effect = "hang"       // once Bytes have passed, nothing does any more; for Delay, or for ever
	Slow       Effect = "slow"       // Bytes a second pass, each way
	Linger     Effect = "linger"     // the connection is closed later, by Delay
	Full       Effect = "full"       // the device takes Bytes more
	Tear       Effect = "tear"       // half of a write is stored, and it fails
)

// Code is a code of a protocol, by name or number. JSON may have the number as one.
type Code string

// UnmarshalJSON reads a string or a number.
func (c *Code) UnmarshalJSON(b []byte) error {
	var n json.Number
	if len(b) > 0 && b[0] != '"' {
		err := json.Unmarshal(b, &n)
		*c = Code(n)
		return err
	}
	return json.Unmarshal(b, (*string)(c))
}

// Seam is a kind of place.
type Seam uint8

const (
	Conn  Seam = iota // connections of clients, by protocol
	MQTT              // packets
	Kafka             // requests, by the name of their API
	AMQP              // methods
	Disk              // file operations
	Node              // what goes between this node and another, by its id
	seams = iota
)

var seamNames = [seams]string{"conn", "mqtt", "kafka", "amqp", "disk", "node"}

func (s Seam) String() string { return seamNames[s] }

// effects are those of each seam.
var effects = [seams][]Effect{
	Conn:  {Delay, Slow, Reset, Hang, Linger, Refuse},
	MQTT:  {Drop, Delay, Duplicate, Answer, Disconnect, Reset},
	Kafka: {Fail, Delay, Drop, Reset},
	AMQP:  {Drop, Delay, Nack, Close, Block, Disconnect, Reset},
	Disk:  {Full, Fail, Delay, Tear},
	Node:  {Drop, Delay, Duplicate},
}

// way is a direction; any where it makes no difference.
type way uint8

const (
	any_ way = iota
	in
	out
)

// Bounds of a plan.
const (
	rulesMax = 256     // rules at once
	textMax  = 1 << 20 // bytes of a plan
	nameMax  = 128     // bytes of a rule's name
)

// Parse reads a plan: YAML, or JSON.
func Parse(text []byte) (p Plan, err error) {
	if len(text) > textMax {
		return p, invalid("a plan has %d bytes at most", textMax)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&p); err != nil && !errors.Is(err, io.EOF) {
		return p, misread(err)
	}
	return p, p.Check()
}

// misread says what of a plan is not understood, in a plan's words.
func misread(err error) error {
	bad, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return invalid("%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if line, rest, ok := strings.Cut(bad.Errors[0], ": field "); ok {
		name, _, _ := strings.Cut(rest, " ")
		var known []string
		for _, f := range append(reflect.VisibleFields(reflect.TypeFor[Plan]()), reflect.VisibleFields(reflect.TypeFor[Rule]())...) {
			field, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			known = append(known, field)
		}
		return invalid("%s: a plan has no %q%s", line, name, near(name, known))
	}
	if line, rest, ok := strings.Cut(bad.Errors[0], ": cannot unmarshal "); ok {
		what, _, _ := strings.Cut(rest, " into ")
		if _, value, ok := strings.Cut(what, " "); ok {
			what = value
		}
		what = cmp.Or(map[string]string{"!!seq": "a list", "!!map": "a mapping"}[what], what)
		return invalid("%s: %s cannot stand there", line, what)
	}
	return invalid("%s", bad.Errors[0])
}

// Check tells what is wrong with a plan, nil: nothing.
func (p *Plan) Check() error {
	if len(p.Rules) > rulesMax {
		return invalid("there may be %d rules at most", rulesMax)
	}
	names := make(map[string]bool)
	for i := range p.Rules {
		r := &p.Rules[i]
		if _, err := compile(*r); err != nil {
			return fault.New(fault.Invalid, "plan", "rule "+cmp.Or(r.Name, strconv.Itoa(i+1)), "%w", cause(err))
		}
		if r.Name != "" && names[r.Name] {
			return invalid("two rules have the name %q", r.Name)
		}
		names[r.Name] = true
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "plan", "", format, args...)
}

func cause(err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Err != nil {
		return e.Err
	}
	return err
}

// compile reads a rule. The error says what to write instead.
func compile(r Rule) (*rule, error) {
	c := &rule{Rule: r}
	seam, rest, _ := strings.Cut(r.At, "/")
	i := slices.Index(seamNames[:], seam)
	if i < 0 {
		return nil, invalid("at: %q is no place; it begins with one of %s", r.At, strings.Join(seamNames[:], ", "))
	}
	c.seam = Seam(i)
	for w, prefix := range map[way]string{in: "in", out: "out"} { // at most one of them fits
		if rest == prefix || strings.HasPrefix(rest, prefix+"/") {
			c.way, rest = w, strings.TrimPrefix(rest[len(prefix):], "/")
		}
	}
	if err := c.place(rest); err != nil {
		return nil, err
	}
	if !slices.Contains(effects[c.seam], r.Do) {
		return nil, invalid("do: %q is not what %s can do, which is one of %s", string(r.Do), seam, list(effects[c.seam]))
	}
	switch {
	case len(r.Name) > nameMax:
		return nil, invalid("name: it has %d bytes at most", nameMax)
	case r.After < 0 || r.Times < 0:
		return nil, invalid("after and times are not negative")
	case !(r.Chance >= 0 && r.Chance <= 1):
		return nil, invalid("chance: %v is not between 0 and 1", r.Chance)
	case r.Client != "" && (c.seam == Disk || c.seam == Node):
		return nil, invalid("client: %s has no clients", seam)
	case r.Listener != "" && c.seam != Conn:
		return nil, invalid("listener: only conn has listeners")
	case r.Topic != "" && !c.hasTopic():
		return nil, invalid("topic: what is at %s has none", r.At)
	}
	return c, c.effect()
}

func list(all []Effect) string {
	s := make([]string, len(all))
	for i, e := range all {
		s[i] = string(e)
	}
	return strings.Join(s, ", ")
}

// hasTopic tells whether what is at the place has a topic.
func (c *rule) hasTopic() bool {
	switch c.seam {
	case MQTT:
		return c.what == "" || c.what == "PUBLISH"
	case Kafka:
		return c.what == "Produce" || c.what == "Fetch"
	case AMQP:
		return c.what == "basic.publish" || c.what == "basic.deliver"
	}
	return false
}

// place reads what is behind the seam.
func (c *rule) place(what string) error {
	known := names[c.seam]
	if c.seam == Node {
		if n, err := strconv.ParseUint(what, 10, 64); what != "" && (err != nil || n == 0) {
			return invalid("at: %q is not the id of a node", what)
		}
		c.what = what
		return nil
	}
	if what != "" {
		i := slices.IndexFunc(known, func(n string) bool { return strings.EqualFold(n, what) })
		if i < 0 {
			return invalid("at: %s has no %q%s", c.seam, what, near(what, known))
		}
		c.what = known[i]
	}
	if c.way != any_ && c.seam != MQTT && c.seam != AMQP {
		return invalid("at: %s is without in and out", c.seam)
	}
	if c.way == any_ && what != "" {
		switch c.seam {
		case MQTT:
			c.way = mqttWay(c.what)
		case AMQP:
			c.way = amqpWay(c.what)
		}
	}
	if c.seam == MQTT && c.what == "CONNACK" && c.Do == Answer { // it is decided before the session is there
		c.what, c.way = "CONNECT", in
	}
	return nil
}

// near names what somebody may have meant.
func near(what string, known []string) string {
	if n := grammar.Closest(what, known); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}

// effect checks that what an effect needs is there, and that it can happen at the place.
func (c *rule) effect() (err error) {
	r := &c.Rule
	only := func(so bool, where string) {
		if err == nil && !so {
			err = invalid("do: %s is for %s", r.Do, where)
		}
	}
	switch r.Do {
	case Delay, Block, Linger:
		if r.Delay == 0 && r.Jitter == 0 {
			return invalid("delay: %s needs to know for how long", r.Do)
		}
		only(r.Do != Block || c.is(in, "basic.publish"), "amqp/basic.publish")
	case Slow:
		if r.Bytes == 0 {
			return invalid("bytes: slow needs to know how many pass each second")
		}
	case Nack:
		only(c.is(in, "basic.publish") || c.is(out, "basic.ack"), "amqp/basic.publish and amqp/out/basic.ack")
	case Close:
		only(c.way == in, "methods that clients send")
	case Answer:
		only(c.is(in, "CONNECT", "PUBLISH", "SUBSCRIBE") || c.is(out, "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK"),
			"CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, in/PUBLISH and in/SUBSCRIBE")
	case Duplicate:
		only(c.seam != MQTT || c.way == out, "packets that the broker sends")
	case Drop:
		only(c.seam != AMQP || c.is(in, "basic.publish", "basic.ack", "basic.nack", "basic.reject") || c.is(out, "basic.ack", "basic.deliver"),
			"basic.publish, basic.ack, basic.nack, basic.reject and basic.deliver")
	case Tear:
		only(c.what == "write", "disk/write")
	case Full:
		only(c.what == "", "disk as a whole")
	}
	if err == nil && c.seam == AMQP && c.way == out {
		only(c.is(out, "basic.ack") && r.Do != Block && r.Do != Close && r.Do != Disconnect && r.Do != Reset || c.is(out, "basic.deliver") && r.Do == Drop,
			"methods that clients send")
	}
	if err != nil {
		return err
	}
	return c.codes()
}

// is tells whether the rule is about one of some things alone.
func (c *rule) is(w way, what ...string) bool { return c.way == w && slices.Contains(what, c.what) }

// codes reads the code.
func (c *rule) codes() (err error) {
	r := &c.Rule
	needs := r.Do == Answer || r.Do == Fail && c.seam == Kafka
	switch takes := needs || r.Do == Disconnect || r.Do == Close; {
	case r.Code == "" && needs:
		return invalid("code: %s needs one", r.Do)
	case r.Code != "" && !takes:
		return invalid("code: %s takes none", r.Do)
	case r.Code == "":
		c.code = codeDefault(c.seam, r.Do)
		return nil
	}
	if c.code, err = code(c.seam, string(r.Code)); err != nil {
		return err
	}
	return c.fits()
}

func (c *rule) String() string {
	s := fmt.Sprintf("%s %s", c.Do, c.At)
	if c.Client != "" {
		s += " of " + c.Client
	}
	return s
}
