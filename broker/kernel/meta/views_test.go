package meta_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"testing"

	"github.com/robustmq/rmq/broker/kernel/meta"
)

func view(n uint32) meta.View {
	v := meta.View{Namespace: "/", Address: fmt.Sprint("a/", n)}
	binary.BigEndian.PutUint32(v.ID[:], n)
	return v
}

// So many views are kept and no more: the one that was first told goes, whatever its id, and one
// that is told again has its turn anew only when it had gone. A checkpoint has all of that.
func TestViewsAreBounded(t *testing.T) {
	s := new(meta.State)
	put := func(s *meta.State, views ...meta.View) {
		t.Helper()
		if r := s.Apply(&meta.Command{Op: meta.PutViews, Views: views}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	for n := uint32(meta.MaxViews); n > 0; n-- {
		put(s, view(n))
	}
	put(s, view(meta.MaxViews)) // which does not make it the newest
	again := new(meta.State)
	if err := again.Restore(s.Encode(nil)); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*meta.State{"the state": s, "the restored one": again} {
		put(s, view(meta.MaxViews+1), view(meta.MaxViews+2))
		for n, want := range map[uint32]bool{1: true, meta.MaxViews - 2: true, meta.MaxViews - 1: false, meta.MaxViews: false, meta.MaxViews + 2: true} {
			v, ok := s.View(view(n).ID)
			if ok != want || ok && v.Address != view(n).Address {
				t.Errorf("%s: view %d: %v, %+v", name, n, ok, v)
			}
		}
	}
	text := func(s *meta.State) map[string]string {
		all := make(map[string]string)
		for k, v := range s.Encode(nil) {
			all[string(k)] = string(v)
		}
		return all
	}
	if !maps.Equal(text(s), text(again)) {
		t.Error("the states differ")
	}
}
