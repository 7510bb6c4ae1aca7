package kafka

// Unread is how many bytes of fetches were read and not taken by their peers.
func (s *Server) Unread() int64 { return s.unread.Load() }
