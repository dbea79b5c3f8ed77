package demand

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultStart is how long a replica is taken to need from its node to being ready as
	// long as none was seen to start.
	DefaultStart = time.Minute
	// longestStart: a pod that was first ready later than that had something else to wait
	// for, or was ready before and is so again.
	longestStart = time.Hour
	// longestReclaim is how long a reclaim may have taken at most to count, or mostGraces
	// times the policy's MaxGrace where that is longer: one that took longer was stuck, and
	// says nothing about the next.
	longestReclaim = time.Hour
	mostGraces     = 10

	mostDurations = 50
	oldest        = 7 * 24 * time.Hour
	percentile    = 95
	// always is how many of the newest count whatever their age, where they were long: a
	// service that runs steadily has no new ones, and its model is no smaller for that.
	always = 5
)

// Notice is how long it takes at most from asking units back to a replica that serves on
// them: what a reclaim takes plus what a start does. Each is the 95th percentile of the
// last 50 that are at most seven days old. What was not seen lately counts as the policy's
// MaxGrace and as DefaultStart, and as the longest of the last five if that is longer. A
// reclaim never counts as less than MaxGrace here, however quick the last ones were: the
// next borrower may use it, and what a schedule promises must be there. An unknown lender
// has DefaultStart.
func (d *Demand) Notice(name string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lenders[name]
	if l == nil {
		return DefaultStart
	}
	return l.notice()
}

// notice and horizon are also not below what they were before the clock leapt, after which
// all that was seen looks old.
func (l *lender) notice() time.Duration {
	n := max(l.reclaimTime(), l.shape.MaxGrace) + l.startTime()
	if l.held != nil {
		n = max(n, l.held.notice)
	}
	return n
}

// horizon is what is made of what was seen alone: a forecast is a bound that holds as often
// as the quantile says, and so may the time until which it looks be.
func (l *lender) horizon() time.Duration {
	h := l.reclaimTime() + l.startTime()
	if l.held != nil {
		h = max(h, l.held.horizon)
	}
	return h
}

func (l *lender) reclaimTime() time.Duration {
	return l.reclaims.high(l.now, max(l.shape.MaxGrace, 0))
}

func (l *lender) startTime() time.Duration { return l.starts.high(l.now, DefaultStart) }

// SawReclaim notes that units of a lender were asked back and when they were free. loan
// names the occasion: a second call with it changes nothing, so all that is known may be
// told again and again. What ends before it begins is ignored, and so is what took longer
// than an hour and than ten times MaxGrace: it was stuck.
func (d *Demand) SawReclaim(name, loan string, asked, returned time.Time) {
	if asked.IsZero() || returned.Before(asked) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l, took := d.lender(name), returned.Sub(asked)
	if took > max(longestReclaim, mostGraces*l.shape.MaxGrace) {
		return
	}
	l.reclaims.add(loan, returned, took)
}

// SawStart notes when a lender's pod got its node and when it was first ready. A second
// call with the same uid changes nothing. A pod that took more than an hour is ignored:
// it was ready before, or waited for something else.
func (d *Demand) SawStart(name, uid string, scheduled, ready time.Time) {
	took := ready.Sub(scheduled)
	if scheduled.IsZero() || took < 0 || took > longestStart {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lender(name).starts.add(uid, ready, took)
}

// durations are the newest of many, by the time at which they ended. The zero durations
// are none.
type durations struct{ list []duration }

type duration struct {
	key  string
	at   time.Time
	took time.Duration
}

// add keeps a duration if it is among the newest, and new.
func (d *durations) add(key string, at time.Time, took time.Duration) {
	if slices.ContainsFunc(d.list, func(o duration) bool { return o.key == key }) {
		return
	}
	one := duration{key, at, took}
	i, _ := slices.BinarySearchFunc(d.list, one, func(a, b duration) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.key, b.key))
	})
	if i == 0 && len(d.list) == mostDurations {
		return
	}
	d.list = slices.Insert(d.list, i, one)
	if len(d.list) > mostDurations {
		d.list = slices.Delete(d.list, 0, 1)
	}
}

// lately lists those that are not too old, by length.
func (d *durations) lately(now time.Time) []time.Duration {
	var took []time.Duration
	for _, o := range d.list {
		if now.Sub(o.at) <= oldest {
			took = append(took, o.took)
		}
	}
	slices.Sort(took)
	return took
}

// high is the percentile of those of lately, by the nearest rank; without any, it is what is
// given. With fewer than always, it is not below the longest of as many, however old.
func (d *durations) high(now time.Time, none time.Duration) time.Duration {
	took := d.lately(now)
	n := len(took)
	if n > 0 {
		none = took[(n*percentile+99)/100-1]
	}
	for i := max(len(d.list)-always, 0); n < always && i < len(d.list); i++ {
		none = max(none, d.list[i].took)
	}
	return none
}
