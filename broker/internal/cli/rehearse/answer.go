package rehearse

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/view"
)

// Report is what runs on one stage came to. Its JSON form is described in
// docs/reference/simulation.md and only grows.
type Report struct {
	// Answer to what would have been gained, and whether anyone would have waited.
	Answer      string   `json:"answer"`
	Input       Input    `json:"input"`
	Assumptions []string `json:"assumptions"`
	Missing     []string `json:"missing"`
	Results     []Result `json:"results"`
}

// Result is a sim.Result with what follows from it.
type Result struct {
	*sim.Result
	// Utilization is the share of all unit-hours that somebody held, LostUnitHours what
	// evictions cost, WasteShare the same as a share of what was lent; absent if nothing was.
	Utilization   float64  `json:"utilization"`
	WasteShare    *float64 `json:"wasteShare,omitempty"`
	LostUnitHours float64  `json:"lostUnitHours"`
	// ShareOfOracle is what was lent as a share of what the oracle lent; absent without one.
	ShareOfOracle *float64 `json:"shareOfOracle,omitempty"`
	QueueingP99   float64  `json:"queueingP99Seconds"`
}

// NewReport puts results together.
func NewReport(s *Stage, results []*sim.Result) *Report {
	r := &Report{Input: s.Input, Assumptions: s.Assumptions, Missing: s.Missing}
	for _, one := range results {
		result := Result{
			Result: one, Utilization: one.Utilization(),
			LostUnitHours: one.RolledBack + one.Restarting + one.Stopping, QueueingP99: one.Queueing.Quantile(0.99).Seconds(),
		}
		if waste := one.Waste(); one.Lent > 0 {
			result.WasteShare = &waste
		}
		r.Results = append(r.Results, result)
	}
	if oracle := r.of(Oracle); oracle != nil && oracle.Lent > 0 {
		for i := range r.Results {
			share := r.Results[i].Lent / oracle.Lent
			r.Results[i].ShareOfOracle = &share
		}
	}
	r.Answer = r.answer()
	return r
}

// of is the result of a policy, nil if it was not played.
func (r *Report) of(policy string) *Result {
	i := slices.IndexFunc(r.Results, func(o Result) bool { return o.Policy == policy })
	if i < 0 {
		return nil
	}
	return &r.Results[i]
}

// atOnce is how long jobs wait that need no more than they have.
const atOnce = time.Minute

// answer is about Ebbtide, or else the first policy, and compares it with no lending where
// that was played.
func (r *Report) answer() string {
	subject, without := r.of(Ebbtide), r.of(NoLending)
	if subject == nil {
		subject = &r.Results[0]
	}
	name := subject.Policy
	if name == Ebbtide {
		name = "Ebbtide"
	}
	idle := 0.0
	for _, s := range subject.Services {
		idle += s.Idle
	}
	text := name + " would have lent nothing"
	switch {
	case subject.Lent > 0:
		text = fmt.Sprintf("%s would have lent %s GPU-hours", name, hours(subject.Lent))
		if idle > 0 {
			text += fmt.Sprintf(", %s of the %s that services left idle", percent(subject.Lent/idle), hours(idle))
		}
		if subject.ShareOfOracle != nil && subject.Policy != Oracle {
			text += fmt.Sprintf(" and %s of what an oracle could", percent(*subject.ShareOfOracle))
		}
	case subject.Submitted == 0:
		return text + ": no job was submitted in the time that counts. " + waited(subject, without)
	case subject.QueueingP99 < atOnce.Seconds() && subject.Started == subject.Submitted:
		within := "at once"
		if subject.QueueingP99 >= 1 {
			within = "within " + seconds(math.Ceil(subject.QueueingP99))
		}
		return text + ", for nobody needed a loan: of 100 jobs 99 started " + within + ". " + waited(subject, without)
	case idle > 0:
		text += fmt.Sprintf(" of the %s GPU-hours that services left idle", hours(idle))
	}
	text += "; jobs would have waited " + seconds(subject.QueueingMean) + " on average"
	if without != nil && without != subject {
		text += ", and " + seconds(without.QueueingMean) + " without lending"
	}
	return text + ". " + waited(subject, without)
}

// waited says whether anyone would have waited.
func waited(subject, without *Result) string {
	if subject.OnlineWaited == 0 {
		return fmt.Sprintf("No online pod would have waited for a GPU, of %d.", subject.OnlinePods)
	}
	text := fmt.Sprintf("%s of %d online pods would have waited for a GPU, 99%% of all for %s at most",
		count(subject.OnlineWaited), subject.OnlinePods, seconds(subject.OnlineWait99))
	if without != nil && without != subject {
		text += fmt.Sprintf(" (without lending: %d)", without.OnlineWaited)
	}
	return text + "."
}

// hours, percent and count write numbers as tools read them.
func hours(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func percent(v float64) string {
	text := strconv.FormatFloat(v*100, 'f', 1, 64)
	if v > 0 && text == "0.0" {
		return "<0.1%" // not none
	}
	return text + "%"
}

func share(v *float64) string {
	if v == nil {
		return view.None
	}
	return percent(*v)
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func seconds(s float64) string { return view.Span(time.Duration(s * float64(time.Second))) }

// Table has a row for each policy.
func (r *Report) Table() view.Table {
	t := view.Table{}
	for _, title := range gainTitles {
		t.Columns = append(t.Columns, view.Column{Title: title})
	}
	for _, title := range restTitles {
		t.Columns = append(t.Columns, view.Column{Title: title, Wide: true})
	}
	for i := range r.Results {
		one := &r.Results[i]
		t.Rows = append(t.Rows, append(one.gains(), one.rest()...))
	}
	return t
}

var (
	gainTitles = []string{
		"POLICY", "LENT-GPU-H", "OF-ORACLE", "JOBS-DONE", "WAIT-MEAN", "WAIT-P99", "JCT-MEAN",
		"EVICTIONS", "LOST-GPU-H", "WASTE", "ONLINE-WAITED", "ONLINE-P99", "SHORT",
	}
	restTitles = []string{"UTILIZATION", "OWN-GPU-H", "ONLINE-GPU-H", "STARTED", "SUBMITTED", "SHED-PODS", "NODE-FAILURES"}
)

func (r *Result) gains() []string {
	return []string{
		r.Policy, hours(r.Lent), share(r.ShareOfOracle), count(r.Finished), seconds(r.QueueingMean), seconds(r.QueueingP99), seconds(r.JCTMean),
		count(r.Evictions), hours(r.LostUnitHours), share(r.WasteShare),
		count(r.OnlineWaited), seconds(r.OnlineWait99), percent(r.ShortShare),
	}
}

func (r *Result) rest() []string {
	return []string{
		percent(r.Utilization), hours(r.Own), hours(r.Online), count(r.Started), count(r.Submitted),
		count(r.ShedPods), count(r.Failures),
	}
}

// Describe says in a few lines what was played.
func (in *Input) Describe() string {
	var units, services, tenants []string
	for _, f := range sorted(in.Units) {
		units = append(units, fmt.Sprintf("%d %s", in.Units[f], f))
	}
	owned, jobs, work := int64(0), int64(0), 0.0
	for _, s := range in.Services {
		owned += s.Owned
		services = append(services, s.Name)
	}
	for _, d := range in.Tenants {
		jobs, work, tenants = jobs+d.Jobs, work+d.UnitHours, append(tenants, d.Tenant)
	}
	played := fmt.Sprintf("Played %s from %s", in.Length, in.Start.Format("2006-01-02 15:04"))
	if in.Warmup != span(0) {
		played += fmt.Sprintf(", of which the first %s do not count", in.Warmup)
	}
	return fmt.Sprintf("%s. Nodes: %d, with %s. Services: %s, which own %d. Jobs: %d, of %s, with %s GPU-hours.",
		played, in.Nodes, strings.Join(units, ", "), strings.Join(services, ", "), owned, jobs, some(tenants), hours(work))
}
