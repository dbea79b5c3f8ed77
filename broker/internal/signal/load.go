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

// Combine joins the answers with the live replicas. Series of other pods are
// dropped; a replica without a running, waiting and KV reading was not heard, and
// counts as busy with all its slots. So do, although they were heard, a young one
// that reports no request and one that fails: overload is a common reason to.
func Combine(specs []Spec, s Sample, replicas Replicas, now time.Time) lend.Load {
	load := lend.Load{Known: true, Coverage: 1}
	c := combiner{load: &load, sample: s, now: now}
	for _, spec := range specs {
		if spec.Profile != "" {
			c.profile(spec, replicas)
		} else {
			c.query(spec)
		}
	}
	if len(specs) == 0 {
		c.unknown("the policy has no signals")
	}
	slices.SortFunc(load.Signals, func(a, b lend.Signal) int { return cmp.Compare(a.Name, b.Name) })
	if !load.Known {
		return lend.Load{Unknown: load.Unknown, ObservedAt: load.ObservedAt, Coverage: load.Coverage}
	}
	return load
}

type combiner struct {
	load   *lend.Load
	sample Sample
	now    time.Time
}

// unknown keeps the first reason: the signals are in the policy's order.
func (c *combiner) unknown(reason string) {
	if c.load.Known {
		c.load.Known, c.load.Unknown = false, reason
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

func (c *combiner) query(spec Spec) {
	reading, ok := c.sample.Queries[spec.Name]
	switch {
	case !ok:
		c.unknown(fmt.Sprintf("%s: %s", spec.Name, cmp.Or(c.sample.Missing[spec.Name], "not asked yet")))
	case reading.At.After(c.now.Add(futureTolerance)):
		c.unknown(fmt.Sprintf("%s: the sample is from the future", spec.Name))
	default:
		c.observe(reading.At)
		c.load.Signals = append(c.load.Signals,
			lend.Signal{Name: spec.Name, Value: reading.Value, Low: spec.Low, High: spec.High})
	}
}

func (c *combiner) profile(spec Spec, replicas Replicas) {
	profile, _ := LookupProfile(spec.Profile)
	c.load.Slots = spec.Slots
	if len(replicas.Ready) == 0 {
		c.empty(replicas)
		return
	}
	var heard, blank, requests, waiting, kv float64
	for i, pod := range slices.Concat(replicas.Ready, replicas.Failing) {
		r, w, k, ok := c.pod(pod)
		if !ok {
			requests += spec.Slots
			continue
		}
		heard++
		waiting += w
		kv = max(kv, k)
		switch {
		case i >= len(replicas.Ready):
			requests += max(r+w, spec.Slots)
		case r == 0 && w == 0 && slices.Contains(replicas.Young, pod):
			blank++
			requests += spec.Slots
		default:
			requests += r + w
		}
	}
	c.load.Coverage = heard / float64(len(replicas.Ready)+len(replicas.Failing))
	if heard == 0 {
		c.unknown(c.silence(spec))
		return
	}
	c.load.Requests = requests
	c.load.Signals = append(c.load.Signals,
		lend.Signal{Name: "kv", Value: kv, Low: profile.KVMark, High: profile.KVMark},
		lend.Signal{Name: "waiting", Value: waiting / max(heard-blank, 1), Low: profile.WaitingLow, High: profile.WaitingHigh})
}

// empty is a service without a ready replica: idle if it is scaled to zero, and
// otherwise as blind as one that does not answer.
func (c *combiner) empty(replicas Replicas) {
	if replicas.Wanted > 0 {
		c.load.Coverage = 0
		c.unknown("no replica is ready")
		return
	}
	c.observe(c.now)
}

// pod returns a replica's readings; ok is false if one is missing.
func (c *combiner) pod(name string) (running, waiting, kv float64, ok bool) {
	var values [3]float64
	var oldest time.Time
	for i, series := range []map[string]Reading{c.sample.Running, c.sample.Waiting, c.sample.KV} {
		reading, found := series[name]
		if !found || reading.At.After(c.now.Add(futureTolerance)) {
			return 0, 0, 0, false
		}
		values[i] = reading.Value
		if oldest.IsZero() || reading.At.Before(oldest) {
			oldest = reading.At
		}
	}
	c.observe(oldest)
	return values[0], values[1], values[2], true
}

// silence says why no replica was heard.
func (c *combiner) silence(spec Spec) string {
	if len(c.sample.Missing) == 0 && c.sample.Running == nil {
		return fmt.Sprintf("profile %s: not asked yet", spec.Profile)
	}
	for _, question := range []string{spec.Name, askRunning, askWaiting, askKV} {
		if why := c.sample.Missing[question]; why != "" {
			return fmt.Sprintf("profile %s, %s: %s", spec.Profile, question, why)
		}
	}
	return fmt.Sprintf("profile %s: no ready replica has all of running, waiting and KV cache use", spec.Profile)
}
