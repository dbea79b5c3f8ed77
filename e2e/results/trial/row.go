package trial

import (
	"math"
	"strconv"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// Row is what one policy came to in one town. Ratios are to others of the same town, and 0
// where there is nothing to compare with.
type Row struct {
	Policy string `json:"policy"`
	// Unit-hours of training, and how many of them are beyond no lending: the harvest, told
	// as a share of the oracle's as well.
	TrainingGPUHours float64 `json:"trainingGPUHours"`
	HarvestGPUHours  float64 `json:"harvestGPUHours"`
	ShareOfOracle    float64 `json:"shareOfOracle"`
	// LentGPUHours are those that are booked as lent by services, and LentOfOracle the same as
	// a share of the oracle's. Policies book differently: see the page of results.
	LentGPUHours float64 `json:"lentGPUHours"`
	LentOfOracle float64 `json:"lentShareOfOracle"`
	// Utilisation is which share of all GPU-hours somebody held, Gain how much more that is
	// than without lending, as a share of that.
	Utilisation     float64 `json:"utilisation"`
	UtilisationGain float64 `json:"utilisationGain"`
	// Of the jobs that were submitted in the second week, whenever they ended.
	Jobs            int64   `json:"jobs"`
	Finished        int64   `json:"finished"`
	QueueingSeconds float64 `json:"queueingSeconds"`
	QueueingP95     float64 `json:"queueingSecondsP95"`
	QueueingSpeedup float64 `json:"queueingSpeedup"`
	JCTSeconds      float64 `json:"jctSeconds"`
	JCTSpeedup      float64 `json:"jctSpeedup"`
	// Loans are starts on units of services, ShedPods those that elastic jobs gave up and went
	// on, Evictions jobs that were stopped for others, and EvictionRate these as a share of
	// Loans.
	Loans        int64   `json:"loans"`
	ShedPods     int64   `json:"shedPods"`
	Evictions    int64   `json:"evictions"`
	EvictionRate float64 `json:"evictionRate"`
	// EvictionsPerThousand lent unit-hours.
	EvictionsPerThousand float64 `json:"evictionsPerThousandLentGPUHours"`
	// LostGPUHours is what evictions cost, WasteShare the same as a share of what was lent.
	LostGPUHours float64 `json:"lostGPUHours"`
	WasteShare   float64 `json:"wasteShare"`
	// Replicas that waited for units, and for how long.
	OnlinePods      int64   `json:"onlinePods"`
	OnlineWaited    int64   `json:"onlinePodsThatWaited"`
	OnlineWaitP99   float64 `json:"onlineWaitSecondsP99"`
	OnlineWaitMax   float64 `json:"onlineWaitSecondsMax"`
	ShortShare      float64 `json:"shortWindowsShare"`
	ShortBeyondNone float64 `json:"shortWindowsShareBeyondNoLending"`
}

// Reference is what rows are compared with: of several trials without lending the best that
// any of them came to, and an oracle. Both may be missing.
type Reference struct {
	None   []*Trial
	Oracle *Trial
}

// Row tells a trial as a row.
func (ref *Reference) Row(t *Trial) Row {
	r := t.Result
	out := Row{
		Policy: r.Policy, TrainingGPUHours: training(r), LentGPUHours: r.Lent, Utilisation: r.Utilization(), Jobs: r.Submitted, Finished: r.Finished,
		QueueingSeconds: r.QueueingMean, QueueingP95: r.Queueing.Quantile(0.95).Seconds(), JCTSeconds: r.JCTMean,
		Loans: t.Seen.Loans, ShedPods: r.ShedPods, Evictions: r.Evictions, LostGPUHours: lost(r), WasteShare: Ratio(lost(r), r.Lent),
		OnlinePods: r.OnlinePods, OnlineWaited: r.OnlineWaited, OnlineWaitP99: r.OnlineWait99, OnlineWaitMax: r.OnlineWait.Quantile(1).Seconds(),
		ShortShare: r.ShortShare,
	}
	out.EvictionRate = Ratio(float64(r.Evictions), float64(t.Seen.Loans))
	out.EvictionsPerThousand = 1000 * Ratio(float64(r.Evictions), r.Lent)
	if len(ref.None) > 0 {
		ref.compare(&out)
	}
	out.round()
	return out
}

// compare with no lending, and with the oracle.
func (ref *Reference) compare(out *Row) {
	worked := ref.best(training, true)
	out.HarvestGPUHours = out.TrainingGPUHours - worked
	out.UtilisationGain = Ratio(out.Utilisation, ref.best((*sim.Result).Utilization, true)) - 1
	out.QueueingSpeedup = Ratio(ref.best(func(r *sim.Result) float64 { return r.QueueingMean }, false), out.QueueingSeconds)
	out.JCTSpeedup = Ratio(ref.best(func(r *sim.Result) float64 { return r.JCTMean }, false), out.JCTSeconds)
	out.ShortBeyondNone = out.ShortShare - ref.best(func(r *sim.Result) float64 { return r.ShortShare }, false)
	if ref.Oracle != nil {
		out.ShareOfOracle = Ratio(out.HarvestGPUHours, training(ref.Oracle.Result)-worked)
		out.LentOfOracle = Ratio(out.LentGPUHours, ref.Oracle.Result.Lent)
	}
}

// best that came of no lending, the highest or the lowest.
func (ref *Reference) best(value func(*sim.Result) float64, highest bool) float64 {
	best := value(ref.None[0].Result)
	for _, t := range ref.None[1:] {
		if v := value(t.Result); v > best == highest {
			best = v
		}
	}
	return best
}

// training unit-hours, whoever's.
func training(r *sim.Result) float64 { return r.Own + r.Lent }

// lost unit-hours: work done again, restarts, and units held while pods stopped.
func lost(r *sim.Result) float64 { return r.RolledBack + r.Restarting + r.Stopping }

// Ratio is 0 where there is nothing to divide by.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// round has all numbers told with six significant digits: the last bits of a sum may be
// others on another processor.
func (r *Row) round() {
	for _, x := range []*float64{
		&r.TrainingGPUHours, &r.HarvestGPUHours, &r.ShareOfOracle, &r.LentGPUHours, &r.LentOfOracle, &r.Utilisation, &r.UtilisationGain, &r.QueueingSeconds, &r.QueueingP95, &r.QueueingSpeedup,
		&r.JCTSeconds, &r.JCTSpeedup, &r.EvictionRate, &r.EvictionsPerThousand, &r.LostGPUHours, &r.WasteShare,
		&r.OnlineWaitP99, &r.OnlineWaitMax, &r.ShortShare, &r.ShortBeyondNone,
	} {
		*x = Six(*x)
	}
}

// Six significant digits of a number.
func Six(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	y, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 6, 64), 64)
	return y
}
