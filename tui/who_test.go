package tui

import (
	"testing"
	"time"
)

// Who would get a message is asked while its topic is typed, and what is wrong with that is said.
func TestWho(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("6", "w")
		d.sees("[:who]", " /")
		d.typed("fleet/berlin/temp")
		d.wait(200 * time.Millisecond)
		d.sees("gets it", "stream", "alarms", "does not, and why", "it ends before level 3")
		d.keys("enter")
		d.sees("who gets fleet/berlin/temp")
		d.keys("Y")
		if d.clip != "rmq explain mqtt:fleet/berlin/temp" {
			t.Errorf("copied %q", d.clip)
		}
		d.keys("esc")
		d.sees("who gets a message")
		d.say("who kafka:orders qos=0 as=ann")
		d.sees("who gets kafka:orders qos=0 as=ann", "gets it")
		d.keys("Y")
		if d.clip != "rmq explain kafka:orders --qos 0 --as ann" {
			t.Errorf("copied %q", d.clip)
		}
		d.say("who")
		d.keys("ctrl+u")
		d.typed("fleet/+/temp")
		d.sees("has no + and no #")
		d.keys("esc", "9")
		d.measure(2)
		d.keys("w")
		d.wait(200 * time.Millisecond)
		d.sees("who gets mqtt:fleet/berlin/temp")
	})
}
