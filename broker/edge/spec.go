package edge

import (
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
)

type scheme struct {
	name    string
	proto   Proto
	network Network
	tls     Encryption
	port    string // of a URL that names none
}

// schemes are how a Spec begins when it is written as a URL.
var schemes = []scheme{
	{"any", Any, TCP, Plain, ""},
	{"mqtt", MQTT, TCP, Plain, "1883"}, {"mqtts", MQTT, TCP, MustTLS, "8883"}, {"mqtt+quic", MQTT, QUIC, MustTLS, "14567"},
	{"kafka", Kafka, TCP, Plain, "9092"}, {"kafkas", Kafka, TCP, MustTLS, "9093"},
	{"amqp", AMQP, TCP, Plain, "5672"}, {"amqps", AMQP, TCP, MustTLS, "5671"},
	{"http", HTTP, TCP, Plain, "15672"}, {"https", HTTP, TCP, MustTLS, "15671"},
	{"ws", HTTP, TCP, Plain, "8083"}, {"wss", HTTP, TCP, MustTLS, "8084"},
	{"unix", Any, Unix, Plain, ""},
}

// ParseSpec reads a listener as people write it:
//
//	mqtts://0.0.0.0:8883?client-cert=required&max-connections=10000&max-rate=200
//	any://10.0.0.5:4000?tls=accepted&proxy-protocol=10.0.0.0/8,192.0.2.7
//	mqtt+quic://0.0.0.0:14567
//	unix:///run/rmq.sock?mode=0660
func ParseSpec(s string) (Spec, error) {
	bad := func(text string, args ...any) (Spec, error) {
		return Spec{}, fault.New(fault.Invalid, "read listener", s, text, args...)
	}
	name, rest, _ := strings.Cut(s, "://")
	i := slices.IndexFunc(schemes, func(row scheme) bool { return row.name == name })
	if i < 0 {
		var names []string
		for _, row := range schemes {
			names = append(names, row.name)
		}
		return bad("it does not begin with one of %s, and ://", strings.Join(names, ", "))
	}
	row := schemes[i]
	spec := Spec{Proto: row.proto, Network: row.network, TLS: row.tls}
	at, query, _ := strings.Cut(rest, "?")
	if row.network == Unix {
		if !strings.HasPrefix(at, "/") {
			return bad("the path of a socket begins with /: unix:///run/rmq.sock")
		}
		spec.Address = at
	} else {
		at = strings.TrimSuffix(at, "/")
		host, port, err := net.SplitHostPort(at)
		if err != nil && row.port != "" {
			host, port, err = net.SplitHostPort(at + ":" + row.port)
		}
		if _, badPort := strconv.ParseUint(port, 10, 16); err != nil || badPort != nil {
			return bad("it names no host and port: %s://127.0.0.1:%s", row.name, max(row.port, "4000"))
		}
		spec.Address = net.JoinHostPort(host, port)
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return bad("%v", err)
	}
	for name, values := range options {
		if len(values) > 1 {
			return bad("%s is said twice", name)
		}
		if text := spec.option(name, values[0]); text != "" {
			return bad("%s=%s: %s", name, values[0], text)
		}
	}
	return spec, nil
}

// option sets one option; "" or what is wrong with it.
func (spec *Spec) option(name, value string) string {
	streams := spec.Network != QUIC
	switch {
	case name == "tls" && streams && spec.TLS != MustTLS:
		i := slices.Index([]string{"off", "accepted", "required"}, value)
		if i < 0 {
			return "it is off, accepted or required"
		}
		spec.TLS = Encryption(i)
	case name == "client-cert":
		i := slices.Index([]string{"", "none", "optional", "required"}, value)
		if i < 1 {
			return "it is none, optional or required"
		}
		spec.Clients = ClientCert(i)
	case name == "proxy-protocol" && spec.Network == TCP:
		for _, text := range strings.Split(value, ",") {
			p, err := netip.ParsePrefix(text)
			if addr, err2 := netip.ParseAddr(text); err2 == nil {
				p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
			}
			if err != nil {
				return strconv.Quote(text) + " is no network such as 10.0.0.0/8, and no address"
			}
			spec.Proxies = append(spec.Proxies, p.Masked())
		}
	case name == "mode" && spec.Network == Unix:
		n, err := strconv.ParseUint(value, 8, 9)
		if err != nil || n == 0 {
			return "it is no mode such as 0660"
		}
		spec.Mode = fs.FileMode(n)
	case name == "max-connections" || name == "max-rate":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return "it is no number from 1 on"
		}
		if name == "max-rate" {
			spec.MaxRate = int(n)
		} else {
			spec.MaxConns = int(n)
		}
	default:
		return "there is no such option here"
	}
	return ""
}

// URL writes where a listener is found, without its options. at is its address.
func (spec *Spec) URL(at net.Addr) string {
	for _, row := range schemes {
		switch {
		case row.network != spec.Network || spec.Network != Unix && row.proto != spec.Proto:
		case spec.Network != TCP || (row.tls == MustTLS) == (spec.TLS == MustTLS):
			return row.name + "://" + at.String()
		}
	}
	return "any://" + at.String() // with TLS
}
