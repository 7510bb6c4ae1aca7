package meta

import "encoding/hex"

// View is an address below a stream that somebody was told an id for. The id is a hash, which does
// not say what it stands for: so that is kept, for as long as there are not MaxViews others.
type View struct {
	ID        StreamID `json:"id"`
	Namespace string   `json:"ns"`
	Address   string   `json:"address"`
	No        uint64   `json:"no,omitempty"` // given by the state: they count up
}

// MaxViews bounds the views that are kept; the oldest goes.
const MaxViews = 1 << 16

func viewKey(id StreamID) string { return hex.EncodeToString(id[:]) }

// putViews keeps those that are not.
func (s *State) putViews(views []View) Result {
	for i := range views {
		v := views[i]
		key := viewKey(v.ID)
		if _, ok := s.views.Get(key); ok {
			continue
		}
		newest, _, _ := s.viewOrder.Max()
		v.No = newest + 1
		s.views.Set(key, &v)
		s.viewOrder.Set(v.No, key)
		s.touch("v", key)
		if s.views.Len() > MaxViews {
			_, oldest, _ := s.viewOrder.PopMin()
			s.views.Delete(oldest)
			s.touch("v", oldest)
		}
	}
	return Result{}
}

// View returns what the id of a view stands for.
func (s *State) View(id StreamID) (*View, bool) { return s.views.Get(viewKey(id)) }
