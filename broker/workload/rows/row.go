package rows

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row is one line. Its methods return the zero value where a cell is not what is wanted,
// and Err then says so.
type Row struct {
	// Line of the file, from 1.
	Line   int
	file   *File
	fields []string
	err    error
}

// most is above every number that a file may hold: whole numbers below it are exact, and
// as seconds it is a time.Duration.
const most = 9e9

// Err is what was wrong first.
func (r *Row) Err() error { return r.err }

// Has says whether there is such a column and the cell has something in it.
func (r *Row) Has(column string) bool { return r.Text(column) != "" }

// Text of a cell without the space around it; empty where there is no such column.
func (r *Row) Text(column string) string {
	if i := slices.Index(r.file.header, column); i >= 0 {
		return strings.TrimSpace(r.fields[i])
	}
	return ""
}

// Named is the text of a cell that must have some.
func (r *Row) Named(column string) string {
	text := r.Text(column)
	if text == "" {
		r.Fail(column, "a name")
	}
	return strings.Clone(text)
}

// Number of at least 0.
func (r *Row) Number(column string) float64 {
	v, err := strconv.ParseFloat(r.Text(column), 64)
	if err != nil || !(v >= 0 && v < 1e15) {
		r.Fail(column, "a number of at least 0")
		return 0
	}
	return v
}

// Known is a Number, or not a number where the cell is empty or says NaN: a value that is
// missing is not zero.
func (r *Row) Known(column string) float64 {
	switch strings.ToLower(r.Text(column)) {
	case "", "nan", "null", "none", "n/a":
		return math.NaN()
	}
	return r.Number(column)
}

// Whole number from least to 9e9.
func (r *Row) Whole(column string, least int64) int64 {
	v, err := strconv.ParseInt(r.Text(column), 10, 64)
	if err != nil || v < least || v >= most {
		r.Fail(column, fmt.Sprintf("a whole number of at least %d", least))
		return 0
	}
	return v
}

// Count is a whole number from least to a million: of GPUs, pods, or parts.
func (r *Row) Count(column string, least int64) int64 {
	v := r.Whole(column, least)
	if v > million {
		r.Fail(column, "a whole number of at most a million")
		return 0
	}
	return v
}

// Priority is a whole number as Kubernetes has them, below 0 too.
func (r *Row) Priority(column string) int32 {
	v, err := strconv.ParseInt(r.Text(column), 10, 32)
	if err != nil {
		r.Fail(column, "a whole number of 32 bits")
	}
	return int32(v)
}

const million = 1_000_000

// Seconds, or a duration like 1h30m, of at least 0.
func (r *Row) Seconds(column string) time.Duration {
	text := r.Text(column)
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v < most) {
		r.Fail(column, "seconds, or a duration like 1h30m, of at least 0")
		return 0
	}
	return seconds(v)
}

// Elapsed is a duration as Slurm prints it, [[DD-]HH:]MM:SS, parts of a second left out.
func (r *Row) Elapsed(column string) time.Duration {
	text, _, _ := strings.Cut(r.Text(column), ".")
	days, clock, dated := strings.Cut(text, "-")
	if !dated {
		days, clock = "0", text
	}
	var total int64
	n, err := strconv.ParseUint(days, 10, 16)
	parts := strings.Split(clock, ":")
	for _, part := range parts {
		v, wrong := strconv.ParseUint(part, 10, 16)
		if wrong != nil {
			err = wrong
		}
		total = total*60 + int64(v)
	}
	if err != nil || len(parts) < 2 || len(parts) > 3 || dated && len(parts) != 3 {
		r.Fail(column, "a duration like 1-02:03:04, 02:03:04 or 03:04")
		return 0
	}
	return time.Duration(n)*24*time.Hour + time.Duration(total)*time.Second
}

// Moment is a time of RFC 3339, seconds since the Unix epoch, or seconds since the
// file's beginning: numbers below 1e8, three years, are that.
func (r *Row) Moment(column string) Moment {
	text := r.Text(column)
	if t, err := time.Parse(time.RFC3339, text); err == nil && t.Unix() >= sinceEpoch && t.Unix() < most {
		return Moment{At: t.UTC()}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v < most) {
		r.Fail(column, "a time like 2026-03-01T12:00:00Z after 1973, or seconds of at least 0")
		return Moment{}
	}
	if v < sinceEpoch {
		return Moment{After: seconds(v)}
	}
	return Moment{At: time.Unix(0, 0).UTC().Add(seconds(v))}
}

// Stamp is a time in the given layout. A time that does not say its zone is in zone.
func (r *Row) Stamp(column, layout string, zone *time.Location) time.Time {
	t, err := time.ParseInLocation(layout, r.Text(column), zone)
	if err != nil {
		r.Fail(column, "a time like "+layout)
	}
	return t
}

// sinceEpoch is from which number of seconds on a time counts from the Unix epoch.
const sinceEpoch = 1e8

func seconds(v float64) time.Duration {
	return time.Duration(math.Round(v * float64(time.Second)))
}

// Fail notes that a cell is not what is wanted, unless something was wrong before.
func (r *Row) Fail(column, want string) {
	r.Refuse("%s is %q, want %s", column, r.Text(column), want)
}

// Refuse notes what is wrong with the row as a whole.
func (r *Row) Refuse(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s:%d: %s", r.file.name, r.Line, fmt.Sprintf(format, args...))
	}
}
