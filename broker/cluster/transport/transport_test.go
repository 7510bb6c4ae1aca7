package transport

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
)

func TestNet(t *testing.T) {
	n := NewNet()
	var got []string
	take := func(name string) Receiver {
		return func(from uint64, frame []byte) error {
			got = append(got, name+"<"+string(rune('0'+from))+string(frame))
			if string(frame) == "bad" {
				return errors.New("refused")
			}
			return nil
		}
	}
	one := n.Join(1, take("one"))
	two := n.Join(2, take("two"))
	one.Send(2, []byte("a"))
	two.Send(1, []byte("b"))
	one.Send(3, []byte("nobody"))
	one.Send(2, []byte("bad"))
	n.Leave(2)
	one.Send(2, []byte("gone"))
	if want := []string{"two<1a", "one<2b", "two<1bad"}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	if n.Lost() != 3 {
		t.Errorf("lost %d frames, want 3", n.Lost())
	}
}

// TestFaulty: a seed decides which frames are lost, repeated and overtaken.
func TestFaulty(t *testing.T) {
	run := func(seed uint64) (got []byte) {
		c := clock.NewVirtual(time.Unix(0, 0))
		n, w := NewNet(), NewWeather(c, seed)
		n.Join(2, func(_ uint64, frame []byte) error { got = append(got, frame[0]); return nil })
		one := w.Wrap(1, n.Join(1, nil))
		w.Set(Faults{Loss: 0.2, Repeat: 0.2, DelayMax: 50 * time.Millisecond})
		for i := range 100 {
			one.Send(2, []byte{byte(i)})
			c.Advance(time.Millisecond)
		}
		w.Cut(1, 2) // what is under way is lost too
		c.Advance(time.Second)
		w.Heal()
		w.Set(Faults{})
		one.Send(2, []byte{200})
		return got
	}
	a, b := run(7), run(7)
	if !slices.Equal(a, b) {
		t.Errorf("one seed gave %v and %v", a, b)
	}
	if slices.Equal(a, run(8)) {
		t.Error("another seed gave the same")
	}
	if len(a) < 30 || slices.IsSorted(a) || a[len(a)-1] != 200 {
		t.Errorf("got %v", a)
	}
}
