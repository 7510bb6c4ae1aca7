package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
)

var (
	nodeOne = identity{self: 1, cluster: "c", token: []byte("t")}
	nodeTwo = identity{self: 2, cluster: "c", token: []byte("t")}
)

func anyNode(uint64) bool  { return true }
func anyCert(uint64) error { return nil }

// tape is one end of a connection that keeps what is said over it.
type tape struct {
	io.ReadWriter
	wrote bytes.Buffer
}

func (c *tape) Write(b []byte) (int, error) {
	c.wrote.Write(b)
	return c.ReadWriter.Write(b)
}

// shake has a dial meet an accept, and returns what each came to, and what the first said.
func shake(dialler, accepter identity, to uint64, exportedD, exportedA []byte) (said []byte, from uint64, dialErr, acceptErr error) {
	a, b := net.Pipe()
	defer a.Close()
	c := &tape{ReadWriter: a}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		from, _, acceptErr = accepter.accept(b, exportedA, anyNode, anyCert)
	}()
	dialErr = dialler.dial(c, to, exportedD)
	a.Close()
	<-done
	return c.wrote.Bytes(), from, dialErr, acceptErr
}

func TestHandshake(t *testing.T) {
	if _, from, d, a := shake(nodeOne, nodeTwo, 2, nil, nil); from != 1 || d != nil || a != nil {
		t.Errorf("%d, %v, %v", from, d, a)
	}
	// What TLS exports is proven too: it differs when somebody stands in between.
	if _, _, d, a := shake(nodeOne, nodeTwo, 2, []byte("x"), []byte("y")); !fault.Is(d, fault.Unauthorized) || !fault.Is(a, fault.Unauthorized) {
		t.Errorf("%v, %v", d, a)
	}
}

// What a node once said proves nothing later.
func TestHandshakeReplayed(t *testing.T) {
	said, _, err, _ := shake(nodeOne, nodeTwo, 2, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, code, err := nodeTwo.accept(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(said), io.Discard}, nil, anyNode, anyCert)
	if code != refusedToken || !fault.Is(err, fault.Unauthorized) {
		t.Errorf("%v, %v", code, err)
	}
}

// Who does not have the token cannot pass by giving a node's own proof back to it.
func TestHandshakeReflected(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		defer b.Close()
		if _, _, err := readHello(b); err != nil {
			return
		}
		b.Write(challenge{node: 2}.append(nil))
		var proof [macLen]byte
		io.ReadFull(b, proof[:])
		b.Write(append([]byte{0, 0}, proof[:]...))
	}()
	if err := nodeOne.dial(a, 2, nil); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("%v", err)
	}
}

// A node of another version is told so, and tells so, whatever else differs in it.
func TestHandshakeOfAnotherVersion(t *testing.T) {
	h := hello{from: 1, to: 2, cluster: "c"}.append(nil)
	h[8] = 9
	var answer bytes.Buffer
	_, code, err := nodeTwo.accept(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(h[:versionEnd]), &answer}, nil, anyNode, anyCert)
	if want := "accept: it speaks version 9 between nodes, and this node version 1"; code != refusedVersion || err == nil || err.Error() != want {
		t.Errorf("%v, %v", code, err)
	}
	if c, _, err := readChallenge(&answer); c.code != refusedVersion || err != nil {
		t.Errorf("answered %v, %v", c.code, err)
	}

	err = nodeOne.dial(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(append([]byte(handshakeMagic), 7, 0)), io.Discard}, 2, nil)
	if want := "connect: it speaks version 7 between nodes, and this node version 1"; !fault.Is(err, fault.Unsupported) || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// Without the token, no bytes are taken for a node's.
func FuzzAccept(f *testing.F) {
	good := hello{from: 1, to: 2, cluster: "c"}.append(nil)
	f.Add(append(good, make([]byte, macLen)...))
	f.Add(good[:versionEnd])
	f.Add([]byte("\x16\x03\x01\x00\xa5\x01\x00"))
	f.Fuzz(func(t *testing.T, src []byte) {
		var answer bytes.Buffer
		_, code, err := nodeTwo.accept(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(src), &answer}, nil, anyNode, anyCert)
		if err == nil {
			t.Fatal("accepted")
		}
		if code != 0 && answer.Len() == 0 {
			t.Fatal("refused without a word")
		}
		if h, raw, err := readHello(bytes.NewReader(src)); err == nil && !bytes.Equal(raw[:10], h.append(nil)[:10]) {
			t.Fatalf("%+v is not %x", h, raw)
		}
	})
}

func FuzzDial(f *testing.F) {
	good := challenge{node: 2}.append(nil)
	f.Add(append(good, make([]byte, welcomeLen)...))
	f.Add(challenge{node: 2, code: refusedNode}.append(nil))
	f.Add(append(good, 200, 0))
	f.Fuzz(func(t *testing.T, src []byte) {
		err := nodeOne.dial(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(src), io.Discard}, 2, nil)
		if err == nil {
			t.Fatal("accepted")
		}
		if c, raw, err := readChallenge(bytes.NewReader(src)); err == nil && !bytes.Equal(raw, c.append(nil)) {
			t.Fatalf("%+v is not %x", c, raw)
		}
		var f *fault.Error
		if !errors.As(err, &f) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%v", err)
		}
	})
}
