package sim

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// meter sums up what a result tells.
type meter struct {
	world *World
	r     Result
	at    time.Duration // until which it is summed up
	// weights are what a unit of each flavor counts, in parts of which scale make an hour's
	// worth; all that follows is in them.
	scale    float64
	capacity int64
	// Held now; leaving by pods that work no more.
	online, own, lent, leaving int64
	short, served              []float64 // seconds, by service
}

func (m *meter) begin(w *World, policy string) {
	m.world, m.r.Policy = w, policy
	m.weigh()
	m.short, m.served = make([]float64, len(w.services)), make([]float64, len(w.services))
	m.r.Services = make([]ServiceResult, len(w.services))
	for i, s := range w.services {
		m.r.Services[i].Name = s.Lender.Name
	}
	if p := w.scenario.Points; p > 0 {
		m.r.Series = make([]Bin, p)
		for i := range m.r.Series {
			m.r.Series[i].At = w.scenario.Warmup + (w.scenario.Length-w.scenario.Warmup)*time.Duration(i)/time.Duration(p)
		}
	}
}

// weigh says what units count: parts of 7 where there are slices of GPUs.
func (m *meter) weigh() {
	w, whole := m.world, int64(1)
	if len(w.scenario.Flavors) > 0 {
		whole = 7
	}
	m.scale = float64(whole)
	w.weights = slices.Repeat([]int64{whole}, len(w.flavors))
	for _, f := range w.scenario.Flavors {
		if i, ok := w.Flavor(f.Name); ok && f.Compute > 0 {
			w.weights[i] = f.Compute
		}
	}
	for i := range w.spots {
		if s := &w.spots[i]; !s.Cut {
			m.capacity += s.Capacity * w.weights[s.Flavor]
		}
	}
	for _, n := range w.nodes {
		for _, card := range n.cards {
			m.capacity += card.compute()
		}
	}
}

// counting reports whether what happens at a moment is measured.
func (m *meter) counting(at time.Duration) bool {
	return at >= m.world.scenario.Warmup && at < m.world.scenario.Length
}

// measured is how long a time is, as far as it is measured.
func (m *meter) measured(from, to time.Duration) time.Duration {
	s := m.world.scenario
	return max(min(to, s.Length)-max(from, s.Warmup), 0)
}

// advance integrates what is held until a moment.
func (m *meter) advance(to time.Duration) {
	from := m.at
	m.at = to
	d := m.measured(from, to)
	if d == 0 {
		return
	}
	hours := d.Hours() / m.scale
	m.r.Capacity += hours * float64(m.capacity)
	m.r.Online += hours * float64(m.online)
	m.r.Own += hours * float64(m.own)
	m.r.Lent += hours * float64(m.lent)
	m.r.Stopping += hours * float64(m.leaving)
	wanted := 0.0
	for i, v := range m.world.services {
		units, weight := v.Desired*v.Lender.UnitsPerPod, m.world.weights[v.FlavorID]
		wanted += float64(units*weight) / m.scale
		m.r.Services[i].Idle += hours * float64(max(v.Lender.Owned-units, 0)*weight)
		m.r.Services[i].Lent += hours * float64(v.Lent*weight)
		if !math.IsNaN(v.Requests) {
			m.served[i] += d.Seconds()
			if v.short() {
				m.short[i] += d.Seconds()
			}
		}
	}
	if len(m.r.Series) > 0 {
		s := m.world.scenario
		m.draw(max(from, s.Warmup), min(to, s.Length), wanted)
	}
}

// draw adds to the series.
func (m *meter) draw(from, to time.Duration, wanted float64) {
	i, exact := slices.BinarySearchFunc(m.r.Series, from, func(b Bin, at time.Duration) int { return cmp.Compare(b.At, at) })
	if !exact {
		i--
	}
	for ; from < to; i++ {
		begin, end := m.r.Series[i].At, m.world.scenario.Length
		if i+1 < len(m.r.Series) {
			end = m.r.Series[i+1].At
		}
		until := min(to, end)
		share := float64(until-from) / float64(end-begin)
		b := &m.r.Series[i]
		b.Online += share * float64(m.online) / m.scale
		b.Own += share * float64(m.own) / m.scale
		b.Lent += share * float64(m.lent) / m.scale
		b.Waiting += share * float64(len(m.world.waiting))
		b.Wanted += share * wanted
		from = until
	}
}

// asked is about an online pod, waited about one that waits no more, since when it did.
func (m *meter) asked() {
	if m.counting(m.world.now) {
		m.r.OnlinePods++
	}
}

func (m *meter) waited(since time.Duration) {
	if m.counting(since) {
		wait := m.world.now - since
		m.r.OnlineWait.Add(wait)
		if wait > 0 {
			m.r.OnlineWaited++
		}
	}
}

func (m *meter) started(j *JobState, now time.Duration) {
	if j.count {
		m.r.Started++
		m.r.Queueing.Add(now - j.Submit)
	}
}

func (m *meter) finished(j *JobState, now time.Duration) {
	if j.count {
		m.r.Finished++
		m.r.JCT.Add(now - j.Submit)
	}
}

func (m *meter) evicted(j *JobState) {
	if m.counting(m.world.now) {
		m.r.Evictions++
		m.r.EvictedPods += j.At
	}
}

func (m *meter) shed(pods int64) {
	if m.counting(m.world.now) {
		m.r.ShedPods += pods
	}
}

func (m *meter) nodeFailed() {
	if m.counting(m.world.now) {
		m.r.Failures++
	}
}

func (m *meter) failed() {
	if m.counting(m.world.now) {
		m.r.FailedJobs++
	}
}

// rolledBack is about work that is to be done again, in pod-nanoseconds.
func (m *meter) rolledBack(j *JobState, lost int64, failed bool) {
	if m.counting(m.world.now) {
		m.book(&m.r.RolledBack, time.Duration(lost).Hours()*float64(j.size), failed)
	}
}

// idled is about a job that held units without working, for a time.
func (m *meter) idled(j *JobState, from, to time.Duration) {
	if d := m.measured(from, to); d > 0 {
		m.book(&m.r.Restarting, d.Hours()*float64(j.At*j.size), j.failed)
	}
}

func (m *meter) reshaped() {
	if m.counting(m.world.now) {
		m.r.Reshapes++
	}
}

// book puts hours to what evictions or failures cost.
func (m *meter) book(to *float64, hours float64, failed bool) {
	if failed {
		to = &m.r.LostToFailures
	}
	*to += hours / m.scale
}

// result tells the sums at the end of a run.
func (m *meter) result(end time.Duration) *Result {
	w, r := m.world, &m.r
	m.advance(end)
	w.now = end
	for _, s := range w.services {
		for _, since := range s.Pending {
			m.waited(since)
		}
	}
	for _, j := range slices.Concat(w.waiting, w.running) {
		w.settle(j)
		if !j.count {
			continue
		}
		if j.First < 0 {
			r.Queueing.Add(end - j.Submit)
		}
		r.JCT.Add(end - j.Submit)
	}
	r.QueueingMean, r.JCTMean = r.Queueing.Mean().Seconds(), r.JCT.Mean().Seconds()
	r.OnlineWait99 = r.OnlineWait.Quantile(0.99).Seconds()
	short, served := 0.0, 0.0
	for i := range m.short {
		if m.served[i] > 0 {
			r.Services[i].ShortShare = m.short[i] / m.served[i]
		}
		short, served = short+m.short[i], served+m.served[i]
	}
	if served > 0 {
		r.ShortShare = short / served
	}
	return r
}
