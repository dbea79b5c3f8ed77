package signal

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// futureTolerance bounds how far ahead of the decision's time a sample may be:
// clocks differ, and a decision's time is taken before its samples are. A sample
// within it counts as taken now.
const futureTolerance = 5 * time.Second

// Replicas are the pods of a target that hold units.
type Replicas struct {
	// Ready are the names of those that serve: they must be heard from.
	Ready []string
	// Young are the names of those of Ready that began to serve only now. An engine
	// says 0 until its first requests are counted, so a 0 of theirs says nothing.
	Young []string
	// Failing are the names of those that served and do not now. They must be heard
	// from too, and have all their slots busy, whatever they say. Those that have
	// not served yet are in neither list: what comes in goes to the others.
	Failing []string
	// Wanted is the number of replicas that there should be.
	Wanted int64
}

// live are all that must be heard from.
func (r Replicas) live() []string { return slices.Concat(r.Ready, r.Failing) }

// Combine joins the answers with the live replicas. Series of other pods are
// dropped. A replica without a reading of everything that its profile must have was
// not heard, and counts as busy with all its slots. So do, although they were heard, a
// young one that reports no request and one that fails: overload is a common reason to.
// Coverage is that of the signal that was heard from the fewest. One that was heard, but
// not with all that it is known to tell, has its part in Coverage: what it says is believed.
// What it and a silent replica would have said besides has no bound, so that while there is one the load has a signal that is
// never low: nothing new is lent, and nothing is taken back for it.
func Combine(specs []Spec, s Sample, replicas Replicas, now time.Time) lend.Load {
	load := lend.Load{Known: true, Coverage: 1}
	c := combiner{load: &load, sample: s, now: now, replicas: replicas}
	for _, spec := range specs {
		if spec.ofProfile() {
			c.profile(spec)
		} else {
			c.value(spec)
		}
	}
	if len(specs) == 0 {
		c.unknown("the policy has no signals")
	}
	c.addSilent()
	slices.SortStableFunc(load.Signals, func(a, b lend.Signal) int { return cmp.Compare(a.Name, b.Name) })
	if !load.Known {
		return lend.Load{Unknown: load.Unknown, ObservedAt: load.ObservedAt, Coverage: load.Coverage}
	}
	return load
}

type combiner struct {
	load     *lend.Load
	sample   Sample
	now      time.Time
	replicas Replicas
	// silent is how many live replicas the signal did not hear, or not in full, that heard
	// the fewest.
	silent int
}

// silentReplicas is the name of the signal that there is while a replica is not heard.
const silentReplicas = "silent replicas"

// miss takes in how many of the live replicas a signal did not hear.
func (c *combiner) miss(silent int) {
	live := len(c.replicas.live())
	if silent <= 0 || live == 0 {
		return
	}
	c.silent = max(c.silent, silent)
	c.load.Coverage = min(c.load.Coverage, max(0, float64(live-silent)/float64(live)))
}

// addSilent adds the signal that is at both of its marks: not low, so that nothing is
// lent, not high, so that nothing is taken back, and high with one replica fewer.
func (c *combiner) addSilent() {
	if n := float64(c.silent); n > 0 {
		c.add("", lend.Signal{Name: silentReplicas, Value: n, Low: n, High: n})
	}
}

// unknown keeps the first reason: the signals are in the policy's order.
func (c *combiner) unknown(format string, args ...any) {
	if c.load.Known {
		c.load.Known, c.load.Unknown = false, fmt.Sprintf(format, args...)
	}
}

func (c *combiner) observe(at time.Time) {
	if at.After(c.now) {
		at = c.now
	}
	if c.load.ObservedAt.IsZero() || at.Before(c.load.ObservedAt) {
		c.load.ObservedAt = at
	}
}

// future says whether a reading is from a time that is not yet: then one of the clocks
// is wrong, and the reading's age means nothing.
func (c *combiner) future(r Reading) bool { return r.At.After(c.now.Add(futureTolerance)) }

// add adds a signal. Where two profiles have one of the same name, the second's is
// told apart by its profile's.
func (c *combiner) add(profile string, s lend.Signal) {
	if profile != "" && slices.ContainsFunc(c.load.Signals, func(o lend.Signal) bool { return o.Name == s.Name }) {
		s.Name = profile + " " + s.Name
	}
	c.load.Signals = append(c.load.Signals, s)
}

// value is a signal that is one number.
func (c *combiner) value(spec Spec) {
	reading, ok := c.sample.Values[spec.Name]
	switch {
	case spec.Kind == KindAutoscaler:
		c.unknown("%s: %s", spec.Name, cmp.Or(c.sample.Missing[spec.Name], "the target has no autoscaler whose metrics can be read"))
	case !ok:
		c.unknown("%s: %s", spec.Name, cmp.Or(c.sample.Missing[spec.Name], "not asked yet"))
	case c.future(reading):
		c.unknown("%s: the sample is from the future", spec.Name)
	case !plausible(reading.Value):
		c.unknown("%s: the value is %g, want a number from 0 to 1e15", spec.Name, reading.Value)
	default:
		c.observe(reading.At)
		c.miss(reading.Silent)
		c.add("", lend.Signal{Name: spec.Name, Value: reading.Value, Low: spec.Low, High: spec.High, PerReplica: spec.PerReplica})
	}
}

// profile is what a profile says about the replicas.
func (c *combiner) profile(spec Spec) {
	p := profiles[spec.Profile]
	h := hearing{combiner: c, spec: spec, profile: p, measures: c.sample.Profiles[spec.Name]}
	if p.requests() {
		h.setSlots()
	}
	switch {
	case len(c.replicas.Ready) == 0 && c.replicas.Wanted > 0:
		c.load.Coverage = 0
		c.unknown("no replica is ready")
	case len(c.replicas.Ready) == 0 && h.mute():
		c.observe(c.now) // scaled to zero: idle by its owner's own word
	case p.Scope == ScopePod:
		h.pods()
	default:
		h.service()
	}
}
