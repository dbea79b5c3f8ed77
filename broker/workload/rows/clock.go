package rows

import "time"

// Moment is a time as a file has it: At, or After since the file's beginning if At is zero.
type Moment struct {
	At    time.Time
	After time.Duration
}

// Clock turns the times of a file into times since Origin.
type Clock struct {
	// Origin is 0; zero: what a file says first is. Files whose times have no date begin
	// with it.
	Origin  time.Time
	started bool
	dated   bool
}

// Since returns how long after the origin a row's moment is, below 0 if it is before. It
// fails on a file that has both times with a date and times without.
func (c *Clock) Since(r *Row, column string) time.Duration {
	m := r.Moment(column)
	if r.err != nil {
		return 0
	}
	dated := !m.At.IsZero()
	if !c.started {
		c.started, c.dated = true, dated
		if dated && c.Origin.IsZero() {
			c.Origin = m.At
		}
	}
	switch {
	case dated != c.dated:
		r.Fail(column, "a time with a date in all rows, or in none")
		return 0
	case dated:
		return m.At.Sub(c.Origin)
	}
	return m.After
}

// Dated says whether the file's times have dates; false before the first row.
func (c *Clock) Dated() bool { return c.dated }
