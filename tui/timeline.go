package tui

import (
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/tui/feed"
	"github.com/robustmq/rmq/tui/kind"
)

// Bundle is what a failed test has left: the notes beside what its broker held.
type Bundle struct {
	File   string
	Test   string
	events []adminapi.Happened
}

// ReadBundle reads the notes of a snapshot, by their names; nil: it has no timeline, and is not of a test.
func ReadBundle(file string, notes map[string]string) (*Bundle, error) {
	src, ok := notes[adminapi.NoteEvents]
	if !ok {
		return nil, nil
	}
	events, err := adminapi.ReadHappened([]byte(src))
	if err != nil {
		return nil, err
	}
	b := &Bundle{File: file, Test: strings.TrimSpace(notes[adminapi.NoteTest])}
	note := func(name, before string, after time.Duration) {
		if text := strings.TrimSpace(notes[name]); text != "" {
			b.events = append(b.events, adminapi.Happened{After: after, What: name, Text: before + text})
		}
	}
	note(adminapi.NoteSeed, "chance begins at ", 0)
	note(adminapi.NoteFaults, "the planned faults:\n", 0)
	b.events = append(b.events, events...)
	end := time.Duration(0)
	if n := len(events); n > 0 {
		end = events[n-1].After + 1
	}
	if _, now, ok := strings.Cut(notes[adminapi.NoteState], "what there is now:\n"); ok { // what is before that is the timeline
		b.events = append(b.events, adminapi.Happened{After: end, What: adminapi.NoteState, Text: "what there was at the end:\n" + now})
	}
	return b, nil
}

// timeline is the screen of what led to the failure of a test. Nobody is asked: all of it is there.
type timeline struct {
	*list[adminapi.Happened]
	bundle *Bundle // nil: none is open
}

func newTimeline(p place, opt *Options) *timeline {
	s := &timeline{newList(kind.Timeline(), opt.Namespace, p), opt.Bundle}
	s.falling, s.known = false, true
	if s.bundle != nil {
		s.items = s.bundle.events
	}
	s.arrange(kind.Look{}) // there will be no answer to do so
	return s
}

func (s *timeline) question() feed.Question { return nil }

func (s *timeline) headless() string {
	if s.bundle == nil {
		return s.place.headless
	}
	return "rmq snapshot show " + kind.Quote(s.bundle.File) + " --note timeline"
}

func (s *timeline) command() string { return s.headless() }

func (s *timeline) status(l kind.Look) (left, right kind.Line) {
	left, right = s.list.status(l)
	if s.bundle != nil && s.picked == nil {
		left = append(kind.Line{{Text: " " + kind.Clean(s.bundle.Test), Tone: kind.Strong}, {Text: " failed ", Tone: kind.Bad}}, left...)
	}
	return left, right
}
