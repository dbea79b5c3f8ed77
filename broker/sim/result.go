package sim

import (
	"math"
	"time"
)

// Result is what a run came to. Unit-hours and shares of time are of the time from Warmup
// to Length; jobs are those that were submitted in it, whenever they ended.
type Result struct {
	Policy string `json:"policy"`
	// Unit-hours: of all units, held by online services, by jobs on their tenants' own
	// quota and on units of a service's, and nobody's or on nodes that are down.
	Capacity float64 `json:"capacityUnitHours"`
	Online   float64 `json:"onlineUnitHours"`
	Own      float64 `json:"ownUnitHours"`
	Lent     float64 `json:"lentUnitHours"`
	// Jobs.
	Submitted int64 `json:"submitted"`
	Started   int64 `json:"started"`
	Finished  int64 `json:"finished"`
	// Queueing is from a job's arrival to its first start, JCT to its end. Jobs that had
	// not come to that count with the time until the run's end.
	Queueing, JCT Sketch  `json:"-"`
	QueueingMean  float64 `json:"queueingMeanSeconds"`
	JCTMean       float64 `json:"jctMeanSeconds"`
	// Evictions of jobs whole, their pods, and pods given up by jobs that went on. Stops by
	// failures of nodes are none.
	Evictions   int64 `json:"evictions"`
	EvictedPods int64 `json:"evictedPods"`
	ShedPods    int64 `json:"shedPods"`
	Failures    int64 `json:"nodeFailures"`
	FailedJobs  int64 `json:"jobsStoppedByFailures"`
	// What evictions cost, in unit-hours: work done again, and time held without working,
	// in starts after the first, changes of size and until pods were gone. LostToFailures
	// is what failures cost besides.
	RolledBack     float64 `json:"rolledBackUnitHours"`
	Restarting     float64 `json:"restartingUnitHours"`
	Stopping       float64 `json:"stoppingUnitHours"`
	LostToFailures float64 `json:"lostToFailuresUnitHours"`
	// Online pods, how many of them waited for units, and how long all of them did.
	OnlinePods   int64   `json:"onlinePods"`
	OnlineWaited int64   `json:"onlinePodsThatWaited"`
	OnlineWait   Sketch  `json:"-"`
	OnlineWait99 float64 `json:"onlineWaitSecondsP99"`
	// ShortShare is the part of the services' time in which fewer replicas served than the
	// load filled; by service in Services.
	ShortShare float64         `json:"shortShare"`
	Services   []ServiceResult `json:"services"`
	// Effort of the run.
	Events    int64 `json:"events"`
	Decisions int64 `json:"decisions"`
	// Series over the measured time.
	Series []Bin `json:"series,omitempty"`
}

// ServiceResult is about one service.
type ServiceResult struct {
	Name       string  `json:"name"`
	ShortShare float64 `json:"shortShare"`
	// Lendable unit-hours: owned and not wanted by its autoscaler.
	Idle float64 `json:"idleUnitHours"`
	Lent float64 `json:"lentUnitHours"`
}

// Bin is a mean over one part of the time, in units.
type Bin struct {
	At      time.Duration `json:"at"`
	Online  float64       `json:"online"`
	Own     float64       `json:"own"`
	Lent    float64       `json:"lent"`
	Waiting float64       `json:"waitingJobs"`
	Wanted  float64       `json:"wantedByServices"`
}

// Waste is what evictions cost as a share of what was lent.
func (r *Result) Waste() float64 {
	if r.Lent == 0 {
		return 0
	}
	return (r.RolledBack + r.Restarting + r.Stopping) / r.Lent
}

// Utilization is the share of all unit-hours that somebody held.
func (r *Result) Utilization() float64 {
	if r.Capacity == 0 {
		return 0
	}
	return (r.Online + r.Own + r.Lent) / r.Capacity
}

// meter sums up.
type meter struct {
	world    *World
	r        Result
	at       time.Duration
	capacity int64
	// Held now.
	online, own, lent int64
	pods              int64
	submitted, sheds  int64
	failures          int64
	events, decisions int64
	short, served     []float64 // seconds, by service
	last              []time.Duration
	isShort           []bool
}

func (m *meter) begin(w *World, policy string) {
	m.world, m.r.Policy = w, policy
	n := len(w.services)
	m.short, m.served, m.last, m.isShort = make([]float64, n), make([]float64, n), make([]time.Duration, n), make([]bool, n)
	m.r.Services = make([]ServiceResult, n)
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

// counting reports whether what happens now is measured.
func (m *meter) counting() bool {
	return m.world.now >= m.world.scenario.Warmup && m.world.now < m.world.scenario.Length
}

// advance integrates what is held until a moment.
func (m *meter) advance(to time.Duration) {
	s := m.world.scenario
	from := max(m.at, s.Warmup)
	m.at = to
	if to = min(to, s.Length); to <= from {
		return
	}
	hours := (to - from).Hours()
	m.r.Capacity += hours * float64(m.capacity)
	m.r.Online += hours * float64(m.online)
	m.r.Own += hours * float64(m.own)
	m.r.Lent += hours * float64(m.lent)
	wanted := 0.0
	for i, v := range m.world.services {
		units := v.Desired * v.Lender.UnitsPerPod
		wanted += float64(units)
		m.r.Services[i].Idle += hours * float64(max(v.Lender.Owned-units, 0))
		m.r.Services[i].Lent += hours * float64(v.Lent)
	}
	m.draw(from, to, wanted)
}

// draw adds to the series.
func (m *meter) draw(from, to time.Duration, wanted float64) {
	if len(m.r.Series) == 0 {
		return
	}
	s := m.world.scenario
	width := (s.Length - s.Warmup) / time.Duration(len(m.r.Series))
	for i := min(int((from-s.Warmup)/width), len(m.r.Series)-1); from < to; i++ {
		end := to
		if i+1 < len(m.r.Series) {
			end = min(to, m.r.Series[i+1].At)
		}
		share := float64(end-from) / float64(width)
		b := &m.r.Series[i]
		b.Online += share * float64(m.online)
		b.Own += share * float64(m.own)
		b.Lent += share * float64(m.lent)
		b.Waiting += share * float64(len(m.world.waiting))
		b.Wanted += share * wanted
		from = end
	}
}

// serve notes whether a service is short of replicas, from one sample to the next.
func (m *meter) serve(s *ServiceState, now time.Duration) {
	if m.counting() && m.last[s.Index] > 0 {
		d := (now - m.last[s.Index]).Seconds()
		m.served[s.Index] += d
		if m.isShort[s.Index] {
			m.short[s.Index] += d
		}
	}
	m.last[s.Index] = now
	if len(s.Replicas) > 0 {
		m.isShort[s.Index] = s.Ready < min(int64(math.Ceil(s.Load.At(now))), s.Most())
		return
	}
	m.isShort[s.Index] = s.Requests > float64(s.Ready)*s.Slots && s.Ready < s.Most()
}

func (m *meter) waited(d time.Duration) {
	if m.counting() {
		m.r.OnlineWait.Add(d)
		if d > 0 {
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
	if m.counting() {
		m.r.Evictions++
		m.r.EvictedPods += j.Held
	}
}

func (m *meter) failed(j *JobState) {
	if m.counting() {
		m.r.FailedJobs++
	}
	_ = j
}

func (m *meter) rollback(j *JobState, unitSeconds float64) {
	if m.counting() {
		m.r.RolledBack += unitSeconds / 3600
	}
	_ = j
}

func (m *meter) restart(j *JobState) {
	if m.counting() {
		m.r.Restarting += j.Restart.Hours() * float64(j.Held*j.UnitsPerPod)
	}
}

func (m *meter) idle(j *JobState, d time.Duration) {
	if m.counting() {
		m.r.Restarting += d.Hours() * float64(j.At*j.UnitsPerPod)
	}
}

func (m *meter) leaving(j *JobState, d time.Duration) {
	if m.counting() {
		m.r.Stopping += d.Hours() * float64(j.Held*j.UnitsPerPod)
	}
}

// result tells the sums.
func (m *meter) result(w *World) *Result {
	r := &m.r
	for _, j := range w.slots {
		if j == nil || !j.count {
			continue
		}
		if j.First < 0 {
			r.Queueing.Add(w.now - j.Submit)
		}
		r.JCT.Add(w.now - j.Submit)
	}
	r.Submitted, r.ShedPods, r.Failures, r.OnlinePods = m.submitted, m.sheds, m.failures, m.pods
	r.Events, r.Decisions = m.events, m.decisions
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
