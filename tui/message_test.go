package tui

import (
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// A value that is JSON is a tree: branches close and open, the path of the cursor is said, and what is
// closed stays so in the next message.
func TestMessageTree(t *testing.T) {
	on(t, func(_ *testing.T, d *driver) {
		d.keys("9")
		d.measure(10)
		d.keys("enter")
		d.sees(`"pos": {`, `"lat": 52.5,`)
		d.keys("j", "j", "j")
		d.sees(`›   "pos": {`, ".pos\n")
		d.keys("enter")
		d.sees(`"pos": { 2 more }`)
		d.misses(`"lat"`)
		d.keys("N", "N")
		d.sees(`"pos": { 2 more }`)
		d.keys("enter")
		d.sees(`"lat": 52.5,`)
		d.keys("g", "j")
		d.sees(".temp")
		d.keys("v")
		d.sees(" .temp of fleet/berlin/temp, 10 messages", "now 25.84", "least 20", "most 26  mean")
		d.keys("n")
		d.sees(" .pos.lat of ", "number 2 of 3")
		d.keys("N", "N")
		d.sees(" .pos.lon of ", "number 3 of 3")
		d.keys("esc")
		d.sees(" message fleet/berlin/temp")
	})
}

// A plot goes on as messages come, and says which had nothing to plot.
func TestPlotGoesOn(t *testing.T) {
	on(t, func(_ *testing.T, d *driver) {
		d.keys("9")
		d.measure(4)
		d.say("plot .pos.lon")
		d.sees(" .pos.lon of fleet/berlin/temp, 4 messages")
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "mqtt", Address: "fleet/berlin/temp", Time: time.Now(), Value: []byte(`{"pos":{"lon":99}}`)}})
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "mqtt", Address: "fleet/berlin/temp", Time: time.Now(), Value: []byte(`{}`)}})
		d.wait(300 * time.Millisecond)
		d.sees("5 messages, 1 without it", "most 99")
		d.keys("esc", "G")
		d.say("plot .nothing")
		d.sees("no message that is kept has a number there")
		d.keys("esc")
		d.say("plot ..x")
		d.sees("is no path")
		d.keys("esc", "1")
		d.say("plot .x")
		d.sees("there is no message here")
	})
}

func TestMessageDiff(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("9")
		d.measure(4)
		d.keys("d") // with the one before of this address
		d.sees("compared with the one before", "BEFORE", ".temp", "seq", "2", "3", ".pos.lon", "+0.01")
		d.keys("esc")
		d.sees(" message fleet/berlin/temp")
		d.keys("esc", "g", "m", "G", "k")
		d.sees("marked 00:00:03")
		d.keys("d")
		d.sees("compared with the marked one", "MARKED", "+0.03")
		d.keys("N") // and so is the one before it
		d.sees("compared with the marked one", "fleet/paris/temp")
		if strings.Contains(d.line(-1), "plot") {
			t.Error("there is nothing to plot in a comparison")
		}
	})
}
