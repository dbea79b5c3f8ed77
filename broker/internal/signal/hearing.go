package signal

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// water are the marks of a measure. A signal below low lets units be lent, one above
// high takes them back.
type water struct{ low, high float64 }

// waters of the measures that are signals as they are. Memory that is nearly full only
// keeps units from being lent: engines take all that there is when they start. What an
// autoscaler wants has no marks: it is a number of replicas.
var waters = map[Measure]water{
	Waiting:     {5, 20},
	KV:          {0.8, 0.8},
	Utilization: {0.3, 0.7},
	Memory:      {0.9, 1},
	Errors:      {0.01, 0.05},
	Desired:     {maxPlausible, maxPlausible},
}

// hearing is one profile's part of a load.
type hearing struct {
	*combiner
	spec     Spec
	profile  *Profile
	measures map[Measure]Readings
}

// get returns a measure's plausible value for a pod, or "" for the service.
func (h *hearing) get(m Measure, key string) (Reading, bool) {
	r, ok := h.measures[m][key]
	return r, ok && plausible(r.Value) && !h.future(r)
}

// required are the measures without which nothing is believed.
func (h *hearing) required() []Measure {
	var required []Measure
	for i := range h.profile.Measures {
		m := &h.profile.Measures[i]
		if !m.Optional && m.Measure != TTFT && m.Measure != Latency {
			required = append(required, m.Measure)
		}
	}
	return required
}

// hears says whether all that is required is there.
func (h *hearing) hears(key string) bool {
	return !slices.ContainsFunc(h.required(), func(m Measure) bool {
		_, ok := h.get(m, key)
		return !ok
	})
}

// quiet says whether a key lacks a measure that need not be there, but is known to be: the
// question failed, the key or another one of the target's had it within the hour, or has it
// now. Whether nobody ever tells it, or only one does not now, makes all the difference:
// the fullest replica's cache is what must not be hidden. A counter of failures begins with
// a replica's first one, so that the others' say nothing about it.
func (h *hearing) quiet(key string) bool {
	return slices.ContainsFunc(h.profile.Measures, func(m Metric) bool {
		if !m.Optional || m.Measure == Slots && h.spec.Slots > 0 || h.answered(&m, key) {
			return false
		}
		question := of(h.spec.Name, m.Measure)
		_, had := h.sample.Had[question][key]
		switch {
		case had, h.sample.Missing[question] != "" && !h.sample.Absent[question]:
			return true
		case m.Measure == Errors:
			return false
		}
		return len(h.sample.Had[question]) > 0 ||
			slices.ContainsFunc(h.keys(), func(other string) bool { return h.answered(&m, other) })
	})
}

// answered says whether a key has a measure, or nothing ended that it could be of.
func (h *hearing) answered(m *Metric, key string) bool {
	r, there := h.measures[m.Measure][key]
	_, told := h.get(m.Measure, key)
	return told || there && m.nothingEnded(r.Value) && !h.future(r)
}

// mute says whether nothing could be heard of a target that has no replicas: only they
// would tell. A source beside them can be asked, and one that does not answer may have
// requests that wait.
func (h *hearing) mute() bool {
	if h.profile.Scope == ScopePod {
		return true
	}
	return h.profile.Own && !h.hears("") && !slices.ContainsFunc(h.required(), func(m Measure) bool {
		return !h.sample.Absent[of(h.spec.Name, m)]
	})
}

// least is the lower of two numbers, of which 0 is none.
func least(a, b float64) float64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// setSlots settles how many requests a replica serves at once: what the policy says,
// else the least that a replica says, or one said within the hour where one does not now,
// else what the profile does.
func (h *hearing) setSlots() {
	slots := h.spec.Slots
	if slots == 0 {
		for _, key := range h.keys() {
			if r, ok := h.get(Slots, key); ok {
				slots = least(slots, r.Value)
				continue
			}
			for _, r := range h.sample.Had[of(h.spec.Name, Slots)] {
				slots = least(slots, r.Value)
			}
		}
	}
	if slots == 0 {
		slots = h.profile.Slots
	}
	if most := h.spec.SlotsMost; most > 0 && (slots == 0 || most < slots) {
		slots = most
	}
	if h.load.Slots = slots; slots == 0 && (h.replicas.Wanted > 0 || len(h.keys()) > 0) {
		h.unknown("profile %s: no replica says how many requests it serves at once, and the policy's slots do not either", h.profile.Name)
	}
}

// keys are those of the readings that count: the live pods, or the service.
func (h *hearing) keys() []string {
	if h.profile.Scope == ScopePod {
		return h.replicas.live()
	}
	return []string{""}
}

// pods joins what the replicas say for themselves.
func (h *hearing) pods() {
	var heard []string
	quiet := 0
	blank, requests, assumed, waiting := 0, 0.0, 0.0, 0.0
	for i, pod := range h.replicas.live() {
		if !h.hears(pod) {
			requests += h.load.Slots
			continue
		}
		heard = append(heard, pod)
		if h.quiet(pod) {
			quiet++
		}
		h.observeAll(pod)
		running, _ := h.get(Running, pod)
		queued, _ := h.get(Waiting, pod)
		waiting += queued.Value
		switch all := running.Value + queued.Value; {
		case i >= len(h.replicas.Ready):
			requests += max(all, h.load.Slots)
		case all == 0 && slices.Contains(h.replicas.Young, pod):
			blank++
			requests += h.load.Slots
			assumed += h.load.Slots // added up as the requests are: the rest is never below 0
		default:
			requests += all
		}
	}
	h.miss(len(h.replicas.live()) - len(heard))
	h.silent = max(h.silent, len(h.replicas.live())-len(heard)+quiet)
	if len(heard) == 0 {
		h.unknown("%s", h.silence())
		return
	}
	if h.profile.requests() {
		h.load.Requests, h.load.Assumed = requests, assumed
	}
	if h.profile.metric(Waiting) != nil {
		h.signal(Waiting, waiting/float64(max(len(heard)-blank, 1)))
	}
	h.signals(heard)
}

// service takes one series for all replicas.
func (h *hearing) service() {
	if !h.hears("") {
		h.load.Coverage = 0
		h.unknown("%s", h.silence())
		return
	}
	if h.quiet("") {
		h.silent = max(h.silent, len(h.replicas.live()), 1)
	}
	h.observeAll("")
	replicas := max(float64(len(h.replicas.Ready)), 1)
	total := func(m Measure) float64 {
		r, _ := h.get(m, "")
		if metric := h.profile.metric(m); metric != nil && metric.Each {
			return r.Value * replicas
		}
		return r.Value
	}
	if h.profile.requests() {
		h.load.Requests, h.load.Assumed = total(Running)+total(Waiting), 0
	}
	if _, ok := h.get(Waiting, ""); ok {
		h.signal(Waiting, total(Waiting)/replicas)
	}
	if r, ok := h.get(Desired, ""); ok {
		w := waters[Desired]
		h.add(h.profile.Name, lend.Signal{Name: "desired", Value: r.Value, Low: w.low, High: w.high, PerReplica: 1})
	}
	h.signals([]string{""})
}

// observeAll takes the age of everything that is required.
func (h *hearing) observeAll(key string) {
	for _, m := range h.required() {
		r, _ := h.get(m, key)
		h.observe(r.At)
	}
}

// signals adds the measures that are signals as they are: the fullest replica's cache
// and memory, and the mean of what is used and of what fails.
func (h *hearing) signals(keys []string) {
	for _, m := range []Measure{KV, Memory, Utilization, Errors} {
		highest, sum, n := 0.0, 0.0, 0.0
		for _, key := range keys {
			if r, ok := h.get(m, key); ok {
				highest, sum, n = max(highest, r.Value), sum+r.Value, n+1
			}
		}
		switch {
		case n == 0:
		case m == KV || m == Memory:
			h.signal(m, highest)
		default:
			h.signal(m, sum/n)
		}
	}
	h.slowest(keys)
}

// slowest adds the latency of the slowest replica, where the policy has a limit for
// it. None while no request ends: whether anything runs, the requests say.
func (h *hearing) slowest(keys []string) {
	metric := h.profile.latency()
	if h.spec.Latency == 0 || metric == nil {
		return
	}
	question := of(h.spec.Name, metric.Measure)
	if why := h.sample.Missing[question]; why != "" {
		h.unknown("profile %s, %s: %s", h.profile.Name, metric.Measure, why)
		return
	}
	slowest, heard := 0.0, false
	for _, key := range keys {
		if r, ok := h.get(metric.Measure, key); ok {
			slowest, heard = max(slowest, r.Value), true
			h.observe(r.At)
		}
	}
	if limit := h.spec.Latency.Seconds(); heard {
		h.add(h.profile.Name, lend.Signal{Name: string(metric.Measure), Value: slowest, Low: limit, High: limit})
	}
}

func (h *hearing) signal(m Measure, value float64) {
	name := string(m)
	switch m {
	case KV:
		name = "kv"
	case Waiting:
		name = "waiting"
	}
	h.add(h.profile.Name, lend.Signal{Name: name, Value: value, Low: waters[m].low, High: waters[m].high})
}

// silence says why no replica was heard.
func (h *hearing) silence() string {
	name, missing := h.profile.Name, h.sample.Missing
	if why := missing[h.spec.Name]; why != "" {
		return fmt.Sprintf("profile %s, %s: %s", name, h.spec.Name, why)
	}
	for _, m := range h.required() {
		if why := missing[of(h.spec.Name, m)]; why != "" {
			return fmt.Sprintf("profile %s, %s: %s", name, m, why)
		}
	}
	if h.measures == nil {
		return fmt.Sprintf("profile %s: not asked yet", name)
	}
	if h.profile.Scope == ScopeService {
		return fmt.Sprintf("profile %s: no plausible value of %s", name, h.phrase())
	}
	if strangers := h.strangers(); strangers > 0 {
		return fmt.Sprintf("profile %s: there are series of %d pods, but none of them is a ready replica", name, strangers)
	}
	return fmt.Sprintf("profile %s: no ready replica has all of %s", name, h.phrase())
}

// strangers counts the pods that were heard and are not the target's, if all are.
func (h *hearing) strangers() int {
	pods := map[string]bool{}
	for _, readings := range h.measures {
		for pod := range readings {
			pods[pod] = true
		}
	}
	for _, pod := range h.replicas.live() {
		if pods[pod] {
			return 0
		}
	}
	return len(slices.Collect(maps.Keys(pods)))
}

// phrase lists what is required.
func (h *hearing) phrase() string {
	var names []string
	for _, m := range h.required() {
		names = append(names, string(m))
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}
