package tui

import "testing"

// A filter is saved by a name, and used by it wherever a filter is.
func TestFiltersAreSaved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		saved := map[string]string{}
		d := drive(t, fake, Options{
			Saved: func() (map[string]string, error) { return saved, nil },
			Save:  func(name, src string) error { saved[name] = src; return nil },
		}, 100, 24)
		d.keys("2")
		d.say("save filter late")
		d.sees("there is no filter here")
		d.keys("esc", "/")
		d.typed("@late")
		d.sees("no filter is saved")
		d.keys("esc", "/")
		d.typed("orders !us")
		d.keys("enter")
		d.say("save filter late")
		d.sees("saved: @late is orders !us")
		rows := len(d.rows())
		d.keys("esc")
		if len(d.rows()) == rows {
			t.Fatal("the filter lets everything through")
		}
		d.keys("/")
		d.typed("@late")
		d.keys("enter")
		d.sees("filter orders !us")
		if got := len(d.rows()); got != rows {
			t.Errorf("%d rows, want %d", got, rows)
		}
		d.say("queues")
		d.say("topics @late")
		d.sees("filter orders !us")
		d.say("topics @latte")
		d.sees("there are @late")
		d.keys("esc")
		d.say("save late")
		d.sees("save filter NAME")
	})
	bubble(t, func(t *testing.T) {
		fake, _ := load(t)
		d := drive(t, fake, Options{
			Screen: "messages", Filter: "@hot",
			Saved: func() (map[string]string, error) { return map[string]string{"hot": "json.temp > 30"}, nil },
		}, 100, 24)
		d.sees("filter json.temp > 30")
	})
}
