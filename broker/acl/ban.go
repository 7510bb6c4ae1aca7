package acl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Ban keeps a subject out of every protocol: what is given of client, user and host must all be so.
type Ban struct {
	Client string    `json:"client,omitempty"` // MQTT client id
	User   string    `json:"user,omitempty"`
	Host   string    `json:"host,omitempty"` // an IP address, or a range of them (10.0.0.0/8)
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"` // "": somebody; ByFlapping
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is removed
}

// ByFlapping marks bans that the broker itself has made, of clients that come and go too often.
const ByFlapping = "flapping"

// ErrBanned is in the error that tells a client that it is banned.
var ErrBanned = errors.New("banned")

// Check tells what is wrong with a ban.
func (b *Ban) Check() error {
	for _, s := range []string{b.Client, b.User, b.Host, b.Reason, b.By} {
		if len(s) > NameMax {
			return fmt.Errorf("a text of %d bytes; at most %d fit", len(s), NameMax)
		}
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			return fmt.Errorf("%q is not text in UTF-8", s)
		}
	}
	if b.Client == "" && b.User == "" && b.Host == "" {
		return errors.New("whom it keeps out is missing: a client id, a user, or an IP address")
	}
	if b.Host != "" {
		if _, err := parseHost(b.Host); err != nil {
			return err
		}
	}
	return nil
}

// Canonical returns b with its host as it is compared.
func (b Ban) Canonical() Ban {
	if p, err := parseHost(b.Host); err == nil {
		if b.Host = p.String(); p.IsSingleIP() {
			b.Host = p.Addr().String()
		}
	}
	return b
}

// Key is the same for bans of the same subject.
func (b *Ban) Key() string {
	c := b.Canonical()
	key, _ := json.Marshal([]string{c.Client, c.User, c.Host}) // strings cannot fail
	return string(key)
}

// Who says whom it keeps out.
func (b *Ban) Who() string {
	var words []string
	for _, w := range [][2]string{{"client", b.Client}, {"user", b.User}, {"host", b.Host}} {
		if w[1] != "" {
			words = append(words, w[0]+" "+w[1])
		}
	}
	return strings.Join(words, ", ")
}

// Over tells whether a ban has ended.
func (b *Ban) Over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// CompareBans orders bans by whom they keep out.
func CompareBans(a, b *Ban) int {
	return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.User, b.User), cmp.Compare(a.Host, b.Host))
}

// Bans is a set of bans, to be asked. It does not change. The nil set has none.
type Bans struct {
	// Each ban is filed once, under the first that it gives of client, user and host.
	clients, users map[string][]*Ban
	hosts          map[netip.Addr][]*Ban
	ranges         []ranged
}

type ranged struct {
	of  netip.Prefix
	ban *Ban
}

// NewBans returns the set of bans.
func NewBans(bans []Ban) *Bans {
	t := &Bans{clients: make(map[string][]*Ban), users: make(map[string][]*Ban), hosts: make(map[netip.Addr][]*Ban)}
	for i := range bans {
		b := &bans[i]
		p, err := parseHost(b.Host)
		switch {
		case b.Client != "":
			t.clients[b.Client] = append(t.clients[b.Client], b)
		case b.User != "":
			t.users[b.User] = append(t.users[b.User], b)
		case err != nil:
		case p.IsSingleIP():
			t.hosts[p.Addr()] = append(t.hosts[p.Addr()], b)
		default:
			t.ranges = append(t.ranges, ranged{p, b})
		}
	}
	return t
}

// Find returns a ban that keeps a subject out now, or nil.
func (t *Bans) Find(s *Subject, now time.Time) *Ban {
	if t == nil {
		return nil
	}
	holds := func(b *Ban) bool {
		if b.Over(now) || b.User != "" && b.User != s.User || b.Client != "" && b.Client != s.Client {
			return false
		}
		if b.Host == "" {
			return true
		}
		p, err := parseHost(b.Host)
		return err == nil && p.Contains(s.Host)
	}
	for _, filed := range [][]*Ban{t.clients[s.Client], t.users[s.User], t.hosts[s.Host]} {
		if i := slices.IndexFunc(filed, holds); i >= 0 {
			return filed[i]
		}
	}
	for i := range t.ranges {
		if r := &t.ranges[i]; r.of.Contains(s.Host) && !r.ban.Over(now) {
			return r.ban
		}
	}
	return nil
}

// Error is what an operator reads of a client that is kept out.
func (b *Ban) Error() string {
	text := fmt.Sprintf("%s is banned", b.Who())
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return text
}

// Unwrap makes it ErrBanned.
func (b *Ban) Unwrap() error { return ErrBanned }
