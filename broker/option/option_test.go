package option

import (
	"testing"
	"time"
)

// Every default is one that may be set, as it is shown.
func TestDefaults(t *testing.T) {
	v := Read(nil)
	for _, s := range All() {
		if got, err := s.Canonical(s.Default); err != nil || got != s.Default || s.Show(v) != s.Default || s.Help == "" {
			t.Errorf("%s: %q is shown as %q and %q, %v", s.Name, s.Default, got, s.Show(v), err)
		}
	}
}

type changing struct {
	set     map[string]string
	version uint64
}

func (f *changing) Options() map[string]string { return f.set }
func (f *changing) ItemsVersion() uint64       { return f.version }

func TestLive(t *testing.T) {
	f := &changing{set: map[string]string{"mqtt.flapping.window": "90s", "mqtt.flapping.ban": "soon", "of.another.release": "1"}}
	l := NewLive(f)
	if v := l.Load(); v.FlappingWindow != 90*time.Second || v.FlappingBan != 5*time.Minute {
		t.Errorf("read %v, %v", v.FlappingWindow, v.FlappingBan)
	}
	f.set, f.version = map[string]string{"mqtt.flapping.window": "1d"}, 1
	if v := l.Load(); v.FlappingWindow != 24*time.Hour {
		t.Errorf("changed to %v", v.FlappingWindow)
	}
	for name, wrong := range map[string]string{"mqtt.flapping.window": "10ms", "mqtt.flapping.connections": "-1", "mqtt.sys-interval": "10"} {
		s, ok := Find(name)
		if got, err := s.Canonical(wrong); !ok || err == nil {
			t.Errorf("%s took %q for %q", name, wrong, got)
		}
	}
	if _, ok := Find("mqtt.flapping"); ok {
		t.Error("found what there is not")
	}
}
