package tui

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
)

// say types a command and has it done.
func (d *driver) say(command string) {
	d.keys(":")
	d.typed(command)
	d.keys("enter")
	d.wait(200 * time.Millisecond)
}

func TestCommands(t *testing.T) {
	tests := []struct {
		command string
		sees    string
	}{
		{"queues", "[3 queue]"},
		{"que", "[3 queue]"},        // a beginning of one screen alone
		{"grp", "[7 grp]"},          // a short name
		{"topics orders", "2 of 7"}, // with a filter
		{"topic orders/eu", " topic orders/eu"},
		{"topic nowhere", "there is no topic nowhere"},
		{"partitions", "[:part]"},
		{"errors", "[:err]"},
		{"trace", "nothing is traced"},
		{"trace client dashboard", "client dashboard  0 events"},
		{"trace nobody", "trace client ID, trace topic FILTER or trace ip ADDRESS"},
		{"settings", "[:set]"},
		{"qu", "qu may be queues, queue,"},
		{"nonsense", "no screen or command nonsense"},
		{"topics sate:x", "no column sate"},
		{"overview x", "nothing to filter"},
		{"every 5s", "asking every 5s"},
		{"every 5", "a duration of at least 100ms"},
		{"theme pink", "themes are auto, terminal, dark"},
		{"mouse off", "the mouse selects text"},
		{"pause", "PAUSED"},
		{"help", "any key closes it"},
		{"help me", "help takes nothing"},
	}
	for _, tt := range tests {
		on(t, func(_ *testing.T, d *driver) {
			d.say(tt.command)
			d.sees(tt.sees)
		})
	}
	on(t, func(t *testing.T, d *driver) {
		d.say("q")
		if !d.quit {
			t.Error("quit does not quit")
		}
	})
}

// Tab completes screens, commands and the names of things, which are asked for.
func TestCompletion(t *testing.T) {
	on(t, func(_ *testing.T, d *driver) {
		d.keys(":")
		d.typed("parti")
		d.sees(": parti", "partitions  partition")
		d.keys("tab", "tab")
		d.sees(" : partitions")
		d.keys("esc")
		d.keys(":")
		d.typed("topic or")
		d.wait(100 * time.Millisecond)
		d.sees("orders/eu  orders/us")
		d.keys("tab")
		d.sees(" : topic orders/")
		d.typed("u")
		d.keys("tab", "enter")
		d.wait(200 * time.Millisecond)
		d.sees(" topic orders/us", "partitions")
		d.keys(":", "up")
		d.sees(" : topic orders/us") // commands are remembered, apart from filters
		d.keys("esc", "esc", "/", "up")
		d.misses("topic orders/us")
	})
}

func TestExport(t *testing.T) {
	dir := t.TempDir()
	on(t, func(t *testing.T, d *driver) {
		d.say("topics orders")
		d.keys("e")
		d.sees(" : export topics.json")
		d.keys("esc")
		d.say("export " + filepath.Join(dir, "a.json"))
		d.sees("wrote 2 topics to ")
		d.say("export " + filepath.Join(dir, "a.json"))
		d.sees("there is a file ") // nothing is written over
		d.say("export " + filepath.Join(dir, "a.csv"))
	})
	lines, err := os.ReadFile(filepath.Join(dir, "a.json"))
	if err != nil || strings.Count(string(lines), "\n") != 2 || !strings.Contains(string(lines), `"name":"orders/us"`) {
		t.Errorf("%v, %s", err, lines)
	}
	rows, err := os.ReadFile(filepath.Join(dir, "a.csv"))
	if err != nil || !strings.HasPrefix(string(rows), "topic,kafka,parts,") || !strings.Contains(string(rows), "\norders/us,orders.us,") {
		t.Errorf("%v, %s", err, rows)
	}
}

// What Y copies can be pasted into a shell, and does the same.
func TestCopyCommand(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		d.keys("2", "Y")
		if d.clip != "rmq topic get alarms" {
			t.Errorf("copied %q", d.clip)
		}
		d.keys("9")
		d.wait(100 * time.Millisecond)
		qos := uint8(0)
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "mqtt", Address: "a b/c", Value: []byte(`it's {"x":1}`), QoS: &qos, Retain: true, Headers: []adminapi.Header{{Name: "h", Value: []byte("1 2")}}}})
		d.wait(300 * time.Millisecond)
		d.keys("Y")
		if want := `rmq produce 'mqtt:a b/c' 'it'\''s {"x":1}' -H 'h=1 2' --retain --qos 0`; d.clip != want {
			t.Errorf("copied %q, want %q", d.clip, want)
		}
		d.fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "kafka", Address: "orders", Topic: "orders", Key: []byte("7"), Value: []byte{0, 1}}})
		d.wait(300 * time.Millisecond)
		d.keys("Y")
		if want := `rmq produce kafka:orders AAE= --base64 -k 7`; d.clip != want {
			t.Errorf("copied %q, want %q", d.clip, want)
		}
	})
}

func TestMouse(t *testing.T) {
	on(t, func(t *testing.T, d *driver) {
		click := func(x, y int) {
			d.send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft})
			d.wait(200 * time.Millisecond)
		}
		if d.m.View().MouseMode != tea.MouseModeCellMotion {
			t.Error("the mouse is not asked for")
		}
		tabs := d.line(tabsLine)
		click(strings.Index(tabs, "topic"), tabsLine)
		d.sees("[2 topic]")
		click(4, bodyLine+3)
		d.sees("›orders/eu")
		click(4, bodyLine+3)
		d.sees(" topic orders/eu")
		d.send(tea.MouseClickMsg{X: 4, Y: 10, Button: tea.MouseRight})
		d.sees("›orders/eu")
		click(strings.Index(d.line(bodyLine), "RECORDS"), bodyLine)
		d.sees("RECORDS↓")
		click(strings.Index(d.line(bodyLine), "RECORDS"), bodyLine)
		d.sees("RECORDS↑")
		d.keys("g")
		d.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
		if !strings.HasPrefix(d.line(bodyLine+1+notch), "›") {
			t.Errorf("the wheel did not move the cursor by %d", notch)
		}
		click(strings.Index(d.line(-1), "help"), 23)
		d.sees("any key closes it")
		d.keys("esc", "M")
		if d.m.View().MouseMode != tea.MouseModeNone {
			t.Error("the mouse is still asked for")
		}
	})
}

// A theme follows the terminal unless one is named; NO_COLOR is stronger than any.
func TestThemes(t *testing.T) {
	plain := func(name string, color bool, dark ...bool) string {
		th := newTheme(color, name, "")
		for _, d := range dark {
			th.on(d)
		}
		return th.bar.Render("x")
	}
	if plain("", true) != plain("terminal", true) || plain("", true, true) != plain("dark", true) || plain("auto", true, false) != plain("light", true) {
		t.Error("auto does not follow the terminal")
	}
	if plain("light", true, true) != plain("light", true) {
		t.Error("a named theme follows the terminal")
	}
	for _, name := range Themes() {
		if plain(name, false, true) != plain(mono, true) {
			t.Errorf("theme %s has colour without colour", name)
		}
	}
	if newTheme(true, "dark", "1").bar.Render("x") == plain("dark", true) {
		t.Error("the accent does not show")
	}
}
