package scale

import (
	"context"
	"flag"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
)

var connections = flag.Int("connections", 2_000, "connections that are idle")

// idleMax is what a connection with nothing to say may hold, in bytes of heap and stack, its
// session and one subscription included: it has no goroutine.
const idleMax = 2<<10 + 512

// endedMax is what a connection that is over may have left, in bytes of heap, on average, beside
// leftMax of them all: tables that have grown, and what was made meanwhile.
const (
	endedMax = 160
	leftMax  = 512 << 10
)

// dial is the client's end of a connection as the system has it: it holds nothing of the heap
// that is measured.
func dial(t *testing.T, addr *net.TCPAddr) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	return fd
}

func exchange(t *testing.T, fd int, send []byte, want mqttwire.Type) {
	t.Helper()
	if _, err := unix.Write(fd, send); err != nil {
		t.Fatal(err)
	}
	var b [256]byte
	n, err := unix.Read(fd, b[:])
	if err != nil || n == 0 || mqttwire.Type(b[0]>>4) != want {
		t.Fatalf("answered %x, %v", b[:n], err)
	}
}

// held is the heap and the stacks in use after a collection.
func held() (heap, stacks int64) {
	for range 3 { // a stack shrinks by half at each
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}

// An MQTT client that is connected and silent costs the broker little, and nothing once it has
// gone.
func TestIdleConnections(t *testing.T) {
	for name, subscribed := range map[string]bool{"connected": false, "subscribed": true} {
		t.Run(name, func(t *testing.T) { idle(t, subscribed) })
	}
}

func idle(t *testing.T, subscribed bool) {
	link := clock.NewVirtual(time.Unix(0, 0))
	b, err := broker.Open(context.Background(), broker.Config{Ports: broker.AnyPorts(), Link: link})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	addr, err := net.ResolveTCPAddr("tcp4", strings.TrimPrefix(b.URLs().MQTT, "mqtt://"))
	if err != nil {
		t.Fatal(err)
	}
	n := *connections
	fds := make([]int, 0, n)
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	alone := runtime.NumGoroutine() + 1 // who wakes those that say little
	leave := func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		fds = fds[:0]
		kerneltest.Until(t, "the broker has noticed", func() bool { // a session ends before its connection does
			return len(b.Kernel().Sessions("/")) == 0 && runtime.NumGoroutine() <= alone
		})
	}
	join := func(i int) {
		fd := dial(t, addr)
		fds = append(fds, fd)
		c := mqttwire.Connect{Version: mqttwire.V5, CleanStart: true, KeepAlive: 60, ClientID: []byte(fmt.Sprintf("device-%06d", i))}
		exchange(t, fd, c.Append(nil), mqttwire.CONNACK)
		if !subscribed {
			return
		}
		s := mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte(fmt.Sprintf("devices/%06d/command", i)), QoS: 1}}}
		exchange(t, fd, s.Append(nil, mqttwire.V5), mqttwire.SUBACK)
	}
	rest := func() { // one keep alive later
		link.Advance(45 * time.Second)
		for _, fd := range fds {
			exchange(t, fd, mqttwire.AppendPingreq(nil), mqttwire.PINGRESP)
		}
	}
	for i := range n { // what is made once is there
		join(i)
	}
	rest()
	leave()
	heap0, stacks0 := held()
	rss0 := resident()
	for i := range n {
		join(i)
	}
	rest()
	heap1, stacks1 := held()
	heap, stack := float64(heap1-heap0)/float64(n), float64(stacks1-stacks0)/float64(n)
	t.Logf("%d idle connections: %.0f bytes of heap and %.0f of stack each; the process has grown by %.0f each", n, heap, stack, float64(resident()-rss0)/float64(n))
	if heap+stack > idleMax {
		t.Errorf("a connection holds %.0f bytes, at most %d", heap+stack, idleMax)
	}
	leave()
	heap2, _ := held()
	if left := int(heap2 - heap0); left > leftMax+n*endedMax {
		t.Errorf("%d connections that are over have left %d bytes", n, left)
	}
}
