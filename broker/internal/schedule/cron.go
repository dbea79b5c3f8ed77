package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// searchYears is how far a time is looked for. The longest that a cron without a year
// lets one wait is eight years, for a 29 February around 2100.
const searchYears = 9

var (
	// names of the five fields, in their order.
	names  = [...]string{"minute", "hour", "day of month", "month", "day of week"}
	parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom).
		WithMaxSearchYears(searchYears)
)

// parseCron reads five fields. What it returns knows nothing of time zones: it is asked
// for times of the clock on the wall, written as if they were UTC.
func parseCron(text string) (*cron.SpecSchedule, error) {
	if strings.Contains(text, "=") {
		return nil, errors.New("must have no time zone of its own: that is what timezone is for")
	}
	// The parser takes the H of THU for another cron's hash.
	fields := strings.Fields(strings.ToLower(text))
	if len(fields) != len(names) {
		return nil, fmt.Errorf("must have five fields (minute, hour, day of month, month, day of week), and has %d", len(fields))
	}
	for i, field := range fields {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = field
		if _, err := parser.Parse(strings.Join(alone, " ")); err != nil {
			return nil, fmt.Errorf("%s %q: %w", names[i], field, err)
		}
	}
	parsed, err := parser.Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("must be five cron fields")
	}
	spec.Location = time.UTC
	if spec.Next(time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("never comes: no month has that day")
	}
	return spec, nil
}
