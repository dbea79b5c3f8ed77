package signal

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// crowd is a service's replicas and what they say of themselves.
type crowd struct {
	specs    []Spec
	replicas Replicas
	sample   Sample
}

// drawCrowd has one or two profiles of scope Pod. Most values are those of an idle
// service, so that it could often lend.
func drawCrowd(t *rapid.T) crowd {
	c := crowd{sample: Sample{Profiles: map[string]map[Measure]Readings{}, Values: map[string]Reading{}}}
	for i := range rapid.IntRange(1, 25).Draw(t, "replicas") {
		name := string(rune('a' + i))
		switch rapid.SampledFrom([]string{"ready", "ready", "ready", "ready", "ready", "ready", "ready", "ready", "ready", "ready", "young", "failing"}).Draw(t, "is") {
		case "young":
			c.replicas.Young = append(c.replicas.Young, name)
			c.replicas.Ready = append(c.replicas.Ready, name)
		case "failing":
			c.replicas.Failing = append(c.replicas.Failing, name)
		default:
			c.replicas.Ready = append(c.replicas.Ready, name)
		}
	}
	c.replicas.Wanted = int64(len(c.replicas.Ready))
	for _, name := range rapid.SampledFrom([][]string{{"vllm"}, {"nim"}, {"tgi"}, {"vllm", "dcgm"}, {"llamacpp", "pods-metrics"}, {"dcgm"}, {"trtllm-serve", "nvidia-smi-exporter"}}).Draw(t, "profiles") {
		spec := Spec{Name: name, Kind: KindProfile, Profile: name, Slots: rapid.SampledFrom([]float64{0, 8, 64}).Draw(t, "slots")}
		if profiles[name].latency() != nil {
			spec.Latency = rapid.SampledFrom([]time.Duration{0, 2 * time.Second}).Draw(t, "latency")
		}
		c.specs = append(c.specs, spec)
		c.sample.Profiles[name] = drawMeasures(t, profiles[name], c.replicas.live())
	}
	if rapid.Bool().Draw(t, "has a value") {
		c.specs = append(c.specs, Spec{Name: "pods", Kind: KindPods, Low: 5, High: 20})
		c.sample.Values["pods"] = Reading{Value: rapid.SampledFrom([]float64{0, 4, 6, 30}).Draw(t, "value"), At: now}
	}
	return c
}

func drawMeasures(t *rapid.T, p *Profile, pods []string) map[Measure]Readings {
	measures := map[Measure]Readings{}
	for i := range p.Measures {
		m := &p.Measures[i]
		if m.Optional && rapid.IntRange(0, 3).Draw(t, "is told") == 3 {
			continue // by nobody
		}
		measures[m.Measure] = Readings{}
		for _, pod := range pods {
			value := 0.0
			if rapid.IntRange(0, 99).Draw(t, "busy") == 99 {
				value = rapid.SampledFrom([]float64{0.2, 0.7, 0.85, 1, 3, 9, 60, 500}).Draw(t, string(m.Measure))
			}
			if m.Measure == Slots {
				value = rapid.SampledFrom([]float64{2, 32, 64}).Draw(t, "its slots")
			}
			if m.overWindow() && rapid.IntRange(0, 9).Draw(t, "ended") == 9 {
				value = math.NaN()
			}
			age := time.Second
			if rapid.IntRange(0, 99).Draw(t, "old") == 99 {
				age = time.Minute
			}
			measures[m.Measure][pod] = Reading{Value: value, At: now.Add(-age)}
		}
	}
	return measures
}

// hide takes from a copy of the sample what some replicas say: all of it, or one
// measure that they had, whether or not it must be there; or what all say, because the
// question failed. What was there before is remembered. less says that some replica is
// not heard at all, or not with what must be there.
func (c crowd) hide(t *rapid.T) (hidden Sample, less bool) {
	target := Target{Specs: c.specs}
	for _, pod := range c.replicas.live() {
		target.Pods = append(target.Pods, Pod{Name: pod})
	}
	hidden = Sample{Missing: Missing{}, Had: target.remember(nil, c.sample, now), Profiles: map[string]map[Measure]Readings{}, Values: maps.Clone(c.sample.Values)}
	for name, measures := range c.sample.Profiles {
		hidden.Profiles[name] = map[Measure]Readings{}
		for m, readings := range measures {
			hidden.Profiles[name][m] = maps.Clone(readings)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "a question fails") == 3 {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(hidden.Profiles))).Draw(t, "of")
		told := c.told(name)
		m := rapid.SampledFrom(told).Draw(t, "the question")
		delete(hidden.Profiles[name], m)
		hidden.Missing[of(name, m)] = "timeout"
		if rapid.Bool().Draw(t, "just started") {
			hidden.Had = nil
		}
		return hidden, !profiles[name].metric(m).Optional
	}
	live := c.replicas.live()
	first := rapid.IntRange(0, len(live)-1).Draw(t, "first hidden")
	for i, pod := range live {
		if i != first && rapid.IntRange(0, 9).Draw(t, "hidden too") != 9 {
			continue
		}
		if v, is := hidden.Values["pods"]; is {
			less = true
			v.Silent++ // its part of a mean is filled in, with too little if it was high
			v.Value = min(v.Value, 1)
			hidden.Values["pods"] = v
		}
		for _, name := range slices.Sorted(maps.Keys(hidden.Profiles)) {
			measures := hidden.Profiles[name]
			if rapid.Bool().Draw(t, "one measure") {
				m := rapid.SampledFrom(c.told(name)).Draw(t, "measure")
				delete(measures[m], pod)
				less = less || !profiles[name].metric(m).Optional
				continue
			}
			less = true
			for m := range measures {
				delete(measures[m], pod)
			}
		}
	}
	return hidden, less
}

// told are the measures of a profile that replicas tell and that something hangs on, in
// its order. Slots are the policy's where it says them.
func (c crowd) told(name string) []Measure {
	spec := c.specs[slices.IndexFunc(c.specs, func(s Spec) bool { return s.Name == name })]
	var told []Measure
	for _, m := range profiles[name].Measures {
		_, is := c.sample.Profiles[name][m.Measure]
		if is && m.Measure != TTFT && m.Measure != Latency && (m.Measure != Slots || spec.Slots == 0) {
			told = append(told, m.Measure)
		}
	}
	return told
}

// lendable is how many units the core would lend of a service with such a load, which
// has no dwell and is not bound in its steps. It has 40 replicas' worth of units.
func lendable(load lend.Load, replicas Replicas, quorum float64) lend.LenderView {
	const units = 40
	running := int64(len(replicas.live()))
	policy := lend.DefaultPolicy()
	policy.Quorum = quorum
	plan, _ := lend.Decide(lend.Snapshot{
		Now: now, Epoch: 1,
		Nodes:   []lend.Node{{Name: "n", Schedulable: true, Units: []lend.Units{{Flavor: "h100", Capacity: units, Online: running}}}},
		Tenants: []lend.Tenant{{Name: "online", Quotas: []lend.Quota{{Flavor: "h100", Nominal: units}}}},
		Lenders: []lend.Lender{{
			Name: "serving/chat", Tenant: "online", Flavor: "h100", Owned: units, UnitsPerPod: 1,
			Desired: running, Running: running, Ready: int64(len(replicas.Ready)), LowWater: 0.3, HighWater: 0.7, Load: load,
		}},
	}, lend.State{At: now.Add(-5 * time.Second)}, policy)
	return plan.Lenders[0]
}

// TestHidingNeverLendsMore: whatever the replicas say, without the word of some of them
// nothing more is lent than with it, whatever share must be heard; and while one is not
// heard, nothing at all.
func TestHidingNeverLendsMore(t *testing.T) {
	lent, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawCrowd(t)
		quorum := rapid.SampledFrom([]float64{0.1, 0.5, 0.9}).Draw(t, "quorum")
		all := Combine(c.specs, c.sample, c.replicas, now)
		hidden, less := c.hide(t)
		some := Combine(c.specs, hidden, c.replicas, now)
		if less && some.Coverage >= 1 && len(c.replicas.Ready) > 0 {
			t.Fatalf("coverage is %v with a replica hidden", some.Coverage)
		}
		with, without := lendable(all, c.replicas, quorum), lendable(some, c.replicas, quorum)
		if without.Lendable > with.Lendable || without.Lendable > 0 {
			t.Fatalf("lends %d units of %+v, and %d of %+v with replicas hidden", with.Lendable, all, without.Lendable, some)
		}
		if with.Lendable > 0 {
			lent++
			if some.Known {
				refused++
			}
		}
	})
	if lent == 0 || refused == 0 {
		t.Errorf("%d services could lend, %d of them with a load that is known without the hidden: the property says nothing", lent, refused)
	}
	t.Logf("%d services could lend, %d of them with a load that is known without the hidden", lent, refused)
}

// TestSilentReplica: a replica that is not heard keeps units from being lent, and takes
// none back: neither at once, nor as a signal that rises, nor by its number.
func TestSilentReplica(t *testing.T) {
	sample := says(map[Measure]map[string]float64{Running: {}, Waiting: {}, KV: {}})
	replicas := Replicas{Wanted: 20}
	for i := range 20 {
		name := string(rune('a' + i))
		replicas.Ready = append(replicas.Ready, name)
		for _, m := range []Measure{Running, Waiting, KV} {
			sample.Profiles["s"][m][name] = Reading{At: now}
		}
	}
	spec := []Spec{profileSpec("vllm")}
	heard := lendable(Combine(spec, sample, replicas, now), replicas, 0.9)
	if heard.Lendable == 0 {
		t.Fatalf("all heard: got %+v, want something to lend", heard)
	}
	// The one with the long queue falls silent: without it all look idle.
	delete(sample.Profiles["s"][Waiting], "t")
	load := Combine(spec, sample, replicas, now)
	if got, _ := signalOf(load, silentReplicas); got != silent(1) || !load.Known || load.Coverage != 0.95 {
		t.Errorf("got %+v, want it known, with one silent replica", load)
	}
	if got := lendable(load, replicas, 0.9); got.Lendable != 0 || got.Need != heard.Need || got.NeedBy != heard.NeedBy {
		t.Errorf("got %+v, want nothing lendable and the need of before, %+v", got, heard)
	}
	if !slices.Contains(replicas.live(), "t") {
		t.Error("the hidden replica is not live")
	}
}

// TestQuietReplica: a measure that not every release has is no part of what is believed
// where nobody tells it, and keeps units from being lent where somebody does, did or may.
func TestQuietReplica(t *testing.T) {
	nim := func(slots, kv, errs map[string]float64) Sample {
		both := map[string]float64{"a": 0, "b": 0}
		return says(map[Measure]map[string]float64{Running: both, Waiting: both, KV: kv, Slots: slots, Errors: errs})
	}
	both, one := map[string]float64{"a": 8, "b": 9}, map[string]float64{"a": 8}
	kv := map[string]float64{"a": 0, "b": 0}
	for name, test := range map[string]struct {
		sample Sample
		edit   func(*Sample, *Spec)
		silent float64
		slots  float64
	}{
		"nobody tells it":         {nim(nil, kv, nil), nil, 0, 256},
		"all tell it":             {nim(both, kv, nil), nil, 0, 8},
		"one does not":            {nim(one, kv, nil), nil, 1, 8},
		"the policy says it":      {nim(one, kv, nil), func(_ *Sample, spec *Spec) { spec.Slots = 5 }, 0, 5},
		"nothing ended":           {nim(nil, kv, map[string]float64{"a": 0, "b": math.NaN()}), nil, 0, 256},
		"only one failed so far":  {nim(nil, kv, map[string]float64{"a": 0.001}), nil, 0, 256},
		"one told of failures":    {nim(nil, kv, nil), had(Errors, "b", 0.5), 1, 256},
		"one had it":              {nim(one, kv, nil), had(Slots, "b", 4), 1, 4},
		"one that is gone had it": {nim(nil, kv, nil), had(Slots, "z", 4), 2, 4},
		"nobody has it":           {nim(nil, kv, nil), failed(Slots, true), 0, 256},
		"the question failed":     {nim(nil, kv, nil), failed(Slots, false), 2, 256},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Name: "s", Kind: KindProfile, Profile: "nim"}
			if test.edit != nil {
				test.edit(&test.sample, &spec)
			}
			load := Combine([]Spec{spec}, test.sample, ready("a", "b"), now)
			got, _ := signalOf(load, silentReplicas)
			if !load.Known || load.Coverage != 1 || got.Value != test.silent || load.Slots != test.slots {
				t.Errorf("got %+v, want %v silent and %v slots", load, test.silent, test.slots)
			}
			if lends := lendable(load, ready("a", "b"), 0.9).Lendable > 0; lends != (test.silent == 0) {
				t.Errorf("something is lent: %v", lends)
			}
		})
	}
}

func had(m Measure, pod string, value float64) func(*Sample, *Spec) {
	return func(s *Sample, _ *Spec) {
		s.Had = map[string]Readings{of("s", m): {pod: {Value: value, At: now}}}
	}
}

func failed(m Measure, absent bool) func(*Sample, *Spec) {
	return func(s *Sample, _ *Spec) {
		delete(s.Profiles["s"], m)
		s.Missing, s.Absent = Missing{of("s", m): "why"}, map[string]bool{of("s", m): absent}
	}
}

// TestRemember: what the target's own pods told is expected for an hour.
func TestRemember(t *testing.T) {
	target := Target{Specs: []Spec{{Name: "s", Kind: KindProfile, Profile: "nim"}}, Pods: []Pod{{Name: "a"}}}
	sample := says(map[Measure]map[string]float64{Running: {"a": 1}, Slots: {"a": 8, "borrower": 2}, Errors: {"a": math.NaN()}})
	first := target.remember(nil, sample, now)
	if len(first) != 2 || len(first[of("s", Slots)]) != 1 || first[of("s", Slots)]["a"].Value != 8 || len(first[of("s", Errors)]) != 1 {
		t.Errorf("got %+v, want the slots and the errors of pod a", first)
	}
	if kept := target.remember(first, Sample{}, now.Add(time.Hour)); len(kept) != 2 {
		t.Errorf("after an hour: got %+v", kept)
	}
	if kept := target.remember(first, Sample{}, now.Add(time.Hour+time.Second)); len(kept) != 0 {
		t.Errorf("after more than an hour: got %+v", kept)
	}
}
