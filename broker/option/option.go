// Package option is what an operator may change while the broker runs: names, values as people
// write them, bounds, and what they mean to the parts of the broker.
//
// The values that are set are in log 0, and so the same on every node; what is not set has its
// default. A Live reads them anew when they have changed, and otherwise costs a number.
package option

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/internal/fresh"
)

// Values are the options of the broker at one time. They do not change.
type Values struct {
	SysInterval time.Duration // between two looks at what $SYS tells; 0: there is no such tree

	MaxLevels     int           // of a topic name or filter
	Subscriptions int           // of one MQTT client; 0: any number
	KeepAlive     time.Duration // the longest that clients of MQTT 5 may have, in whole seconds; 0: theirs

	// What MQTT clients may publish in a second, each client and all clients of a user on one node;
	// 0: any number.
	ClientMessages, ClientBytes int
	UserMessages, UserBytes     int

	Connections    int // of MQTT to one node; 0: any number
	ConnectionRate int // CONNECTs to one node in a second; 0: any number

	SlowThreshold time.Duration // from which a delivery is slow; 0: nobody counts
	SlowWindow    time.Duration // for which a slow client is listed
	SlowTop       int           // that are listed

	FlappingConnections int           // that end within FlappingWindow and have the client banned; 0: none
	FlappingWindow      time.Duration //
	FlappingBan         time.Duration //
}

// LimitsPublishing tells whether anybody may publish only so much.
func (v *Values) LimitsPublishing() bool {
	return v.ClientMessages|v.ClientBytes|v.UserMessages|v.UserBytes != 0
}

// Option is one that there is.
type Option struct {
	Name    string
	Default string
	Help    string
	field   func(*Values) any // a pointer: *int or *time.Duration
	least   int64             // of a number, or of a duration that is not 0
	most    int64             // of a number; 0: any
	bytes   bool              // a size: 64KiB
}

// all are the options, in the order of their names.
var all = func() []Option {
	list := []Option{
		{Name: "mqtt.sys-interval", Default: "10s", Help: "time between two looks at what $SYS tells; 0: no such tree",
			field: func(v *Values) any { return &v.SysInterval }, least: int64(time.Second)},
		{Name: "mqtt.max-levels", Default: "128", Help: "levels of a topic name or filter",
			field: func(v *Values) any { return &v.MaxLevels }, least: 1, most: 1000},
		{Name: "mqtt.max-subscriptions", Default: "0", Help: "subscriptions of one MQTT client; 0: any number",
			field: func(v *Values) any { return &v.Subscriptions }},
		{Name: "mqtt.max-keep-alive", Default: "0s", Help: "longest keep alive, which clients of MQTT 5 are told to use that ask for more, or for none; 0: theirs",
			field: func(v *Values) any { return &v.KeepAlive }, least: int64(time.Second)},
		{Name: "mqtt.max-connections", Default: "0", Help: "connections of MQTT clients to one node; 0: any number",
			field: func(v *Values) any { return &v.Connections }},
		{Name: "mqtt.max-connect-rate", Default: "0", Help: "MQTT clients that may connect to one node in a second; 0: any number",
			field: func(v *Values) any { return &v.ConnectionRate }},
		{Name: "mqtt.rate.client.messages", Default: "0", Help: "messages that one MQTT client may publish in a second; 0: any number",
			field: func(v *Values) any { return &v.ClientMessages }},
		{Name: "mqtt.rate.client.bytes", Default: "0", Help: "bytes of them, packets as a whole; 0: any number",
			field: func(v *Values) any { return &v.ClientBytes }, bytes: true},
		{Name: "mqtt.rate.user.messages", Default: "0", Help: "messages that all MQTT clients of one user may publish in a second on one node; 0: any number",
			field: func(v *Values) any { return &v.UserMessages }},
		{Name: "mqtt.rate.user.bytes", Default: "0", Help: "bytes of them; 0: any number",
			field: func(v *Values) any { return &v.UserBytes }, bytes: true},
		{Name: "mqtt.slow.threshold", Default: "0s", Help: "time from a message's arrival to the end of its delivery, from which rmq session slow lists it; 0: nothing is timed",
			field: func(v *Values) any { return &v.SlowThreshold }, least: int64(time.Millisecond)},
		{Name: "mqtt.slow.window", Default: "5m", Help: "time for which a slow delivery is listed, unless there is another",
			field: func(v *Values) any { return &v.SlowWindow }, least: int64(time.Second)},
		{Name: "mqtt.slow.top", Default: "10", Help: "clients and topics that are listed, the slowest",
			field: func(v *Values) any { return &v.SlowTop }, least: 1, most: 1000},
		{Name: "mqtt.flapping.connections", Default: "0", Help: "connections of one MQTT client id that may end within the window before it is banned; 0: any number",
			field: func(v *Values) any { return &v.FlappingConnections }},
		{Name: "mqtt.flapping.window", Default: "1m", Help: "time in which connections that end are counted",
			field: func(v *Values) any { return &v.FlappingWindow }, least: int64(time.Second)},
		{Name: "mqtt.flapping.ban", Default: "5m", Help: "for how long a client that comes and goes too often is banned",
			field: func(v *Values) any { return &v.FlappingBan }, least: int64(time.Second)},
	}
	slices.SortFunc(list, func(a, b Option) int { return cmp.Compare(a.Name, b.Name) })
	return list
}()

// All returns the options there are, in the order of their names.
func All() []Option { return slices.Clone(all) }

// Find returns a option by its name.
func Find(name string) (Option, bool) {
	i, ok := slices.BinarySearchFunc(all, name, func(s Option, name string) int { return cmp.Compare(s.Name, name) })
	if !ok {
		return Option{}, false
	}
	return all[i], true
}

// Canonical returns a value as it is kept, or says what is wrong with it.
func (s *Option) Canonical(text string) (string, error) {
	var v Values
	if err := s.set(&v, text); err != nil {
		return "", err
	}
	return s.Show(&v), nil
}

// Show writes the value of a option.
func (s *Option) Show(v *Values) string {
	switch p := s.field(v).(type) {
	case *int:
		return strconv.Itoa(*p)
	case *time.Duration:
		return short(*p)
	}
	panic("option: a field of no known type")
}

// set reads a value.
func (s *Option) set(v *Values, text string) error {
	switch p := s.field(v).(type) {
	case *int:
		n, err := number(text, s.bytes)
		if err == nil && s.most > 0 && n > s.most {
			return fmt.Errorf("%d is more than %d", n, s.most)
		}
		if err != nil || n < s.least {
			return fmt.Errorf("%q is no %s from %d on", text, s.kind(), s.least)
		}
		*p = int(n)
	case *time.Duration:
		d, err := grammar.ParseDuration(text)
		if err != nil || d != 0 && int64(d) < s.least {
			return fmt.Errorf("%q is no duration such as 250ms, 30s, 1h30m, 7d, of at least %v", text, time.Duration(s.least))
		}
		*p = d
	}
	return nil
}

func (s *Option) kind() string {
	if s.bytes {
		return "size such as 512, 64KiB, 1g"
	}
	return "number"
}

var units = []struct {
	suffix string
	shift  uint
}{{"kib", 10}, {"mib", 20}, {"gib", 30}, {"kb", 10}, {"mb", 20}, {"gb", 30}, {"k", 10}, {"m", 20}, {"g", 30}, {"b", 0}}

func number(text string, bytes bool) (int64, error) {
	shift := uint(0)
	if bytes {
		text = strings.ToLower(text)
		for _, u := range units {
			if rest, ok := strings.CutSuffix(text, u.suffix); ok {
				text, shift = rest, u.shift
				break
			}
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n > math.MaxInt32<<16>>shift {
		err = strconv.ErrRange
	}
	return n << shift, err
}

// short writes a duration without the parts that are 0.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Read returns the values where some are set. What is set and cannot be read has its default: a newer
// release may have written it.
func Read(set map[string]string) *Values {
	v := new(Values)
	for i := range all {
		s := &all[i]
		if text, ok := set[s.Name]; ok && s.set(v, text) == nil {
			continue
		}
		if err := s.set(v, s.Default); err != nil {
			panic("option: " + s.Name + ": " + err.Error()) // a test reads them all
		}
	}
	return v
}

// Source is where the values that are set are kept. Safe for concurrent use.
type Source interface {
	// Options returns them by name, and ItemsVersion a number that changes when they do.
	Options() map[string]string
	ItemsVersion() uint64
}

// Live is the values of a broker, as they are now.
type Live = fresh.Value[*Values]

// NewLive returns the values of a source.
func NewLive(s Source) *Live { return fresh.New(s, func() *Values { return Read(s.Options()) }) }

// Fixed returns values that stay as they are: the defaults, but for those that are set.
func Fixed(set map[string]string) *Live { return NewLive(fixed(set)) }

type fixed map[string]string

func (f fixed) Options() map[string]string { return f }
func (fixed) ItemsVersion() uint64         { return 0 }
