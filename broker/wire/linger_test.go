package wire

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// halves is a pipe of which one half can be closed, as far as HalfClose sees.
type halves struct{ net.Conn }

func (halves) CloseWrite() error { return nil }

// Who goes on sending has not read yet why it was ended; who says nothing more, or never ends, is
// not waited for.
func TestHalfCloseWaits(t *testing.T) {
	for _, tt := range []struct {
		name             string
		every, end, want time.Duration
	}{
		{"it closes", 900 * time.Millisecond, 3 * time.Second, 3 * time.Second},
		{"it falls silent", time.Hour, time.Hour, lingerTimeout},
		{"it never ends", 100 * time.Millisecond, time.Hour, lingerMax},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			began := time.Now()
			go func() {
				for time.Since(began)+tt.every < tt.end {
					time.Sleep(tt.every) // virtual
					if _, err := b.Write([]byte("x")); err != nil {
						return
					}
				}
				time.Sleep(tt.end - time.Since(began)) // virtual
				_ = b.Close()
			}()
			HalfClose(halves{a})
			if took := time.Since(began); took != tt.want {
				t.Errorf("%s: waited %v, want %v", tt.name, took, tt.want)
			}
			_ = a.Close()
			time.Sleep(2 * time.Hour) // virtual
		})
	}
}
