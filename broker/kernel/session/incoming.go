package session

import "slices"

// A QoS 2 publish is stored wherever it is routed to before the session's own shard notes
// that it was received, so a client may well send one again that was stored. Whoever
// stores it tells repeats from new messages by (Session, packet identifier, N) of its
// Incarnation, which stays the same until PUBREL.

// Incarnation tells two uses of one packet identifier apart.
type Incarnation struct {
	Session uint64 // epoch that made the session: another one counts anew
	N       uint32 // times that the identifier was released
}

// incoming is what a session knows of the client's own packet identifiers.
type incoming struct {
	received []uint16 // noted and not released, ascending
	// runs counts the releases of each identifier: of those from first up to the next run's
	// first. Clients use identifiers in turn, so there are few runs; empty: all 0.
	runs []run
}

type run struct {
	first uint16
	n     uint32
}

// Incoming tells the incarnation of a QoS 2 publish with that identifier, and whether it
// was noted as received: then it is a repeat, to be answered by PUBREC and nothing else.
func (s *Session) Incoming(packetID uint16) (_ Incarnation, duplicate bool) {
	_, duplicate = slices.BinarySearch(s.in.received, packetID)
	return Incarnation{s.created, s.in.count(packetID)}, duplicate
}

// Noted are the identifiers of publishes that were noted and not released.
func (s *Session) Noted() []uint16 { return slices.Clone(s.in.received) }

// Note notes that a publish was received and is stored: PUBREC may leave. Repeats are
// ignored.
func (s *Session) Note(packetID uint16) {
	s.own()
	if i, ok := slices.BinarySearch(s.in.received, packetID); !ok {
		s.in.received = slices.Insert(s.in.received, i, packetID)
	}
}

// Release ends a publish at PUBREL: the identifier may be used for another. known
// false: it was not received, and PUBCOMP says so with 0x92.
func (s *Session) Release(packetID uint16) (known bool) {
	i, ok := slices.BinarySearch(s.in.received, packetID)
	if !ok {
		return false
	}
	s.own()
	s.in.received = slices.Delete(s.in.received, i, i+1)
	s.in.raise(packetID)
	return true
}

// Refuse ends a publish that is answered by a PUBREC with an error: whatever of it was
// stored, the next use of the identifier is another message.
func (s *Session) Refuse(packetID uint16) {
	s.own()
	if i, ok := slices.BinarySearch(s.in.received, packetID); ok {
		s.in.received = slices.Delete(s.in.received, i, i+1)
	}
	s.in.raise(packetID)
}

// at returns the index of the run that holds id; there must be one.
func (in *incoming) at(id uint16) int {
	i, ok := slices.BinarySearchFunc(in.runs, id, func(r run, id uint16) int { return int(r.first) - int(id) })
	if !ok {
		i--
	}
	return i
}

func (in *incoming) count(id uint16) uint32 {
	if len(in.runs) == 0 {
		return 0
	}
	return in.runs[in.at(id)].n
}

// raise counts one release of id, splitting and joining runs.
func (in *incoming) raise(id uint16) {
	if len(in.runs) == 0 {
		in.runs = append(in.runs, run{})
	}
	i := in.at(id)
	n := in.runs[i].n
	end := 1 << 16
	if i+1 < len(in.runs) {
		end = int(in.runs[i+1].first)
	}
	var put [3]run
	parts := put[:0]
	if in.runs[i].first < id {
		parts = append(parts, in.runs[i])
	}
	parts = append(parts, run{id, n + 1})
	if int(id)+1 < end {
		parts = append(parts, run{id + 1, n})
	}
	in.runs = slices.Replace(in.runs, i, i+1, parts...)
	// The neighbours of id may count the same now.
	lo := max(i-1, 0)
	w := lo
	hi := min(i+len(parts)+1, len(in.runs))
	for r := lo + 1; r < hi; r++ {
		if in.runs[r].n != in.runs[w].n {
			w++
			in.runs[w] = in.runs[r]
		}
	}
	in.runs = slices.Delete(in.runs, w+1, hi)
}
