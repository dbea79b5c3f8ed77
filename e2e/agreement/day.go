package agreement

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Day is what was put into a day of the lab, and what came out. Times are real ones, since
// the day began; Speed is how much faster the day's clock ran.
type Day struct {
	Speed  float64       `json:"speed"`
	Length time.Duration `json:"length"`
	Nodes  int           `json:"nodes"`
	// Flavor and PerNode of the nodes' units.
	Flavor  string `json:"flavor"`
	PerNode int64  `json:"perNode"`
	// Policy, tenants, queues and the lender's rules, as the broker's first decision with all
	// of them had them.
	Policy  lend.Policy   `json:"policy"`
	Cohorts []lend.Cohort `json:"cohorts,omitempty"`
	Tenants []lend.Tenant `json:"tenants"`
	Queues  []lend.Queue  `json:"queues"`
	Lender  lend.Lender   `json:"lender"`
	// Slots of a replica; ModelLoad until it serves, and Drain until one that goes has gone.
	Slots     float64       `json:"slots"`
	ModelLoad time.Duration `json:"modelLoad"`
	Drain     time.Duration `json:"drain"`
	// Interval is the longest time between two decisions.
	Interval time.Duration `json:"interval"`
	Replicas []Point       `json:"replicas"`
	// Requests in flight as the broker heard them.
	Requests []Point `json:"requests"`
	// What the programs need beside the work, which the simulator leaves out and which is
	// much of a compressed day, each time that it was measured: Turnover is how much longer
	// than its work a job that is not disturbed holds its units, Start the part of that before
	// its pods are there, Leave how much longer than its pods take to exit it is until one
	// that was asked back is returned. What is measured lies between two decisions and counts
	// as halfway, so that it can be a little below 0.
	Turnover []time.Duration `json:"turnover"`
	Start    []time.Duration `json:"start"`
	Leave    []time.Duration `json:"leave"`
	// Moments at which the broker decided: how often it does follows from how long it and
	// the API server take, and whether that is before or after the replicas that go have
	// gone is luck, which the simulator is to have too.
	Moments []time.Duration `json:"moments"`
	// Jobs in the order in which they stand in line.
	Jobs    []Job   `json:"jobs"`
	Outcome Outcome `json:"outcome"`
}

// Point of a curve, from which on a value holds.
type Point struct {
	At      time.Duration `json:"at"`
	Value   float64       `json:"value"`
	Unknown bool          `json:"unknown,omitempty"`
}

// Job is one of those.
type Job struct {
	Name string `json:"name"`
	// Submit is when the broker saw it first.
	Submit     time.Duration `json:"submit"`
	Tenant     string        `json:"tenant"`
	Queue      string        `json:"queue"`
	Priority   int32         `json:"priority"`
	Lasts      time.Duration `json:"lasts"`
	Pods       int64         `json:"pods"`
	PerPod     int64         `json:"perPod"`
	Checkpoint time.Duration `json:"checkpoint"`
	Grace      time.Duration `json:"grace"`
	Exit       time.Duration `json:"exit"`
}

// Outcome is what is compared. Hours are those of the day's clock.
type Outcome struct {
	// LentGPUHours are from a loan's beginning to its return, as the ledger counts.
	LentGPUHours float64 `json:"lentGPUHours"`
	EvictedPods  int     `json:"evictedPods"`
	// For those who look for a difference. BoundGPUHours are what the demo's last line calls
	// lent: only while pods were bound, which the simulator does not tell apart.
	BoundGPUHours float64 `json:"boundGPUHours,omitempty"`
	Reclaims      int     `json:"reclaims"`
	Loans         int     `json:"loans"`
	JobsFinished  int     `json:"jobsFinished"`
}
