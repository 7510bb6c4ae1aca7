package setting

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/robustmq/rmq/broker/mqttwire"
)

// KindBridge: a Bridge, in the default namespace. Its value holds secrets, and is shown as Shown says only.
const KindBridge Kind = "bridge"

// BridgeSession is what the identifier of a bridge's session begins with; the name follows. No client has
// such an identifier.
const BridgeSession = "$bridge/"

// Bounds of bridges.
const (
	BridgesMax     = 256
	BridgeNameMax  = 64       // bytes
	BridgeMax      = 48 << 10 // bytes of the value: certificates are in it
	RoutesMax      = 64       // of one bridge
	KeepAliveLeast = 5        // seconds
)

// Bridge is a connection to another MQTT broker, and what goes over it.
type Bridge struct {
	URL      string `json:"url"`      // mqtt, mqtts, ws or wss, host, port; of ws and wss also the path
	Protocol string `json:"protocol"` // "5" or "3.1.1"

	ClientID  string `json:"client_id"` // at the remote broker
	User      string `json:"user,omitempty"`
	Password  string `json:"password,omitempty"`
	KeepAlive uint16 `json:"keep_alive"` // seconds

	// PEM. The key is that of the first certificate in Cert.
	CACert   string `json:"cacert,omitempty"`
	Cert     string `json:"cert,omitempty"`
	CertKey  string `json:"cert_key,omitempty"`
	Insecure bool   `json:"insecure,omitempty"` // over TLS, who answers is not checked

	Routes []Route `json:"routes"`
	Paused bool    `json:"paused,omitempty"` // what is to go out waits, and nothing comes in
}

// Direction says which way a route leads.
type Direction string

const (
	In   Direction = "in"   // what the remote broker has is published here
	Out  Direction = "out"  // what is published here goes to the remote broker
	Both Direction = "both" // each way
)

// Route is what goes over a bridge, and under which names: a topic that matches Local followed by
// Filter here is the one under Remote in place of Local there.
type Route struct {
	Direction Direction `json:"direction"`
	Filter    string    `json:"filter"`
	QoS       uint8     `json:"qos"` // at most
	Local     string    `json:"local,omitempty"`
	Remote    string    `json:"remote,omitempty"`
}

// Comes and Goes tell which way a route leads.
func (r *Route) Comes() bool { return r.Direction == In || r.Direction == Both }
func (r *Route) Goes() bool  { return r.Direction == Out || r.Direction == Both }

// LocalFilter is what a route takes here, and RemoteFilter what it takes there.
func (r *Route) LocalFilter() string  { return r.Local + r.Filter }
func (r *Route) RemoteFilter() string { return r.Remote + r.Filter }

// ToLocal returns the topic here of one that the remote broker has, which RemoteFilter matches; ToRemote
// the other way. ok false: it is nothing.
func (r *Route) ToLocal(topic string) (string, bool)  { return swap(topic, r.Remote, r.Local) }
func (r *Route) ToRemote(topic string) (string, bool) { return swap(topic, r.Local, r.Remote) }

// swap puts one beginning in place of another. A filter "a/#" also matches "a", of which "a/" is no
// beginning: then the prefixes lose their last "/".
func swap(topic, from, to string) (out string, ok bool) {
	rest, ok := strings.CutPrefix(topic, from)
	if !ok && topic+"/" == from && (to == "" || strings.HasSuffix(to, "/")) {
		rest, to, ok = "", strings.TrimSuffix(to, "/"), true
	}
	out = to + rest
	return out, ok && out != ""
}

// Protocols are the versions of MQTT that a bridge speaks.
func Protocols() []string { return []string{"5", "3.1.1"} }

// Version is the protocol that the bridge speaks.
func (b *Bridge) Version() mqttwire.Version {
	if b.Protocol == "3.1.1" {
		return mqttwire.V311
	}
	return mqttwire.V5
}

// Shown is the bridge without what is secret.
func (b Bridge) Shown() Bridge {
	b.Password, b.CertKey = "", ""
	return b
}

// schemes are those of a bridge's URL, with their ports.
var schemes = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// Address is the remote broker's URL, taken apart, with a port. Errors do not show it: who has written it
// wrong may have a password in it.
func (b *Bridge) Address() (*url.URL, error) {
	u, err := url.Parse(b.URL)
	if err != nil {
		return nil, fmt.Errorf("that is no URL such as mqtt://mqtt.example.com")
	}
	port, ok := schemes[u.Scheme]
	switch web := strings.HasPrefix(u.Scheme, "ws"); {
	case !ok:
		return nil, fmt.Errorf("a bridge leads to mqtt://, mqtts://, ws:// or wss://")
	case u.User != nil:
		return nil, fmt.Errorf("user and password are no part of the URL")
	case u.Hostname() == "":
		return nil, fmt.Errorf("the URL names no host")
	case u.RawQuery != "" || u.Fragment != "" || !web && strings.Trim(u.Path, "/") != "":
		return nil, fmt.Errorf("the URL has more than a host and a port")
	case web && u.Path == "":
		u.Path = "/mqtt"
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return u, nil
}

// TLS is how the bridge speaks it; nil: it does not.
func (b *Bridge) TLS() (*tls.Config, error) {
	u, err := b.Address()
	if err != nil {
		return nil, err
	}
	if u.Scheme != "mqtts" && u.Scheme != "wss" {
		if b.CACert != "" || b.Cert != "" || b.CertKey != "" || b.Insecure {
			return nil, fmt.Errorf("certificates mean nothing to %s://", u.Scheme)
		}
		return nil, nil
	}
	c := &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: b.Insecure} // asked for by name
	if b.CACert != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(b.CACert)) {
			return nil, fmt.Errorf("there is no certificate in what is to be trusted")
		}
	}
	if b.Cert != "" || b.CertKey != "" {
		pair, err := tls.X509KeyPair([]byte(b.Cert), []byte(b.CertKey))
		if err != nil {
			return nil, fmt.Errorf("the certificate to show: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s *Setting) checkBridge() error {
	var b Bridge
	if err := s.Read(&b); err != nil {
		return err
	}
	if len(s.Name) > BridgeNameMax || strings.ContainsAny(s.Name, "/+#") {
		return fmt.Errorf("%q is no name of a bridge: it has 1 to %d bytes, and no /, + or #", s.Name, BridgeNameMax)
	}
	if _, err := b.TLS(); err != nil { // and Address
		return err
	}
	switch {
	case b.Protocol != "5" && b.Protocol != "3.1.1":
		return fmt.Errorf("protocol %q is none of %s", b.Protocol, strings.Join(Protocols(), ", "))
	case b.ClientID == "" || !mqttwire.ValidString([]byte(b.ClientID)):
		return fmt.Errorf("client id %q is none", b.ClientID)
	case !mqttwire.ValidString([]byte(b.User)) || len(b.Password) > 65535:
		return fmt.Errorf("user name and password have at most 65535 bytes, and the user name is text")
	case b.Password != "" && b.User == "" && b.Protocol != "5":
		return fmt.Errorf("in MQTT 3.1.1 a password needs a user name")
	case b.KeepAlive < KeepAliveLeast:
		return fmt.Errorf("a keep alive of %d seconds: %d at least", b.KeepAlive, KeepAliveLeast)
	case len(b.Routes) == 0 || len(b.Routes) > RoutesMax:
		return fmt.Errorf("%d routes: a bridge has 1 to %d", len(b.Routes), RoutesMax)
	}
	taken := make(map[string]bool) // each filter, in each direction
	for i := range b.Routes {
		r := &b.Routes[i]
		if err := r.check(); err != nil {
			return err
		}
		for _, way := range []string{"in", "out"} {
			filter := r.RemoteFilter()
			if way == "out" {
				filter = r.LocalFilter()
			}
			if (way == "in" && r.Comes()) || (way == "out" && r.Goes()) {
				if taken[way+filter] {
					return fmt.Errorf("two routes take %s %q", way, filter)
				}
				taken[way+filter] = true
			}
		}
	}
	return nil
}

func (r *Route) check() error {
	if r.Direction != In && r.Direction != Out && r.Direction != Both {
		return fmt.Errorf("direction %q is none of in, out, both", r.Direction)
	}
	if r.QoS > 2 {
		return fmt.Errorf("QoS %d: 0, 1 or 2", r.QoS)
	}
	for _, prefix := range []string{r.Local, r.Remote} {
		if strings.ContainsAny(prefix, "+#") {
			return fmt.Errorf("prefix %q has a wildcard", prefix)
		}
	}
	for _, filter := range []string{r.LocalFilter(), r.RemoteFilter()} {
		if err := checkFilter(filter); err != nil {
			return err
		}
		if root, _, _ := strings.Cut(filter, "/"); strings.HasPrefix(root, "$") && root != "$SYS" {
			return fmt.Errorf("filter %q: a bridge takes what is under $SYS, and nothing else that begins with $", filter)
		}
	}
	if strings.HasPrefix(r.LocalFilter(), "$SYS") && r.Comes() || strings.HasPrefix(r.RemoteFilter(), "$SYS") && r.Goes() {
		return fmt.Errorf("filter %q: only a broker itself publishes under $SYS, so a route needs a prefix in its place", r.Filter)
	}
	return nil
}
