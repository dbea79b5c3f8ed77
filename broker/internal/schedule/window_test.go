package schedule

import (
	"strings"
	"testing"
	"time"
)

func TestParseNamesTheField(t *testing.T) {
	for name, c := range map[string]struct{ start, end, zone, want string }{
		"start":          {"61 8 * * *", "0 18 * * *", "UTC", `start "61 8 * * *": minute "61": `},
		"end":            {"0 8 * * *", "0 18 * * 9", "UTC", `end "0 18 * * 9": day of week "9": `},
		"fields":         {"0 8 * *", "0 18 * * *", "UTC", `start "0 8 * *": must have five fields`},
		"seconds":        {"0 0 8 * * *", "0 18 * * *", "UTC", `and has 6`},
		"descriptor":     {"@daily", "0 18 * * *", "UTC", `start "@daily": must have five fields`},
		"descriptor too": {"0 8 * * *", "@every 1h a b c", "UTC", `end "@every 1h a b c": minute "@every": `},
		"zone inside":    {"TZ=Asia/Tokyo 0 8 * * *", "0 18 * * *", "UTC", `start "TZ=Asia/Tokyo 0 8 * * *": must have no time zone of its own`},
		"zone of cron":   {"0 8 * * *", "CRON_TZ=Asia/Tokyo 0 8 * *", "UTC", `must have no time zone of its own`},
		"unknown zone":   {"0 8 * * *", "0 18 * * *", "Europe/Bärlin", `timezone "Europe/Bärlin": must be a name of the IANA database`},
		"local zone":     {"0 8 * * *", "0 18 * * *", "Local", `timezone "Local": must be a name of the IANA database`},
		"path as zone":   {"0 8 * * *", "0 18 * * *", "../../etc/passwd", `timezone "../../etc/passwd": `},
		"no such day":    {"0 8 30 2 *", "0 18 * * *", "UTC", `start "0 8 30 2 *": never comes`},
		"empty":          {"", "0 18 * * *", "UTC", `start "": must have five fields`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(c.start, c.end, c.zone)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse: %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestZeroWindowNeverComes(t *testing.T) {
	if from, until := (Window{}).Around(time.Now()); !from.IsZero() || !until.IsZero() {
		t.Errorf("the zero window is %v to %v", from, until)
	}
}

// moments are given with their offset, as the zone has it at that time.
const layout = "2006-01-02 15:04 -07:00"

func TestAround(t *testing.T) {
	const shanghai, berlin, newYork = "Asia/Shanghai", "Europe/Berlin", "America/New_York"
	for name, c := range map[string]struct{ start, end, zone, now, from, until string }{
		"before the working day": {"0 8 * * 1-5", "0 18 * * 1-5", shanghai,
			"2026-03-02 07:59 +08:00", "2026-03-02 08:00 +08:00", "2026-03-02 18:00 +08:00"},
		"at its start": {"0 8 * * 1-5", "0 18 * * 1-5", shanghai,
			"2026-03-02 08:00 +08:00", "2026-03-02 08:00 +08:00", "2026-03-02 18:00 +08:00"},
		"asked in another zone": {"0 8 * * 1-5", "0 18 * * 1-5", shanghai,
			"2026-03-02 09:59 +00:00", "2026-03-02 08:00 +08:00", "2026-03-02 18:00 +08:00"},
		"at its end the next one": {"0 8 * * 1-5", "0 18 * * 1-5", shanghai,
			"2026-03-02 18:00 +08:00", "2026-03-03 08:00 +08:00", "2026-03-03 18:00 +08:00"},
		"over the weekend": {"0 8 * * MON-FRI", "0 18 * * MON-FRI", shanghai,
			"2026-03-06 18:00 +08:00", "2026-03-09 08:00 +08:00", "2026-03-09 18:00 +08:00"},
		"a name with an H in it": {"0 8 * * THU", "0 18 * MARCH THU", "", "", "", ""},
		"over midnight, before": {"0 22 * * *", "0 6 * * *", shanghai,
			"2026-03-02 23:00 +08:00", "2026-03-02 22:00 +08:00", "2026-03-03 06:00 +08:00"},
		"over midnight, after": {"0 22 * * *", "0 6 * * *", shanghai,
			"2026-03-03 05:59 +08:00", "2026-03-02 22:00 +08:00", "2026-03-03 06:00 +08:00"},
		"over the new year": {"0 20 31 12 *", "0 4 1 1 *", newYork,
			"2027-01-01 03:00 -05:00", "2026-12-31 20:00 -05:00", "2027-01-01 04:00 -05:00"},
		"end of the month": {"0 0 28-31 * *", "0 0 1 * *", "UTC",
			"2026-02-28 12:00 +00:00", "2026-02-28 00:00 +00:00", "2026-03-01 00:00 +00:00"},
		"a day that few months have": {"0 0 31 * *", "0 12 31 * *", "UTC",
			"2026-04-15 00:00 +00:00", "2026-05-31 00:00 +00:00", "2026-05-31 12:00 +00:00"},
		"leap day": {"0 0 29 2 *", "0 0 1 3 *", berlin,
			"2026-11-21 00:00 +01:00", "2028-02-29 00:00 +01:00", "2028-03-01 00:00 +01:00"},
		"leap day after 2096": {"0 0 29 2 *", "0 0 1 3 *", berlin,
			"2097-01-01 00:00 +01:00", "2104-02-29 00:00 +01:00", "2104-03-01 00:00 +01:00"},
		"last day of a leap year": {"0 8 * * *", "0 18 * * *", berlin,
			"2028-12-31 19:00 +01:00", "2029-01-01 08:00 +01:00", "2029-01-01 18:00 +01:00"},
		"day of month or of week": {"0 9 13 * 5", "0 17 * * *", "UTC",
			"2026-08-12 00:00 +00:00", "2026-08-13 09:00 +00:00", "2026-08-13 17:00 +00:00"},
		"days that follow each other are one window": {"0 0 * * 1-5", "0 0 * * 2-6", "UTC",
			"2026-03-04 12:00 +00:00", "2026-03-04 00:00 +00:00", "2026-03-07 00:00 +00:00"},

		// Berlin: 2026-03-29 02:00 → 03:00, 2026-10-25 03:00 → 02:00.
		"the day the clocks go forward is an hour shorter": {"0 0 * * *", "0 23 * * *", berlin,
			"2026-03-29 00:00 +01:00", "2026-03-29 00:00 +01:00", "2026-03-29 23:00 +02:00"},
		"a start that is skipped": {"30 2 * * *", "0 5 * * *", berlin,
			"2026-03-29 01:59 +01:00", "2026-03-29 03:00 +02:00", "2026-03-29 05:00 +02:00"},
		"within it": {"30 2 * * *", "0 5 * * *", berlin,
			"2026-03-29 03:10 +02:00", "2026-03-29 03:00 +02:00", "2026-03-29 05:00 +02:00"},
		"an end that is skipped": {"0 22 * * *", "30 2 * * *", berlin,
			"2026-03-29 01:00 +01:00", "2026-03-28 22:00 +01:00", "2026-03-29 03:00 +02:00"},
		"and is over then": {"0 22 * * *", "30 2 * * *", berlin,
			"2026-03-29 03:00 +02:00", "2026-03-29 22:00 +02:00", "2026-03-30 02:30 +02:00"},
		"a window that is skipped whole": {"15 2 * * *", "45 2 * * *", berlin,
			"2026-03-29 01:00 +01:00", "2026-03-30 02:15 +02:00", "2026-03-30 02:45 +02:00"},
		"a pause that is skipped whole": {"45 2 * * *", "15 2 * * *", berlin,
			"2026-03-29 04:00 +02:00", "2026-03-29 03:00 +02:00", "2026-03-30 02:15 +02:00"},
		"the first of two starts": {"30 2 * * *", "0 6 * * *", berlin,
			"2026-10-25 02:10 +02:00", "2026-10-25 02:30 +02:00", "2026-10-25 06:00 +01:00"},
		"the first of two ends": {"0 22 * * *", "30 2 * * *", berlin,
			"2026-10-25 00:00 +02:00", "2026-10-24 22:00 +02:00", "2026-10-25 02:30 +02:00"},
		"a window that comes twice": {"15 2 * * *", "45 2 * * *", berlin,
			"2026-10-25 02:45 +02:00", "2026-10-25 02:15 +01:00", "2026-10-25 02:45 +01:00"},

		// New York: 2026-03-08 02:00 → 03:00, 2026-11-01 02:00 → 01:00.
		"New York forward": {"0 8 * * *", "0 18 * * *", newYork,
			"2026-03-08 00:00 -05:00", "2026-03-08 08:00 -04:00", "2026-03-08 18:00 -04:00"},
		"New York back": {"0 8 * * *", "0 18 * * *", newYork,
			"2026-11-01 00:00 -04:00", "2026-11-01 08:00 -05:00", "2026-11-01 18:00 -05:00"},
		"New York from the night of the change": {"30 1 * * *", "30 3 * * *", newYork,
			"2026-11-01 01:45 -05:00", "2026-11-01 01:30 -04:00", "2026-11-01 03:30 -05:00"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := Parse(c.start, c.end, c.zone)
			if c.now == "" {
				if err == nil { // MARCH is no name, and the error must say so and not speak of hashes
					t.Error("accepted")
				} else if !strings.Contains(err.Error(), `month "march"`) {
					t.Errorf("Parse: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(layout, c.now)
			if err != nil {
				t.Fatal(err)
			}
			from, until := w.Around(now)
			if got := from.Format(layout); got != c.from {
				t.Errorf("from %s, want %s", got, c.from)
			}
			if got := until.Format(layout); got != c.until {
				t.Errorf("until %s, want %s", got, c.until)
			}
		})
	}
}

func BenchmarkAround(b *testing.B) {
	w, err := Parse("0 8 * * 1-5", "0 18 * * 1-5", "Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		w.Around(now)
	}
}
