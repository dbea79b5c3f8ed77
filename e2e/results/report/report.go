package report

import (
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// Report is all that is published. What is not in results.json is drawn only.
type Report struct {
	Answer   Answer    `json:"answer"`
	Verdicts []Verdict `json:"targets"`
	Seed     uint64    `json:"seed"`
	Town     Town      `json:"town"`

	Tuning Tuning      `json:"tuning"`
	Main   []trial.Row `json:"main"`
	// Pools are the same with other pools, Towns with other assumptions.
	Pools []Variant `json:"pools"`
	Towns []Variant `json:"assumptions"`

	Ablations []Ablation `json:"ablations"`
	DeepSeek  DeepSeek   `json:"deepseek"`
	Scale     []Size     `json:"scale"`

	drawn
}

// Town is the main experiment's.
type Town struct {
	Nodes     int       `json:"nodes"`
	GPUs      int64     `json:"gpus"`
	Pool      int64     `json:"poolGPUs"`
	PoolShare float64   `json:"poolShareOfDemand"`
	Services  []Service `json:"services"`
	Tenants   []Tenant  `json:"tenants"`
}

// Service is an owner.
type Service struct {
	Name      string `json:"name"`
	Recording string `json:"recording"`
	Repeats   string `json:"repeats,omitempty"`
	Owned     int64  `json:"ownedGPUs"`
	Replica   int64  `json:"replicaGPUs"`
	// Idle is the part of what it owns that its autoscaler does not want in the second week,
	// Lent the part that jobs hold.
	Idle         float64 `json:"idleShare"`
	Lent         float64 `json:"lentShare"`
	ShortWithout float64 `json:"shortWindowsShareWithoutLending"`
	Short        float64 `json:"shortWindowsShare"`
}

// Tenant is a training cluster. Demand is what its jobs would hold on average if none
// waited, by week.
type Tenant struct {
	Name    string     `json:"name"`
	Nominal int64      `json:"nominalGPUs"`
	Jobs    [2]int     `json:"jobs"`
	Demand  [2]float64 `json:"demandGPUs"`
}

// Tuning is how the terms of the lending policies were chosen, in the first week.
type Tuning struct {
	Tried  []Tried  `json:"tried"`
	Chosen []string `json:"chosen"`
}

// Tried is one choice of terms.
type Tried struct {
	Terms  string    `json:"terms"`
	Row    trial.Row `json:"result"`
	Chosen bool      `json:"chosen"`
}

// Variant is a town in which one thing is otherwise.
type Variant struct {
	Name string      `json:"name"`
	Rows []trial.Row `json:"rows"`
}

// Ablation is one part of the policy changed.
type Ablation struct {
	Title string `json:"title"`
	// Asks is the question, and Notes what must be known to read the answer.
	Asks  string    `json:"asks"`
	Notes string    `json:"notes,omitempty"`
	Rows  []Variant `json:"rows"`
}

// DeepSeek is the published day.
type DeepSeek struct {
	Row trial.Row `json:"row"`
	// OtherForecast are the GPU-hours lent with the other setting of the forecast than the
	// chosen one, which is off or not.
	OtherForecast float64 `json:"otherForecastGPUHours"`
	ForecastOff   bool    `json:"forecastOff"`
	Published     float64 `json:"publishedGPUHours"`
	Aim           float64 `json:"aimGPUHours"`
	// Slowest is the longest time from the moment at which the service wanted nodes back until
	// all were there and served, in seconds.
	Slowest float64 `json:"slowestReturnSeconds"`
	Steps   []Step  `json:"steps"`
	Met     bool    `json:"met"`
}

// Step of the published day.
type Step struct {
	At      string  `json:"at"`
	Nodes   int64   `json:"nodes"`
	Change  int64   `json:"change"`
	Until   float64 `json:"secondsUntilNextStep"`
	Back    float64 `json:"secondsUntilBack"`
	LentGPU float64 `json:"meanLentGPUs"`
	Idle    float64 `json:"publishedLentGPUs"`
}

// Size is a town of some size.
type Size struct {
	GPUs      int64   `json:"gpus"`
	Nodes     int     `json:"nodes"`
	Jobs      int64   `json:"jobs"`
	Idle      float64 `json:"idleGPUHours"`
	Lent      float64 `json:"lentGPUHours"`
	Share     float64 `json:"lentShareOfIdle"`
	Evicted   int64   `json:"evictions"`
	Decisions int64   `json:"decisions"`
	// Seen is what a share of the decisions took at most. It is printed and not published.
	Seen func(q float64) time.Duration `json:"-"`
}

// drawn is what figures are made of.
type drawn struct {
	Start    time.Time              `json:"-"`
	Series   map[string][]sim.Bin   `json:"-"` // of the main experiment, by policy
	Waits    map[string]*sim.Sketch `json:"-"`
	DeepDay  []sim.Bin              `json:"-"`
	DeepZero time.Time              `json:"-"`
}
