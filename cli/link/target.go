package link

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
)

// Protocols a target may name.
const (
	MQTT  = "mqtt"
	Kafka = "kafka"
	AMQP  = "amqp"
)

// Networks over which a target may be reached besides TCP.
const (
	Unix = "unix"
	QUIC = "quic"
)

// Target is where messages go to or come from.
//
//	mqtt:sensors/dev1/temp        an MQTT topic, or, to consume, a filter
//	kafka:orders                  a Kafka topic
//	kafka:orders/3                one partition of it
//	amqp:EXCHANGE/KEY             an exchange and a routing or binding key
//	amqp:queue:NAME               a queue
//	mqtt://user:pass@host:1883/…  the same on a broker elsewhere; also mqtts, kafkas, amqps
//	mqtt+quic://host:14567/…      over QUIC
//	mqtt+unix://%2Frun%2Frmq.sock/…  over a Unix socket, "/" in its path being %2F
//
// What follows the protocol or the host is taken as it stands: "#", "?" and "%" mean
// nothing special, except that %2F is a "/" in the name of an exchange. An MQTT topic
// that begins with "//" is written with an empty host: mqtt://///a is the topic //a.
type Target struct {
	Protocol string
	Network  string // Unix or QUIC; "": TCP
	Address  string // host:port, or a path; several for Kafka, divided by commas; "" until Resolve
	TLS      bool
	User     string
	Password string
	Broker   string // as it was named, without who asks: mqtt://host; "": the one that --url or --name means

	Topic     string // MQTT, Kafka
	Partition *int32 // Kafka; nil: all
	Exchange  string // AMQP
	Key       string
	Queue     string // AMQP; then Exchange and Key are empty
}

var schemes = map[string]struct {
	protocol string
	tls      bool
	port     string
	network  string
}{
	"mqtt":      {MQTT, false, "1883", ""},
	"mqtts":     {MQTT, true, "8883", ""},
	"mqtt+quic": {MQTT, true, "14567", QUIC},
	"mqtt+unix": {MQTT, false, "", Unix},
	"kafka":     {Kafka, false, "9092", ""},
	"kafkas":    {Kafka, true, "9093", ""},
	"amqp":      {AMQP, false, "5672", ""},
	"amqps":     {AMQP, true, "5671", ""},
}

// ParseTarget reads a target.
func ParseTarget(s string) (Target, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	row, known := schemes[scheme]
	if !ok || !known {
		if near := grammar.Closest(scheme, slices.Sorted(maps.Keys(schemes))); ok && near != "" {
			return Target{}, bad(s, "a target begins with mqtt:, kafka: or amqp:; did you mean "+near+":?")
		}
		return Target{}, bad(s, "a target begins with mqtt:, kafka: or amqp:")
	}
	t := Target{Protocol: row.protocol, TLS: row.tls, Network: row.network}
	if after, remote := strings.CutPrefix(rest, "//"); remote {
		authority, name, _ := strings.Cut(after, "/")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			user, password, _ := strings.Cut(authority[:i], ":")
			var err1, err2 error
			t.User, err1 = url.PathUnescape(user)
			t.Password, err2 = url.PathUnescape(password)
			if err1 != nil || err2 != nil {
				return Target{}, bad(redact(s), "user or password has a bad %%-escape")
			}
			authority = authority[i+1:]
		}
		rest = name
		switch {
		case row.network == Unix:
			path, err := url.PathUnescape(authority)
			if err != nil || !strings.HasPrefix(path, "/") {
				return Target{}, bad(redact(s), "it names no socket: "+scheme+"://%2Frun%2Frmq.sock/…")
			}
			t.Address = path
			t.Broker = scheme + "://" + authority
		case !strings.HasPrefix(after, "/") || row.tls:
			address, err := addresses(authority, row.port, row.protocol == Kafka)
			if err != nil {
				return Target{}, bad(redact(s), err.Error())
			}
			t.Address = address
			t.Broker = scheme + "://" + authority
		}
	} else if row.tls || row.network != "" {
		return Target{}, bad(s, scheme+" needs a host: "+scheme+"://host/…")
	}
	if err := t.name(rest); err != "" {
		return Target{}, bad(redact(s), err)
	}
	return t, nil
}

// name reads what is left after the protocol and the host.
func (t *Target) name(rest string) string {
	switch t.Protocol {
	case MQTT:
		if rest == "" {
			return "it names no topic: mqtt:a/b"
		}
		t.Topic = rest
	case Kafka:
		topic, partition, ok := strings.Cut(rest, "/")
		if topic == "" {
			return "it names no topic: kafka:orders"
		}
		t.Topic = topic
		if ok {
			n, err := strconv.ParseInt(partition, 10, 32)
			if err != nil || n < 0 {
				return "a Kafka topic has no \"/\" in its name; kafka:" + topic + "/0 is its partition 0"
			}
			p := int32(n)
			t.Partition = &p
		}
	case AMQP:
		if q, ok := strings.CutPrefix(rest, "queue:"); ok {
			if q == "" {
				return "it names no queue: amqp:queue:jobs"
			}
			t.Queue = q
			return ""
		}
		exchange, key, ok := strings.Cut(rest, "/")
		if rest == "" || (exchange == "" && key == "") {
			return "it names nothing: amqp:EXCHANGE/KEY or amqp:queue:NAME"
		}
		if exchange == "" && ok { // the default exchange leads to the queue of that name
			t.Queue = key
			return ""
		}
		t.Exchange = strings.ReplaceAll(strings.ReplaceAll(exchange, "%2F", "/"), "%2f", "/")
		t.Key = key
	}
	return ""
}

// Resolve fills in the address of a target that names none, from where a broker says
// that it listens.
func (t *Target) Resolve(urls adminapi.URLs) error {
	if t.Address != "" {
		return nil
	}
	from := map[string]string{MQTT: urls.MQTT, Kafka: urls.Kafka, AMQP: urls.AMQP}[t.Protocol]
	u, err := url.Parse(from)
	if from == "" || err != nil || u.Host == "" {
		return fault.New(fault.Unavailable, "reach", t.String(), "the broker does not listen for %s", t.Protocol)
	}
	t.Address = u.Host
	if u.User != nil && t.User == "" {
		t.User = u.User.Username()
		t.Password, _ = u.User.Password()
	}
	return nil
}

// String returns the target as it may be typed, without user and password.
func (t Target) String() string {
	if t.Broker != "" {
		return t.Broker + "/" + t.there()
	}
	return t.Name()
}

// Name is the target without the broker that it is at.
func (t Target) Name() string {
	if name := t.there(); !strings.HasPrefix(name, "//") {
		return t.Protocol + ":" + name
	}
	return t.Protocol + ":///" + t.Topic
}

// Same tells whether both mean one thing at one broker.
func (t Target) Same(other Target) bool { return t.SameBroker(other) && t.Name() == other.Name() }

// SameBroker tells whether both are at one broker, as far as their addresses tell.
func (t Target) SameBroker(other Target) bool {
	return t.Broker == "" && other.Broker == "" || t.Address == other.Address
}

// there is what it is called at its broker.
func (t Target) there() string {
	switch {
	case t.Protocol == Kafka && t.Partition != nil:
		return t.Topic + "/" + strconv.Itoa(int(*t.Partition))
	case t.Protocol == AMQP && t.Queue != "":
		return "queue:" + t.Queue
	case t.Protocol == AMQP:
		return strings.ReplaceAll(t.Exchange, "/", "%2F") + "/" + t.Key
	}
	return t.Topic
}

// addresses completes host:port with the protocol's own port.
func addresses(authority, port string, several bool) (string, error) {
	hosts := strings.Split(authority, ",")
	if len(hosts) > 1 && !several {
		return "", errText("only kafka:// takes several hosts")
	}
	for i, h := range hosts {
		host, p, err := net.SplitHostPort(h)
		if err != nil {
			host, p = strings.Trim(h, "[]"), port
		}
		if host == "" {
			return "", errText("it names no host")
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "", errText("port " + strconv.Quote(p) + " is not one of 1 to 65535")
		}
		hosts[i] = net.JoinHostPort(host, p)
	}
	return strings.Join(hosts, ","), nil
}

// errText is an error that becomes part of another's text.
type errText string

func (e errText) Error() string { return string(e) }

func bad(s, why string) error { return fault.New(fault.Invalid, "read target", s, "%s", why) }

// redact hides the password in what a user typed, so that an error does not show it.
func redact(s string) string {
	i := strings.Index(s, "//")
	at := strings.LastIndexByte(s, '@')
	if i < 0 || at < i {
		return s
	}
	user, _, _ := strings.Cut(s[i+2:at], ":")
	return s[:i+2] + user + ":***" + s[at:]
}
