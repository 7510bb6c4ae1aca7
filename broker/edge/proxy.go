package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, versions 1 and 2, by which a proxy tells who the client is: a header in
// front of what the client sends.
//
// Version 1 is a line of at most 107 bytes:
//
//	PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n
//	PROXY TCP6 2001:db8::1 2001:db8::2 56324 1883\r\n
//	PROXY UNKNOWN …\r\n
//
// Version 2 is binary, big-endian:
//
//	0                              12        13      14       16
//	┌──────────────────────────────┬─────────┬───────┬────────┬─────────────────────────┐
//	│ 0D 0A 0D 0A 00 0D 0A         │ version │ family│ length │ addresses, then         │
//	│ 51 55 49 54 0A               │ command │ proto │ u16    │ values of type u8,      │
//	│                              │         │       │        │ length u16              │
//	└──────────────────────────────┴─────────┴───────┴────────┴─────────────────────────┘
//	command: 20 LOCAL (the proxy itself), 21 PROXY
//	family: 11 TCP over IPv4: 4+4+2+2 bytes; 21 over IPv6: 16+16+2+2; 31 Unix: 108+108; 00: none
const (
	proxyV1Max  = 107 // with CR LF
	proxyV2Head = 16
	// proxyV2Max bounds the length in a header of version 2: all that is defined, with a
	// certificate, has room.
	proxyV2Max = 8 << 10

	proxyLocal, proxyProxy            = 0x20, 0x21
	proxyNone, proxyTCP4              = 0x00, 0x11
	proxyTCP6, proxyUnix              = 0x21, 0x31
	proxyTypeCRC, proxyTypeAuthority  = 0x03, 0x02
	proxyTypeSSL, proxySSLCommonName  = 0x20, 0x22
	proxySSLOverTLS, proxySSLOnConn   = 0x01, 0x02
	proxySSLInSession, proxySSLHead   = 0x04, 5
	proxyUnixPath, proxyCommonNameMax = 108, 255
)

var proxyV2Start = []byte("\r\n\r\n\x00\r\nQUIT\n")

const proxyV1Start = "PROXY "

// errProxy is the error of bytes that are no header of the PROXY protocol.
var errProxy = errors.New("not a header of the PROXY protocol")

// proxied is what a proxy tells.
type proxied struct {
	client     net.Addr // nil: not who the client is (LOCAL, UNKNOWN)
	commonName string   // of the client's certificate, which the proxy has verified
	serverName string   // that the client asked the proxy for
}

// parseProxy reads the header at the start of b, of n bytes. When b is too short it returns how
// many bytes it needs, at least.
func parseProxy(b []byte) (p proxied, n, need int, err error) {
	if len(b) == 0 {
		return p, 0, 1, nil
	}
	if b[0] == proxyV2Start[0] {
		return parseProxyV2(b)
	}
	return parseProxyV1(b)
}

func parseProxyV1(b []byte) (p proxied, n, need int, err error) {
	if k := min(len(b), len(proxyV1Start)); string(b[:k]) != proxyV1Start[:k] {
		return p, 0, 0, errProxy
	}
	end := bytes.IndexByte(b[:min(len(b), proxyV1Max)], '\n')
	if end < 0 {
		if len(b) >= proxyV1Max {
			return p, 0, 0, errProxy
		}
		return p, 0, len(b) + 1, nil
	}
	line, ok := strings.CutSuffix(string(b[:end]), "\r")
	if !ok {
		return p, 0, 0, errProxy
	}
	f := strings.Split(line, " ")
	if f[1] == "UNKNOWN" { // whatever follows
		return p, end + 1, 0, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return p, 0, 0, errProxy
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(f[2+i])
		if err != nil || addr.Zone() != "" || addr.Is4() != (f[1] == "TCP4") {
			return p, 0, 0, errProxy
		}
		port, err := strconv.ParseUint(f[4+i], 10, 16)
		if err != nil || len(f[4+i]) > 1 && f[4+i][0] == '0' {
			return p, 0, 0, errProxy
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	p.client = net.TCPAddrFromAddrPort(ends[0])
	return p, end + 1, 0, nil
}

func parseProxyV2(b []byte) (p proxied, n, need int, err error) {
	if k := min(len(b), len(proxyV2Start)); !bytes.Equal(b[:k], proxyV2Start[:k]) {
		return p, 0, 0, errProxy
	}
	if len(b) < proxyV2Head {
		return p, 0, proxyV2Head, nil
	}
	command, family, length := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command != proxyLocal && command != proxyProxy || length > proxyV2Max {
		return p, 0, 0, errProxy
	}
	n = proxyV2Head + length
	if len(b) < n {
		return p, 0, n, nil
	}
	body := b[proxyV2Head:n]
	if command == proxyLocal { // whatever follows
		return p, n, 0, nil
	}
	addresses := 0
	switch family {
	case proxyNone:
	case proxyTCP4:
		addresses = 4 + 4 + 2 + 2
	case proxyTCP6:
		addresses = 16 + 16 + 2 + 2
	case proxyUnix:
		addresses = 2 * proxyUnixPath
	default:
		return p, 0, 0, errProxy
	}
	if len(body) < addresses {
		return p, 0, 0, errProxy
	}
	switch family {
	case proxyTCP4:
		p.client = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:])))
	case proxyTCP6:
		p.client = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:])))
	}
	// A client of a Unix socket of the proxy's machine has no address that would mean anything
	// here: the proxy's stands for it.
	if err := p.values(b[:n], proxyV2Head+addresses); err != nil {
		return proxied{}, 0, 0, err
	}
	return p, n, 0, nil
}

// values reads the typed values of a header of version 2, which begin at position at.
func (p *proxied) values(header []byte, at int) error {
	for at < len(header) {
		kind, value, next, ok := proxyValue(header, at)
		if !ok {
			return errProxy
		}
		switch kind {
		case proxyTypeCRC: // over the header, itself taken as 0
			if len(value) != 4 {
				return errProxy
			}
			want := binary.BigEndian.Uint32(value)
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, header[:next-4])
			sum = crc32.Update(sum, table, make([]byte, 4))
			if crc32.Update(sum, table, header[next:]) != want {
				return errProxy
			}
		case proxyTypeAuthority:
			if len(value) > proxyCommonNameMax {
				return errProxy
			}
			p.serverName = strings.ToLower(string(value))
		case proxyTypeSSL:
			if err := p.ssl(value); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// ssl reads what a proxy tells of the client's TLS: flags, a verdict of 4 bytes that is 0 when
// the certificate was verified, and values.
func (p *proxied) ssl(b []byte) error {
	if len(b) < proxySSLHead {
		return errProxy
	}
	shown := b[0]&proxySSLOverTLS != 0 && b[0]&(proxySSLOnConn|proxySSLInSession) != 0
	verified := binary.BigEndian.Uint32(b[1:]) == 0
	for at := proxySSLHead; at < len(b); {
		kind, value, next, ok := proxyValue(b, at)
		if !ok {
			return errProxy
		}
		if kind == proxySSLCommonName && shown && verified {
			if len(value) > proxyCommonNameMax {
				return errProxy
			}
			p.commonName = string(value)
		}
		at = next
	}
	return nil
}

func proxyValue(b []byte, at int) (kind byte, value []byte, next int, ok bool) {
	if len(b)-at < 3 {
		return 0, nil, 0, false
	}
	next = at + 3 + int(binary.BigEndian.Uint16(b[at+1:]))
	if next > len(b) {
		return 0, nil, 0, false
	}
	return b[at], b[at+3 : next], next, true
}
