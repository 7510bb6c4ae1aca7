package transport

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/robustmq/rmq/broker/fault"
)

// Before the first chunk, both ends prove that they hold the cluster's token, and who they
// are. The one that dialled speaks first; little-endian:
//
//	hello      0           8     10    12              20              28            60  61
//	 dialler ▶ ┌───────────┬─────┬─────┬───────────────┬───────────────┬─────────────┬───┬─────────┐
//	           │ "rmq-node"│ ver │ 0   │ from          │ to            │ nonce       │len│ cluster │
//	           │           │ u16 │ u16 │ u64           │ u64           │ 32 bytes    │u8 │ len     │
//	           └───────────┴─────┴─────┴───────────────┴───────────────┴─────────────┴───┴─────────┘
//	challenge  0           8     10    12              20            52
//	         ◀ ┌───────────┬─────┬─────┬───────────────┬─────────────┐
//	           │ "rmq-node"│ ver │code │ node          │ nonce       │
//	           │           │ u16 │ u16 │ u64           │ 32 bytes    │
//	           └───────────┴─────┴─────┴───────────────┴─────────────┘
//	proof    ▶ 32 bytes: mac("dials")
//	welcome    0     2                     34
//	         ◀ ┌─────┬─────────────────────┐
//	           │code │ mac("accepts")      │
//	           │ u16 │ 32 bytes            │
//	           └─────┴─────────────────────┘
//
// mac(role) is HMAC-SHA256, with the token as its key, over
//
//	"rmq-node" role 0, hello, challenge, and with TLS 32 bytes that both ends export from it
//
// Both nonces are new each time, so what was once said proves nothing later; the role keeps
// a proof from being given back to who made it. The one that dialled proves first, so that
// who merely connects is told nothing that depends on the token. What TLS exports binds the
// proof to this very connection: nobody stands in between, whoever signed the certificates.
//
// Who says that it is node 0, and looks for node 0, is no node, and asks whichever is there (ask.go).
//
// A code other than 0 is a refusal, and ends the connection. A reader checks the first eight
// bytes and the version before all else: what follows them may differ in another version.
const (
	handshakeMagic   = "rmq-node"
	handshakeVersion = 1
	versionEnd       = 10
	helloLen         = 61 // without the cluster's name
	challengeLen     = 52
	nonceLen         = 32
	macLen           = sha256.Size
	welcomeLen       = 2 + macLen
	clusterMax       = 255                 // bytes of a cluster's name
	exportLabel      = "EXPORTER-rmq-node" // what TLS exports is for this use alone
	dials, accepts   = "dials", "accepts"  // the roles

	tlsAlert, tlsHandshake = 0x15, 0x16 // records that TLS may begin with
)

// refusal is why the node that accepts goes no further.
type refusal uint16

const (
	refusedVersion     refusal = 1 + iota
	refusedCluster             // it is of a cluster of another name
	refusedTarget              // it is not the node that was meant
	refusedNode                // it does not know the node that dials
	refusedToken               // the proof is not of the cluster's token
	refusedCertificate         // the certificate is not that node's
	refusedPlain               // it wants TLS; said without TLS
	refusals           = iota + 1
)

var refusalNames = [refusals]string{"", "version", "cluster", "target", "node", "token", "certificate", "plain"}

func (r refusal) String() string {
	if r < refusals {
		return refusalNames[r]
	}
	return fmt.Sprintf("code %d", uint16(r))
}

// hello is what the one that dials says first.
type hello struct {
	from, to uint64
	nonce    [nonceLen]byte
	cluster  string
}

func (h hello) append(dst []byte) []byte {
	dst = append(dst, handshakeMagic...)
	dst = binary.LittleEndian.AppendUint16(dst, handshakeVersion)
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, h.from)
	dst = binary.LittleEndian.AppendUint64(dst, h.to)
	dst = append(dst, h.nonce[:]...)
	dst = append(dst, byte(len(h.cluster)))
	return append(dst, h.cluster...)
}

// readHello reads a hello and returns its bytes too, which are part of what is proven.
func readHello(r io.Reader) (h hello, raw []byte, err error) {
	raw = make([]byte, helloLen, helloLen+clusterMax)
	if _, err := io.ReadFull(r, raw[:versionEnd]); err != nil {
		return h, nil, err
	}
	if err := checkVersion(raw); err != nil {
		return h, nil, err
	}
	if _, err := io.ReadFull(r, raw[versionEnd:]); err != nil {
		return h, nil, err
	}
	h.from, h.to = binary.LittleEndian.Uint64(raw[12:]), binary.LittleEndian.Uint64(raw[20:])
	copy(h.nonce[:], raw[28:])
	raw = raw[:helloLen+int(raw[helloLen-1])]
	if _, err := io.ReadFull(r, raw[helloLen:]); err != nil {
		return h, nil, err
	}
	h.cluster = string(raw[helloLen:])
	return h, raw, nil
}

// challenge is what the one that accepts answers.
type challenge struct {
	code  refusal
	node  uint64
	nonce [nonceLen]byte
}

func (c challenge) append(dst []byte) []byte {
	dst = append(dst, handshakeMagic...)
	dst = binary.LittleEndian.AppendUint16(dst, handshakeVersion)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(c.code))
	dst = binary.LittleEndian.AppendUint64(dst, c.node)
	return append(dst, c.nonce[:]...)
}

func readChallenge(r io.Reader) (c challenge, raw []byte, err error) {
	raw = make([]byte, challengeLen)
	if _, err := io.ReadFull(r, raw[:versionEnd]); err != nil {
		return c, nil, err
	}
	if err := checkVersion(raw); err != nil {
		return c, nil, err
	}
	if _, err := io.ReadFull(r, raw[versionEnd:]); err != nil {
		return c, nil, err
	}
	c.code, c.node = refusal(binary.LittleEndian.Uint16(raw[10:])), binary.LittleEndian.Uint64(raw[12:])
	copy(c.nonce[:], raw[20:])
	return c, raw, nil
}

// checkVersion looks at the first bytes that a peer sent.
func checkVersion(b []byte) error {
	if string(b[:len(handshakeMagic)]) != handshakeMagic {
		if b[0] == tlsHandshake || b[0] == tlsAlert {
			return fault.New(fault.Invalid, "connect", "", "it is set up with TLS, and this node without")
		}
		return fault.New(fault.Invalid, "connect", "", "it does not speak as a node does")
	}
	if v := binary.LittleEndian.Uint16(b[len(handshakeMagic):]); v != handshakeVersion {
		return &versionError{v}
	}
	return nil
}

// versionError: the peer is of another release.
type versionError struct{ theirs uint16 }

func (e *versionError) Error() string {
	return fmt.Sprintf("it speaks version %d between nodes, and this node version %d", e.theirs, handshakeVersion)
}

// proof is what one end of a connection proves itself by.
func proof(token []byte, role string, hello, challenge, exported []byte) []byte {
	mac := hmac.New(sha256.New, token)
	mac.Write([]byte(handshakeMagic + role + "\x00"))
	mac.Write(hello)
	mac.Write(challenge)
	mac.Write(exported)
	return mac.Sum(nil)
}

// identity is who a node is, and what it proves that by.
type identity struct {
	self    uint64
	cluster string
	token   []byte
}

// dial is the handshake of the node that has dialled another one. exported is of the
// connection's TLS, or empty.
func (id identity) dial(rw io.ReadWriter, to uint64, exported []byte) error {
	h := hello{from: id.self, to: to, cluster: id.cluster}
	_, _ = rand.Read(h.nonce[:]) // never fails
	said := h.append(nil)
	if _, err := rw.Write(said); err != nil {
		return err
	}
	c, heard, err := readChallenge(rw)
	if v, ok := err.(*versionError); ok {
		return fault.New(fault.Unsupported, "connect", "", "%w", v)
	}
	if err != nil {
		return err
	}
	if c.code != 0 {
		return id.refused(c.code, c.node)
	}
	if to != 0 && c.node != to {
		return fault.New(fault.Conflict, "connect", "", "node %d is there", c.node)
	}
	if _, err := rw.Write(proof(id.token, dials, said, heard, exported)); err != nil {
		return err
	}
	var w [welcomeLen]byte
	if _, err := io.ReadFull(rw, w[:]); err != nil {
		return err
	}
	if code := refusal(binary.LittleEndian.Uint16(w[:])); code != 0 {
		return id.refused(code, c.node)
	}
	if !hmac.Equal(w[2:], proof(id.token, accepts, said, heard, exported)) {
		return fault.New(fault.Unauthorized, "connect", "", "it does not have this cluster's token")
	}
	return nil
}

// refused says what a refusal of node means to the one that dialled.
func (id identity) refused(r refusal, node uint64) error {
	switch r {
	case refusedVersion:
		return fault.New(fault.Unsupported, "connect", "", "it does not speak version %d between nodes", handshakeVersion)
	case refusedCluster:
		return fault.New(fault.Conflict, "connect", "", "it is of another cluster than %q", id.cluster)
	case refusedTarget:
		return fault.New(fault.Conflict, "connect", "", "node %d is there", node)
	case refusedNode:
		return fault.New(fault.Denied, "connect", "", "it does not know node %d as a peer", id.self)
	case refusedToken:
		return fault.New(fault.Unauthorized, "connect", "", "it has another cluster token")
	case refusedPlain:
		return fault.New(fault.Invalid, "connect", "", "it is set up with TLS, and this node without")
	case refusedCertificate:
		return fault.New(fault.Unauthorized, "connect", "", "it does not take this node's certificate for node %d's", id.self)
	}
	return fault.New(fault.Denied, "connect", "", "it refuses, with %v", r)
}

// accept is the handshake of the node that was dialled; it returns who dialled, also beside an
// error as far as it is known, and then not proven. known tells whether a node is a peer, check
// whether the connection's certificate is that node's.
func (id identity) accept(rw io.ReadWriter, exported []byte, known func(uint64) bool, check func(uint64) error) (from uint64, code refusal, err error) {
	h, heard, err := readHello(rw)
	c := challenge{node: id.self}
	if v, ok := err.(*versionError); ok {
		c.code, err = refusedVersion, fault.New(fault.Unsupported, "accept", "", "%w", v)
	}
	if err != nil && c.code == 0 {
		return 0, 0, err
	}
	switch {
	case c.code != 0:
	case h.cluster != id.cluster:
		c.code = refusedCluster
		err = fault.New(fault.Conflict, "accept", "", "it is of cluster %q, and this node of %q", h.cluster, id.cluster)
	case h.to != id.self && (h.from != 0 || h.to != 0):
		c.code = refusedTarget
		err = fault.New(fault.Conflict, "accept", "", "it looks for node %d, and this is node %d", h.to, id.self)
	case h.from == id.self:
		c.code = refusedNode
		err = fault.New(fault.Conflict, "accept", "", "it says that it is node %d, as this one", h.from)
	case !known(h.from):
		c.code = refusedNode
		err = fault.New(fault.Denied, "accept", "", "node %d is not a peer of this node", h.from)
	}
	_, _ = rand.Read(c.nonce[:]) // never fails
	said := c.append(nil)
	if _, werr := rw.Write(said); err == nil {
		err = werr
	}
	if err != nil {
		return h.from, c.code, err
	}

	var given [macLen]byte
	if _, err := io.ReadFull(rw, given[:]); err != nil {
		return h.from, 0, err
	}
	w := make([]byte, welcomeLen)
	if !hmac.Equal(given[:], proof(id.token, dials, heard, said, exported)) {
		code = refusedToken
		err = fault.New(fault.Unauthorized, "accept", "", "it does not have this cluster's token")
	} else if cerr := check(h.from); cerr != nil {
		code = refusedCertificate
		err = fault.New(fault.Unauthorized, "accept", "", "its certificate is not node %d's: %w", h.from, cerr)
	} else {
		copy(w[2:], proof(id.token, accepts, heard, said, exported))
	}
	binary.LittleEndian.PutUint16(w, uint16(code))
	if _, werr := rw.Write(w); err == nil {
		err = werr
	}
	return h.from, code, err
}
