package kind

import (
	"math"
	"strconv"
	"time"
)

// Count writes a number in at most five columns (six with a sign): exact below ten
// thousand, with three digits and a unit above.
func Count(n int64) string {
	if n < 0 {
		if n == math.MinInt64 {
			n++ // has no positive counterpart
		}
		return "-" + Count(-n)
	}
	if n < 10_000 {
		return strconv.FormatInt(n, 10)
	}
	return scaled(float64(n), 1000, "kMGTPE", "")
}

// Rate writes how many a second, in at most five columns.
func Rate(f float64) string {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0) || f < 0:
		return "-"
	case f == 0:
		return "0"
	case f < 0.1:
		return "<0.1"
	case f < 9.95:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return Count(int64(math.Round(f)))
}

// Bytes writes a size in at most eight columns.
func Bytes(n int64) string {
	if n < 0 {
		return "-"
	}
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return scaled(float64(n), 1024, "KMGTPE", "iB")
}

// scaled writes f with three significant digits, or four where the next unit is not
// reached (1023 KiB).
func scaled(f, base float64, units, suffix string) string {
	unit := -1
	// Rounding may reach the next unit: 999 950 is 1.00M, not 1000k.
	for unit < len(units)-1 && (unit < 0 || f >= base-0.5) {
		f /= base
		unit++
	}
	space := ""
	if suffix != "" {
		space = " "
	}
	digits := 0
	switch {
	case f < 9.995 && suffix == "":
		digits = 2
	case f < 9.95, f < 99.95 && suffix == "":
		digits = 1
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + space + units[unit:unit+1] + suffix
}

// Duration writes a time with its two largest units: "850ms", "12m5s", "3d4h".
func Duration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d < time.Second {
		if d == 0 {
			return "0s"
		}
		return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
	}
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	s, left := "", 2
	for _, u := range units {
		if n := d / u.size; n > 0 && left > 0 {
			s += strconv.FormatInt(int64(n), 10) + u.name
			d %= u.size
			left--
		} else if s != "" {
			left-- // one day and five minutes are "1d": the five are not worth it
		}
	}
	return s
}

// countdown writes the time that is left, in whole seconds: the last of them is "1s".
func countdown(d time.Duration) string {
	return "in " + Duration((d + time.Second - 1).Truncate(time.Second))
}

// number writes an exact integer.
func number(n int64) string { return strconv.FormatInt(n, 10) }
