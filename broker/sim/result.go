package sim

import "time"

// Result is what a run came to. Unit-hours and shares of time are of the time from Warmup
// to Length; jobs are those that were submitted in it, whenever they ended. In a scenario
// with slices of GPUs, unit-hours are those of GPUs: a slice is as much of one as it has of
// 7 compute slices, and a unit of any other flavor a whole one.
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
	// Evictions of jobs whole, their pods that worked, and pods given up by jobs that went on.
	// Stops by failures of nodes are none.
	Evictions   int64 `json:"evictions"`
	EvictedPods int64 `json:"evictedPods"`
	ShedPods    int64 `json:"shedPods"`
	Failures    int64 `json:"nodeFailures"`
	FailedJobs  int64 `json:"jobsStoppedByFailures"`
	// What evictions cost, in unit-hours: work done again, and time held without working,
	// in starts after one, in changes of size and until pods were gone. LostToFailures is
	// work done again, and starts, because of failures of nodes.
	RolledBack     float64 `json:"rolledBackUnitHours"`
	Restarting     float64 `json:"restartingUnitHours"`
	Stopping       float64 `json:"stoppingUnitHours"`
	LostToFailures float64 `json:"lostToFailuresUnitHours"`
	// Reshapes are changes of cards' layouts that were begun.
	Reshapes int64 `json:"reshapes,omitempty"`
	// Online pods made in the time, how many of them waited for units, and how long all of
	// them did, until they had them or were wanted no more.
	OnlinePods   int64   `json:"onlinePods"`
	OnlineWaited int64   `json:"onlinePodsThatWaited"`
	OnlineWait   Sketch  `json:"-"`
	OnlineWait99 float64 `json:"onlineWaitSecondsP99"`
	// ShortShare is the part of the services' time with known load in which fewer replicas
	// served than the load filled; by service in Services.
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

// Waste is what evictions cost, those of jobs on their own quota included, as a share of
// what was lent; of nothing lent all, unless they cost nothing.
func (r *Result) Waste() float64 {
	switch cost := r.RolledBack + r.Restarting + r.Stopping; {
	case cost == 0:
		return 0
	case r.Lent == 0:
		return 1
	default:
		return cost / r.Lent
	}
}

// Utilization is the share of all unit-hours that somebody held.
func (r *Result) Utilization() float64 {
	if r.Capacity == 0 {
		return 0
	}
	return (r.Online + r.Own + r.Lent) / r.Capacity
}
