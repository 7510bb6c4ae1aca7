package setting

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/internal/fresh"
)

// KindQuota: a Quota, by what it is for (QuotaFor), in the default namespace.
const KindQuota Kind = "quota"

// QuotasMax bounds them.
const QuotasMax = 10_000

// Quota is how much may be done in a second, by these keys; each counts on one node.
type Quota map[string]float64

// Keys of a Quota. The first are Kafka's.
const (
	ProducerByteRate  = "producer_byte_rate"
	ConsumerByteRate  = "consumer_byte_rate"
	RequestPercentage = "request_percentage" // of the time of one processor
	// What MQTT clients may publish, and how many may connect.
	MQTTMessageRate    = "mqtt_message_rate"
	MQTTByteRate       = "mqtt_byte_rate"
	MQTTConnectionRate = "mqtt_connection_rate"
)

// QuotaKeys are the keys there are.
func QuotaKeys() []string {
	return []string{ProducerByteRate, ConsumerByteRate, RequestPercentage, MQTTMessageRate, MQTTByteRate, MQTTConnectionRate}
}

// QuotaFor is what a quota is for: a user, a client id of Kafka, both, or a listener of MQTT. nil: it is
// not for one of these; the empty text: it is for each that has none of its own.
type QuotaFor struct{ User, Client, Listener *string }

// Parts of a quota's name, "user:ann/client:app". A name is written as in a URL, with "+" for the empty one.
const (
	forUser     = "user"
	forClient   = "client"
	forListener = "listener"
	everyOne    = "+"
)

func (f QuotaFor) String() string {
	var parts []string
	for _, p := range []struct {
		kind string
		name *string
	}{{forUser, f.User}, {forClient, f.Client}, {forListener, f.Listener}} {
		switch {
		case p.name == nil:
		case *p.name == "":
			parts = append(parts, p.kind+":"+everyOne)
		default:
			parts = append(parts, p.kind+":"+strings.ReplaceAll(url.PathEscape(*p.name), everyOne, "%2B"))
		}
	}
	return strings.Join(parts, "/")
}

// ParseQuotaFor reads the name of a quota.
func ParseQuotaFor(s string) (f QuotaFor, err error) {
	for part := range strings.SplitSeq(s, "/") {
		kind, name, ok := strings.Cut(part, ":")
		at := map[string]**string{forUser: &f.User, forClient: &f.Client, forListener: &f.Listener}[kind]
		if !ok || at == nil || *at != nil || name == "" {
			return f, fmt.Errorf("%q is none of user:NAME, client:ID, user:NAME/client:ID, listener:PORT; + stands for every one", s)
		}
		if name == everyOne {
			name = ""
		} else if name, err = url.PathUnescape(name); err != nil || name == "" {
			return f, fmt.Errorf("%q is no name", part)
		}
		*at = &name
	}
	if f.Listener != nil && (f.User != nil || f.Client != nil) {
		return f, fmt.Errorf("%q: a listener has its quotas alone", s)
	}
	return f, nil
}

// Check tells what is wrong with a quota.
func (f *QuotaFor) Check(q Quota) error {
	for key, value := range q {
		mqtt := strings.HasPrefix(key, "mqtt_")
		switch {
		case !slices.Contains(QuotaKeys(), key):
			return fmt.Errorf("%q is none of %s", key, strings.Join(QuotaKeys(), ", "))
		case mqtt && f.Client != nil:
			return fmt.Errorf("%s is for users and listeners; what each client of MQTT may is an option, mqtt.rate.client", key)
		case !mqtt && f.Listener != nil:
			return fmt.Errorf("%s is for users and client ids", key)
		case !(value > 0) || math.IsInf(value, 0):
			return fmt.Errorf("%s is %v, and has to be above 0", key, value)
		case key != RequestPercentage && (value != math.Trunc(value) || value > math.MaxInt64/2):
			return fmt.Errorf("%s is %v, and has to be a whole number", key, value)
		}
	}
	if len(q) == 0 {
		return fmt.Errorf("a quota of nothing")
	}
	return nil
}

func (s *Setting) checkQuota() error {
	f, err := ParseQuotaFor(s.Name)
	if err != nil {
		return err
	}
	if s.Name != f.String() {
		return fmt.Errorf("%q is written %q", s.Name, f.String())
	}
	var q Quota
	if err := s.Read(&q); err != nil {
		return err
	}
	return f.Check(q)
}

// Quotas are those that are set, at one time. They do not change.
type Quotas struct {
	by map[string]Quota // by name
	// By the names of users and listeners, as clients of MQTT are asked about with each message; "" is
	// for those that have none.
	users, listeners map[string]MQTTQuota
}

// MQTTQuota is what clients of MQTT may do in a second; 0: nothing is said of it.
type MQTTQuota struct{ Messages, Bytes, Connections int }

// NewQuotas reads quotas. What a newer release has written and this one cannot read does not count.
func NewQuotas(all []Setting) *Quotas {
	if len(all) == 0 {
		return nil
	}
	qs := &Quotas{by: make(map[string]Quota), users: make(map[string]MQTTQuota), listeners: make(map[string]MQTTQuota)}
	for i := range all {
		f, err := ParseQuotaFor(all[i].Name)
		var q Quota
		if err != nil || all[i].Read(&q) != nil || f.Check(q) != nil {
			continue
		}
		qs.by[all[i].Name] = q
		m := MQTTQuota{Messages: whole(q[MQTTMessageRate]), Bytes: whole(q[MQTTByteRate]), Connections: whole(q[MQTTConnectionRate])}
		switch {
		case m == MQTTQuota{}:
		case f.Listener != nil:
			qs.listeners[*f.Listener] = m
		case f.Client == nil:
			qs.users[*f.User] = m
		}
	}
	return qs
}

func whole(f float64) int { return int(min(f, math.MaxInt32<<16)) }

// User is what the MQTT clients of a user may do, together, on one node.
func (qs *Quotas) User(name string) MQTTQuota {
	if qs == nil || name == "" {
		return MQTTQuota{}
	}
	return qs.users[name].or(qs.users[""])
}

// Listener is what the clients of a listener may do, together, on one node.
func (qs *Quotas) Listener(name string) MQTTQuota {
	if qs == nil {
		return MQTTQuota{}
	}
	return qs.listeners[name].or(qs.listeners[""])
}

func (q MQTTQuota) or(other MQTTQuota) MQTTQuota {
	pick := func(a, b int) int {
		if a != 0 {
			return a
		}
		return b
	}
	return MQTTQuota{pick(q.Messages, other.Messages), pick(q.Bytes, other.Bytes), pick(q.Connections, other.Connections)}
}

// Kafka returns what a user's client of Kafka may do by a key, and who shares that; 0: nothing is said.
// The first of these that has the key counts, as in Kafka: user and client id, user and every client id,
// user, every user and client id, every user and every client id, every user, client id, every client id.
func (qs *Quotas) Kafka(key, user, client string) (rate float64, sharers string) {
	if qs == nil {
		return 0, ""
	}
	every := ""
	for _, f := range []QuotaFor{
		{User: &user, Client: &client}, {User: &user, Client: &every}, {User: &user},
		{User: &every, Client: &client}, {User: &every, Client: &every}, {User: &every},
		{Client: &client}, {Client: &every},
	} {
		if rate = qs.by[f.String()][key]; rate == 0 {
			continue
		}
		if f.User != nil {
			f.User = &user
		}
		if f.Client != nil {
			f.Client = &client
		}
		return rate, f.String()
	}
	return 0, ""
}

// QuotaSource is where settings are kept. Safe for concurrent use.
type QuotaSource interface {
	Settings(namespace string, kind Kind) []Setting
	// ItemsVersion is a number that changes when they do.
	ItemsVersion() uint64
}

// LiveQuotas are those that are set now; nil: none are. A nil one has none.
type LiveQuotas = fresh.Value[*Quotas]

// quotaNamespace is where quotas are: they are the whole broker's.
const quotaNamespace = "/"

// NewLiveQuotas returns the quotas of a source.
func NewLiveQuotas(s QuotaSource) *LiveQuotas {
	return fresh.New(s, func() *Quotas { return NewQuotas(s.Settings(quotaNamespace, KindQuota)) })
}
