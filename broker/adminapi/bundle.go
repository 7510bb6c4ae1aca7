package adminapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Happened is one thing that a broker saw, as the bundle of a failed test has it: its note "events" is one a line.
type Happened struct {
	After   time.Duration `json:"after"` // since the broker was begun, in ns
	What    string        `json:"what"`  // mqtt, kafka, amqp: a message; log, clock, fault, fixture, node, test
	Text    string        `json:"text"`
	Message *Message      `json:"message,omitempty"`
}

// Notes of a bundle.
const (
	NoteTest     = "test"     // its name
	NoteTimeline = "timeline" // what happened, for people
	NoteEvents   = "events"   // the same: a Happened a line
	NoteLog      = "log"
	NoteState    = "state"  // what there was at the end
	NoteSeed     = "seed"   // of planned faults
	NoteFaults   = "faults" // the plan of them, as rmq chaos run takes it; none without
)

// ReadHappened reads the note of that name.
func ReadHappened(note []byte) (all []Happened, err error) {
	for line := range bytes.Lines(note) {
		var h Happened
		if err := json.Unmarshal(line, &h); err != nil {
			return nil, fmt.Errorf("events, line %d: %w", len(all)+1, err)
		}
		all = append(all, h)
	}
	return all, nil
}
