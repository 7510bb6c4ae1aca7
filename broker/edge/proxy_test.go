package edge

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/wire"
)

// proxyV2 writes a header of version 2.
func proxyV2(command, family byte, body ...[]byte) string {
	all := []byte{}
	for _, b := range body {
		all = append(all, b...)
	}
	head := append([]byte(nil), proxyV2Start...)
	head = append(head, command, family)
	head = binary.BigEndian.AppendUint16(head, uint16(len(all)))
	return string(append(head, all...))
}

func proxyTLV(kind byte, value string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

var (
	proxyFrom4 = []byte{192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x07, 0x5b}
	proxyFrom6 = append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...), 0xdc, 0x04, 0x07, 0x5b)
)

func withCRC(header string) string {
	b := []byte(header)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

func TestParseProxy(t *testing.T) {
	ssl := func(flags byte, verdict uint32, cn string) []byte {
		value := append(binary.BigEndian.AppendUint32([]byte{flags}, verdict), proxyTLV(proxySSLCommonName, cn)...)
		return proxyTLV(proxyTypeSSL, string(value))
	}
	for _, tt := range []struct {
		name, header string
		client       string // "": not told
		cn, sni      string
		bad          bool
	}{
		{"v1", "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n", "192.0.2.1:56324", "", "", false},
		{"v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 1883\r\n", "[2001:db8::1]:56324", "", "", false},
		{"v1, unknown", "PROXY UNKNOWN\r\n", "", "", "", false},
		{"v1, unknown and more", "PROXY UNKNOWN ffff::1 ::2 1 2\r\n", "", "", "", false},
		{"v1, no CR", "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\n", "", "", "", true},
		{"v1, another family", "PROXY TCP4 2001:db8::1 2001:db8::2 56324 1883\r\n", "", "", "", true},
		{"v1, no family", "PROXY \r\n", "", "", "", true},
		{"v1, UDP", "PROXY UDP4 192.0.2.1 198.51.100.1 56324 1883\r\n", "", "", "", true},
		{"v1, a port too high", "PROXY TCP4 192.0.2.1 198.51.100.1 65536 1883\r\n", "", "", "", true},
		{"v1, a port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.1 +5 1883\r\n", "", "", "", true},
		{"v1, a port with a zero", "PROXY TCP4 192.0.2.1 198.51.100.1 05 1883\r\n", "", "", "", true},
		{"v1, a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 5 1883\r\n", "", "", "", true},
		{"v1, two spaces", "PROXY TCP4  192.0.2.1 198.51.100.1 5 1883\r\n", "", "", "", true},
		{"v1, too long", "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", "", "", "", true},
		{"v1, lower case", "proxy TCP4 192.0.2.1 198.51.100.1 5 1883\r\n", "", "", "", true},
		{"not at all", "\x10\x0c\x00\x04MQTT", "", "", "", true},

		{"v2", proxyV2(0x21, 0x11, proxyFrom4), "192.0.2.1:56324", "", "", false},
		{"v2, IPv6", proxyV2(0x21, 0x21, proxyFrom6), "[2001:db8::1]:56324", "", "", false},
		{"v2, Unix", proxyV2(0x21, 0x31, make([]byte, 216)), "", "", "", false},
		{"v2, no family", proxyV2(0x21, 0x00), "", "", "", false},
		{"v2, the proxy itself", proxyV2(0x20, 0x00), "", "", "", false},
		{"v2, the proxy itself, and rubbish", proxyV2(0x20, 0x11, []byte("rubbish")), "", "", "", false},
		{"v2, what the client asked for", proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(2, "Broker.Test")), "192.0.2.1:56324", "", "broker.test", false},
		{"v2, a verified certificate", proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(0xea, "x"), ssl(3, 0, "device-1")), "192.0.2.1:56324", "device-1", "", false},
		{"v2, of the session", proxyV2(0x21, 0x11, proxyFrom4, ssl(5, 0, "device-1")), "192.0.2.1:56324", "device-1", "", false},
		{"v2, a certificate not verified", proxyV2(0x21, 0x11, proxyFrom4, ssl(3, 1, "device-1")), "192.0.2.1:56324", "", "", false},
		{"v2, no certificate shown", proxyV2(0x21, 0x11, proxyFrom4, ssl(1, 0, "device-1")), "192.0.2.1:56324", "", "", false},
		{"v2, no TLS", proxyV2(0x21, 0x11, proxyFrom4, ssl(2, 0, "device-1")), "192.0.2.1:56324", "", "", false},
		{"v2, a checksum", withCRC(proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(3, "\x00\x00\x00\x00"))), "192.0.2.1:56324", "", "", false},
		{"v2, a wrong checksum", proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(3, "\x01\x02\x03\x04")), "", "", "", true},
		{"v2, half a checksum", proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(3, "\x01\x02")), "", "", "", true},
		{"v2, another version", proxyV2(0x31, 0x11, proxyFrom4), "", "", "", true},
		{"v2, another command", proxyV2(0x22, 0x11, proxyFrom4), "", "", "", true},
		{"v2, datagrams", proxyV2(0x21, 0x12, proxyFrom4), "", "", "", true},
		{"v2, half an address", proxyV2(0x21, 0x11, proxyFrom4[:11]), "", "", "", true},
		{"v2, half a value", proxyV2(0x21, 0x11, proxyFrom4, []byte{0x20, 0}), "", "", "", true},
		{"v2, a value that is too long", proxyV2(0x21, 0x11, proxyFrom4, []byte{0x20, 0, 9, 1}), "", "", "", true},
		{"v2, half of SSL", proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(0x20, "\x01\x00")), "", "", "", true},
		{"v2, too long", string(proxyV2Start) + "\x21\x11\xff\xff", "", "", "", true},
		{"v2, not", "\r\n\r\n\x00\r\nQUIT\r" + "\x21\x11\x00\x00", "", "", "", true},
	} {
		p, n, need, err := parseProxy([]byte(tt.header + "after"))
		if (err != nil) != tt.bad || need != 0 {
			t.Errorf("%s: %v, %d needed", tt.name, err, need)
			continue
		}
		client := ""
		if p.client != nil {
			client = p.client.String()
		}
		if client != tt.client || p.commonName != tt.cn || p.serverName != tt.sni || !tt.bad && n != len(tt.header) {
			t.Errorf("%s: %q %q %q, %d bytes of %d", tt.name, client, p.commonName, p.serverName, n, len(tt.header))
		}
	}
}

// However the bytes arrive, no more is asked for than there can be, and the answer is the same.
func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n\x10"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(2, "a"), proxyTLV(0x20, "\x03\x00\x00\x00\x00\x22\x00\x01d"))))
	f.Add([]byte(withCRC(proxyV2(0x21, 0x21, proxyFrom6, proxyTLV(3, "\x00\x00\x00\x00")))))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, n, need, err := parseProxy(b)
		if n > len(b) || need != 0 && (need <= len(b) || need > proxyV2Head+proxyV2Max) || n == 0 && need == 0 && err == nil {
			t.Fatalf("%x: %d, %d, %v", b, n, need, err)
		}
		for i := range min(len(b), 300) {
			p, k, need, err2 := parseProxy(b[:i])
			switch {
			case need > 0 && i < n || need > 0 && n == 0:
			case k != n || (err == nil) != (err2 == nil):
				t.Fatalf("%x is %d, %v, and its first %d bytes are %d, %v", b, n, err, i, k, err2)
			case k > 0 && (p.commonName != whole.commonName || p.serverName != whole.serverName):
				t.Fatalf("%x differs with what follows it", b)
			}
		}
	})
}

// Behind a trusted proxy a client is who the proxy says; nobody else can say anything.
func TestProxyHeader(t *testing.T) {
	who := HandlerFunc(func(c net.Conn) {
		p := wire.PeerOf(c)
		io.WriteString(c, c.RemoteAddr().String()+" "+p.CommonName+" by ")
		if p.Proxy != nil {
			host, _, _ := net.SplitHostPort(p.Proxy.String())
			io.WriteString(c, host)
		}
		io.WriteString(c, ":")
		io.Copy(c, c)
	})
	web := NewHTTP(httpServer())
	defer web.Close(context.Background())
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: who, HTTP: web}})
	at := func(spec Spec) string {
		spec.Address = "127.0.0.1:0"
		a, err := s.Listen(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return a.String()
	}
	here, elsewhere := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	fixed, detected := at(Spec{Proto: MQTT, Proxies: here}), at(Spec{Proxies: here})
	untrusted, off := at(Spec{Proxies: elsewhere}), at(Spec{})
	s.Start()

	const v1 = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n"
	v2 := proxyV2(0x21, 0x11, proxyFrom4, proxyTLV(0x20, "\x03\x00\x00\x00\x00\x22\x00\x01d"))
	for _, tt := range []struct{ name, address, first, want string }{
		{"v1", fixed, v1 + "\x10hello", "192.0.2.1:56324  by 127.0.0.1:\x10hello"},
		{"v2", fixed, v2 + "\x10hello", "192.0.2.1:56324 d by 127.0.0.1:\x10hello"},
		{"v1, then what the protocol is", detected, v1 + "\x10hello", "192.0.2.1:56324  by 127.0.0.1:\x10hello"},
		{"none", fixed, "\x10hello", ""},
		{"twice", detected, v1 + v1 + "\x10hello", ""},
		{"from one who is not trusted", untrusted, v1 + "\x10hello", ""},
		{"where it is off", off, v1 + "\x10hello", ""},
	} {
		if got := say(t, tt.address, tt.first); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := say(t, untrusted, "\x10hello"); !strings.HasPrefix(got, "127.0.0.1:") || !strings.HasSuffix(got, " by :\x10hello") {
		t.Errorf("one who is no proxy: %q", got)
	}
	if got := say(t, fixed, proxyV2(0x20, 0)+"\x10hello"); !strings.HasPrefix(got, "127.0.0.1:") || !strings.HasSuffix(got, " by :\x10hello") {
		t.Errorf("the proxy itself: %q", got)
	}
	if got := say(t, detected, v1+"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "192.0.2.1:56324 192.0.2.1:56324") {
		t.Errorf("over HTTP: %q", got)
	}
	if n := s.Stats().Refused[BadProxy].Load(); n != 1 {
		t.Errorf("%d were refused for their header", n)
	}
}

// Who begins to say who the client is, and stops, is let go.
func TestProxyHeaderHasATime(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}, FirstWait: shortWait})
	a, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: "127.0.0.1:0", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	tooSilent(t, s, a.String(), "PROXY TCP4 192.0.2")
}
