package sim

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// valid is a scenario with something of everything.
func valid() *Scenario {
	return &Scenario{
		Length: 2 * time.Hour,
		Nodes: []Node{
			{Name: "a", Units: []NodeUnits{{"gpu", 4}, {"slice", 7}}, Home: "chat"},
			{Name: "b", Units: []NodeUnits{{"gpu", 4}}},
		},
		Cohorts: []lend.Cohort{{Name: "lab"}},
		Tenants: []lend.Tenant{{Name: "research"}, {Name: "serving"}},
		Queues:  []lend.Queue{{Name: "research/default", Tenant: "research"}},
		Services: []Service{{
			Lender: lend.Lender{Name: "chat", Tenant: "serving", Flavor: "gpu", Owned: 8, UnitsPerPod: 2},
			Load:   Curve{{0, 0}, {minute, math.NaN()}}, Slots: 10, Target: 0.5,
		}},
		Jobs: List(nil),
	}
}

func TestScenariosThatCannotBePlayed(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(s *Scenario){
		`length: is 0s, must be above 0, and at most 876000h0m0s`:                           func(s *Scenario) { s.Length = 0 },
		`warmup: is 2h0m0s, must be at least 0 and below length (2h0m0s)`:                   func(s *Scenario) { s.Warmup = 2 * time.Hour },
		`points: is -1, must be from 0 to one in a nanosecond of what is measured (2h0m0s)`: func(s *Scenario) { s.Points = -1 },
		`jobs: must be given`: func(s *Scenario) { s.Jobs = nil },
		`drain: is -1ns, must be at least 0, and at most 876000h0m0s`:                                    func(s *Scenario) { s.Drain = -1 },
		`gap: is -1ns, must be at least 0, and at most 876000h0m0s`:                                      func(s *Scenario) { s.Gap = -1 },
		`sample: is -1ns, must be at least 0, and at most 876000h0m0s`:                                   func(s *Scenario) { s.Sample = -1 },
		`failures.every: is 1ms, must be 0 or at least a second`:                                         func(s *Scenario) { s.Failures.Every = time.Millisecond },
		`failures.repair: is -1ns, must be at least 0, and at most 876000h0m0s`:                          func(s *Scenario) { s.Failures.Repair = -1 },
		`nodes[1].name: must be given`:                                                                   func(s *Scenario) { s.Nodes[1].Name = "" },
		`nodes[1].name: is "a", must come after "a": they are in order, each once`:                       func(s *Scenario) { s.Nodes[1].Name = "a" },
		`nodes[1].name: is "A", must come after "a": they are in order, each once`:                       func(s *Scenario) { s.Nodes[1].Name = "A" },
		`nodes[0] (a).home: there is no service "talk"`:                                                  func(s *Scenario) { s.Nodes[0].Home = "talk" },
		`nodes[0] (a).units[0].flavor: must be given`:                                                    func(s *Scenario) { s.Nodes[0].Units[0].Flavor = "" },
		`nodes[0] (a).units[1].flavor: is "gpu", must come after "gpu": they are in order, each once`:    func(s *Scenario) { s.Nodes[0].Units[1].Flavor = "gpu" },
		`nodes[0] (a).units[1].count: is -1, must be from 0 to 4096`:                                     func(s *Scenario) { s.Nodes[0].Units[1].Count = -1 },
		`cohorts[0].name: must be given`:                                                                 func(s *Scenario) { s.Cohorts[0].Name = "" },
		`tenants[1].name: is "research", must come after "research": they are in order, each once`:       func(s *Scenario) { s.Tenants[1].Name = "research" },
		`queues[0] (research/default).tenant: there is no "search"`:                                      func(s *Scenario) { s.Queues[0].Tenant = "search" },
		`services[0].name: must be given`:                                                                func(s *Scenario) { s.Services[0].Lender.Name = "" },
		`services[0] (chat).flavor: no node has any of "tpu"`:                                            func(s *Scenario) { s.Services[0].Lender.Flavor = "tpu" },
		`services[0] (chat).tenant: there is no "shop"`:                                                  func(s *Scenario) { s.Services[0].Lender.Tenant = "shop" },
		`services[0] (chat): unitsPerPod: is 0, must be from 1 to 4096`:                                  func(s *Scenario) { s.Services[0].Lender.UnitsPerPod = 0 },
		`services[0] (chat): owned: is 0, must be from 1 to 2147483647`:                                  func(s *Scenario) { s.Services[0].Lender.Owned = 0 },
		`services[0] (chat): slots: is 0, must be above 0`:                                               func(s *Scenario) { s.Services[0].Slots = 0 },
		`services[0] (chat): slots: is NaN, must be above 0`:                                             func(s *Scenario) { s.Services[0].Slots = nan },
		`services[0] (chat): target: is NaN, must be above 0, and at most 1`:                             func(s *Scenario) { s.Services[0].Target = nan },
		`services[0] (chat): target: is 1.1, must be above 0, and at most 1`:                             func(s *Scenario) { s.Services[0].Target = 1.1 },
		`services[0] (chat): least: is 5, must be from 0 to what owned and unitsPerPod allow (4)`:        func(s *Scenario) { s.Services[0].Least = 5 },
		`services[0] (chat): load: must be given`:                                                        func(s *Scenario) { s.Services[0].Load = nil },
		`services[0] (chat): load[1].at: is 0s, must be after 0s`:                                        func(s *Scenario) { s.Services[0].Load[1].At = 0 },
		`services[0] (chat): load[1].value: is -1, must be a number of at least 0, or not known (NaN)`:   func(s *Scenario) { s.Services[0].Load[1].Value = -1 },
		`services[0] (chat): load[1].value: is +Inf, must be a number of at least 0, or not known (NaN)`: func(s *Scenario) { s.Services[0].Load[1].Value = math.Inf(1) },
		`services[0] (chat): replicas[0].value: is -1, must be a number of at least 0, or not known (NaN)`: func(s *Scenario) {
			s.Services[0].Replicas = Curve{{0, -1}}
		},
		`services[0] (chat): reload: is -1ns, must be at least 0, and at most 876000h0m0s`:         func(s *Scenario) { s.Services[0].Reload = -1 },
		`services[0] (chat): drain: is -1ns, must be at least 0, and at most 876000h0m0s`:          func(s *Scenario) { s.Services[0].Drain = -1 },
		`services[0] (chat): scaleDownAfter: is -1ns, must be at least 0, and at most 876000h0m0s`: func(s *Scenario) { s.Services[0].ScaleDownAfter = -1 },
	} {
		s := valid()
		change(s)
		_, err := Run(s, firstFit{}, nil)
		if err == nil || err.Error() != "scenario: "+want {
			t.Errorf("%v\nwant scenario: %s", err, want)
		}
	}
}

// broken is a stream that cannot go on.
type broken struct{}

func (broken) Next() (Job, bool, error) { return Job{}, false, errors.New("the disk is full") }

func TestJobsThatCannotBePlayed(t *testing.T) {
	good := func(name string) Job {
		return Job{Name: name, Tenant: "research", Queue: "research/default", Flavor: "gpu", Duration: time.Hour, Submit: minute, Pods: 2, UnitsPerPod: 1}
	}
	for want, change := range map[string]func(j *Job){
		`at 0s: job : name: must be given`:                                                    func(j *Job) { j.Name = "" },
		`at 0s: job j: submit: is -1ns, must be at least 0`:                                   func(j *Job) { j.Submit = -1 },
		`at 0s: job j: duration: is -1ns, must be at least 0, and at most 876000h0m0s`:        func(j *Job) { j.Duration = -1 },
		`at 0s: job j: pods, unitsPerPod: are 0, 1, must be at least 1`:                       func(j *Job) { j.Pods = 0 },
		`at 0s: job j: pods, unitsPerPod: are 2, 0, must be at least 1`:                       func(j *Job) { j.UnitsPerPod = 0 },
		`at 0s: job j: pods, unitsPerPod: are 2, 2097152, must be at most 1048576`:            func(j *Job) { j.UnitsPerPod = 2 << 20 },
		`at 0s: job j: pods × duration: is 2 × 876000h0m0s, must be at most 146 years`:        func(j *Job) { j.Duration = forever },
		`at 0s: job j: minPods: is 3, must be from 0 to pods (2)`:                             func(j *Job) { j.MinPods = 3 },
		`at 0s: job j: flavor: no node has any of "tpu"`:                                      func(j *Job) { j.Flavor = "tpu" },
		`at 0s: job j: tenant: there is no "search"`:                                          func(j *Job) { j.Tenant = "search" },
		`at 0s: job j: queue: there is no "research/none"`:                                    func(j *Job) { j.Queue = "research/none" },
		`at 0s: job j: queue: "research/default" is "research"'s, not "serving"'s`:            func(j *Job) { j.Tenant = "serving" },
		`at 0s: job j: restart: is -1ns, must be at least 0, and at most 876000h0m0s`:         func(j *Job) { j.Restart = -1 },
		`at 0s: job j: checkpointEvery: is -1ns, must be at least 0, and at most 876000h0m0s`: func(j *Job) { j.CheckpointEvery = -1 },
	} {
		s, j := valid(), good("j")
		change(&j)
		s.Jobs = List([]Job{j})
		if _, err := Run(s, firstFit{}, nil); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	early := good("k")
	early.Submit = 30 * time.Second
	for want, jobs := range map[string]Jobs{
		"at 1m0s: job k: submit: is 30s, after a job with 1m0s":       List([]Job{good("j"), early}),
		"at 1m0s: job j: name: another job that has not ended has it": List([]Job{good("j"), good("j")}),
		"at 0s: reading jobs: the disk is full":                       broken{},
	} {
		s := valid()
		s.Jobs = jobs
		if _, err := Run(s, firstFit{}, nil); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// A job that is larger than the cluster waits; one after the length is none; a name is free
// again when its job has ended.
func TestJobsThatCanBePlayed(t *testing.T) {
	job := func(name string, submit time.Duration, pods int64) Job {
		return Job{Name: name, Flavor: "gpu", Submit: submit, Duration: minute, Pods: pods, UnitsPerPod: 1}
	}
	s := desk(job("j", 0, 1), job("huge", 0, 100), job("j", time.Hour, 1), job("late", 24*time.Hour, 1))
	r := mustRun(t, s, firstFit{})
	if r.Submitted != 3 || r.Started != 2 || r.Finished != 2 {
		t.Errorf("%d submitted, %d started, %d finished, want 3, 2, 2", r.Submitted, r.Started, r.Finished)
	}
}

// Jobs that have not started, or not ended, count with the time until the run's end; those
// submitted in the warm-up not at all, and what is held then neither.
func TestWhatIsMeasured(t *testing.T) {
	job := func(name string, submit, lasts time.Duration) Job {
		return Job{Name: name, Flavor: "gpu", Submit: submit, Duration: lasts, Pods: 1, UnitsPerPod: 8}
	}
	s := desk(job("a", 0, 2*time.Hour), job("b", time.Hour, 30*minute), job("c", 2*time.Hour, 30*time.Hour), job("d", 3*time.Hour, time.Hour))
	s.Length, s.Warmup, s.Drain, s.Points = 10*time.Hour, time.Hour, 5*time.Hour, 2
	r := mustRun(t, s, firstFit{})
	// b waits for a hour and runs until 2:30; c runs from then on, and d never.
	near(t, "queueing", r.QueueingMean, (1+0.5+12)/3*3600)
	near(t, "JCT", r.JCTMean, (1.5+13+12)/3*3600)
	near(t, "own", r.Own, 8*9)
	near(t, "capacity", r.Capacity, 8*9)
	near(t, "utilization", r.Utilization(), 1)
	if r.Submitted != 3 || r.Started != 2 || r.Finished != 1 {
		t.Errorf("%d submitted, %d started, %d finished, want 3, 2, 1", r.Submitted, r.Started, r.Finished)
	}
	// From 1:00 to 5:30, and then to 10:00: b waits an hour, c half, d 2.5 and 4.5.
	near(t, "first part", r.Series[0].Waiting, (1+0.5+2.5)/4.5)
	near(t, "second part", r.Series[1].Waiting, 1)
	if r.Series[1].At != 5*time.Hour+30*minute {
		t.Errorf("the second part is from %s", r.Series[1].At)
	}
}
