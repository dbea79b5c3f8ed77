package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

// Stage is a scenario that can be played again and again.
type Stage struct {
	scenario sim.Scenario // but for its jobs
	jobs     *jobFile
	rules    lend.Policy
	quantile float64
	// Input says what is played, Assumptions what was assumed where nothing was said, and
	// Missing what is not known or was left out.
	Input       Input
	Assumptions []string
	Missing     []string
}

// builder is a stage on its way.
type builder struct {
	in      Inputs
	rules   *Objects
	quotas  bool // they are given
	history *history
	nodes   []sim.Node
	flavors []string
	// main is the flavor of which there is most; units of each, and the most on one node.
	main           string
	units, largest map[string]int64
	services       []*service
	jobs           *jobFile
	demand         []Demand

	assumptions, lacking []string
}

func (b *builder) note(format string, args ...any) {
	b.assumptions = append(b.assumptions, fmt.Sprintf(format, args...))
}

func (b *builder) missing(format string, args ...any) {
	b.lacking = append(b.lacking, fmt.Sprintf(format, args...))
}

// Prepare reads the inputs and makes a stage of them. Its errors name the flag that the
// input came by.
func Prepare(ctx context.Context, in Inputs) (*Stage, error) {
	b := &builder{in: in, rules: &Objects{}}
	if in.Rules != nil {
		b.rules = in.Rules.clone()
		b.lacking = append(b.lacking, b.rules.Notes...)
	}
	b.quotas = len(of[*v1alpha1.TenantQuota](b.rules)) > 0
	for _, step := range []func() error{b.readLoads, b.readNodes, b.readJobs, b.match, b.size} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	resting, err := b.rest(ctx)
	if err != nil {
		return nil, err
	}
	return b.stage(resting)
}

func (b *builder) readLoads() error {
	var loads []load
	switch {
	case len(b.in.Load) > 0:
		var err error
		if loads, err = readLoads(b.in.Load); err != nil {
			return err
		}
	case b.in.Town != nil:
		var silent []string
		b.lacking = append(b.lacking, b.in.Town.Notes...)
		if loads, silent = townLoads(b.in.Town); len(loads) == 0 {
			return fmt.Errorf("--from-prometheus: nothing is known of the load of any service, or of its replicas: %s", some(silent))
		}
		b.in.Length = cmp.Or(b.in.Length, b.in.Town.Length)
	default:
		return errors.New("--load: must be given, or --from-prometheus: a file with the load of one service or more")
	}
	b.history = newHistory(loads, b.in.Length, b.in.Drain)
	b.assumptions = append(b.assumptions, b.history.notes...)
	if b.in.Warmup >= b.history.length {
		return fmt.Errorf("--warmup: is %s, must be below the length of what is played (%s)", span(b.in.Warmup), span(b.history.length))
	}
	return nil
}

func (b *builder) readNodes() (err error) {
	if b.in.Nodes == "" && b.in.Town != nil {
		b.nodes = slices.Clone(b.in.Town.Nodes)
	} else if b.nodes, err = readNodes(b.in.Nodes); err != nil {
		return err
	}
	named(b.nodes, of[*v1alpha1.TenantQuota](b.rules))
	b.flavors, b.units = flavorsOf(b.nodes)
	b.largest = map[string]int64{}
	for _, n := range b.nodes {
		for _, u := range n.Units {
			b.largest[u.Flavor] = max(b.largest[u.Flavor], u.Count)
		}
	}
	for _, f := range b.flavors {
		if b.main == "" || b.units[f] > b.units[b.main] {
			b.main = f
		}
	}
	if b.units[b.main] == 0 {
		return fmt.Errorf("--nodes: %s: there is no GPU", b.in.Nodes)
	}
	return nil
}

func (b *builder) readJobs() (err error) {
	if b.in.Jobs == "" && b.in.Town == nil {
		return fmt.Errorf("--jobs: must be given, or --from-prometheus: a file with the jobs of one tenant or more")
	}
	b.jobs = &jobFile{
		file: b.in.Jobs, length: b.history.length, units: b.units, largest: b.largest,
		options: workload.Options{Flavor: b.main, PodUnits: min(b.largest[b.main], 8), Costs: b.in.Costs, Unqueued: true},
	}
	if b.in.Jobs == "" {
		b.jobs.list = b.in.Town.Jobs
	}
	if len(b.flavors) == 1 {
		b.jobs.only = b.main
	}
	if b.history.dated {
		b.jobs.options.Origin = b.history.start
	}
	var notes []string
	b.demand, notes, err = b.jobs.survey()
	if err == nil && len(b.demand) == 0 && b.history.dated {
		b.jobs.options.Origin = time.Time{}
		if b.demand, notes, err = b.jobs.survey(); len(b.demand) > 0 {
			b.note("the jobs are of another time than the load, and begin with it")
		}
	}
	if err != nil {
		return err
	}
	if len(b.demand) == 0 {
		return fmt.Errorf("--jobs: no job that can be played was submitted in the %s from %s%s", span(b.history.length), b.history.start.Format(time.RFC3339), because(notes))
	}
	b.assumptions = append(b.assumptions, notes...)
	c := b.in.Costs
	b.note("a job saves its work every %s (where its history does not say), has %s to stop, and takes %s to start again", span(c.CheckpointEvery), span(c.Grace), span(c.Restart))
	return nil
}

// because tells, in an error, what was noted before it.
func because(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	return ": " + strings.Join(notes, "; ")
}

// rest reads the rules as the broker does.
func (b *builder) rest(ctx context.Context) (*gather.Resting, error) {
	g := &gather.Gatherer{Cache: b.rules, Live: b.rules}
	if !b.quotas {
		// What services own may be an autoscaler's to say, for which a quota must be there.
		if err := b.assumeQuotas(nil); err != nil {
			return nil, err
		}
		b.namespaces()
		first, err := g.Rest(ctx, b.history.start)
		if err != nil {
			return nil, fmt.Errorf("reading the rules: %w", err)
		}
		owned := map[string]map[string]int64{}
		for i := range first.Lenders {
			l := &first.Lenders[i]
			if owned[l.Tenant] == nil {
				owned[l.Tenant] = map[string]int64{}
			}
			owned[l.Tenant][l.Flavor] += l.Owned
		}
		if err := b.assumeQuotas(owned); err != nil {
			return nil, err
		}
		b.note("there are no TenantQuotas: a tenant's is its part, by GPU-hours, of what services do not own, and what one leaves others may use")
	}
	b.namespaces()
	r, err := g.Rest(ctx, b.history.start)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	return r, b.sound(r)
}

// sound refuses rules that the broker could not go by.
func (b *builder) sound(r *gather.Resting) error {
	for i := range r.Lenders {
		if p := r.Lenders[i].Problem; p != nil {
			hint := ""
			if p.Reason == lend.ReasonUnknownTenant {
				hint = "; put the Namespace with its labels beside it"
			}
			return fmt.Errorf("--config: LendingPolicy %s: %s (%s)%s", r.Lenders[i].Name, p.Message, p.Reason, hint)
		}
	}
	for _, name := range sorted(r.Problems) {
		return fmt.Errorf("--config: TenantQuota %s: %s (%s)", name, r.Problems[name].Message, r.Problems[name].Reason)
	}
	for _, p := range of[*v1alpha1.LendingPolicy](b.rules) {
		if len(p.Spec.Schedule) > 0 {
			b.missing("LendingPolicy %s/%s: spec.schedule is not played", p.Namespace, p.Name)
		}
		if p.Spec.Scaling.Mode == v1alpha1.ScalingManage {
			b.missing("LendingPolicy %s/%s: spec.scaling is not played: an autoscaler goes by the load", p.Namespace, p.Name)
		}
		if len(p.Spec.Signals) > 0 && p.Spec.Signals[0].Profile == "" {
			b.missing("LendingPolicy %s/%s: its signals are not played: the load of --load stands for them", p.Namespace, p.Name)
		}
	}
	return nil
}

// stage puts it all together.
func (b *builder) stage(r *gather.Resting) (*Stage, error) {
	s := &Stage{jobs: b.jobs, rules: lend.DefaultPolicy()}
	for i := range r.Lenders {
		service, err := b.play(&r.Lenders[i], s.rules.TargetUtilization)
		if err != nil {
			return nil, err
		}
		s.scenario.Services = append(s.scenario.Services, *service)
		s.quantile = max(s.quantile, r.Quantiles[r.Lenders[i].Name])
	}
	if err := b.settle(s.scenario.Services); err != nil {
		return nil, err
	}
	queues, err := b.tenants(r)
	if err != nil {
		return nil, err
	}
	b.quotasTold(r)
	sc := &s.scenario
	sc.Start, sc.Length, sc.Warmup, sc.Drain, sc.Seed, sc.Points = b.history.start, b.history.length, b.in.Warmup, b.in.Drain, b.in.Seed, b.in.Points
	sc.Nodes, sc.Cohorts, sc.Tenants, sc.Queues = b.nodes, r.Cohorts, r.Tenants, queues
	slices.SortFunc(sc.Tenants, func(a, b lend.Tenant) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(sc.Cohorts, func(a, b lend.Cohort) int { return strings.Compare(a.Name, b.Name) })
	s.Input = b.input(sc)
	s.Assumptions, s.Missing = b.assumptions, b.lacking
	sc.Jobs = sim.List(nil) // each run reads its own
	if err := sc.Validate(); err != nil {
		return nil, fmt.Errorf("making a scenario: %w", err)
	}
	return s, nil
}

// play is a lender with its load.
func (b *builder) play(l *lend.Lender, target float64) (*sim.Service, error) {
	i := slices.IndexFunc(b.services, func(s *service) bool { return s.name() == l.Name })
	if i < 0 {
		return nil, fmt.Errorf("reading the rules: there is no load of %s", l.Name)
	}
	s := b.services[i]
	replicas := l.Owned / max(l.UnitsPerPod, 1)
	if replicas < 1 {
		return nil, fmt.Errorf("--config: LendingPolicy %s owns %d GPUs, which are less than one replica (%d)", l.Name, l.Owned, l.UnitsPerPod)
	}
	l.Floors, l.Scale = nil, nil
	out := &sim.Service{
		Lender: *l, Target: target, ScaleDownAfter: 5 * time.Minute, Least: 1,
		Reload: b.in.Services.Reload, Drain: b.in.Costs.Exit,
	}
	share, top, _ := known(s.load.Curve, b.history.length)
	if share == 0 {
		return nil, fmt.Errorf("--load: nothing is known of service %s in the %s that are played", s.load.Service, span(b.history.length))
	}
	if share < 0.9995 {
		b.missing("the load of %s is not known in %.1f%% of the time", s.load.Service, (1-share)*100)
	}
	if like := b.in.Like.service(l.Name); like != nil {
		out.Slots, out.Load = like.Slots, like.Load
		return out, nil
	}
	factor, slots, err := b.scale(s, l, replicas, top, target)
	if err != nil {
		return nil, err
	}
	out.Slots, out.Load = slots, s.load.Curve.Scaled(factor)
	return out, nil
}

// service of a name; nil if there is none, or no stage.
func (s *Stage) service(name string) *sim.Service {
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.scenario.Services, func(v sim.Service) bool { return v.Lender.Name == name })
	if i < 0 {
		return nil
	}
	return &s.scenario.Services[i]
}

// assumedSlots of a replica whose number makes no difference.
const assumedSlots = 64

// scale is by what a load is multiplied to be requests in flight, and how many a replica
// serves at once.
func (b *builder) scale(s *service, l *lend.Lender, replicas int64, top, target float64) (factor, slots float64, err error) {
	d := &b.in.Services
	switch {
	case s.load.heldReplicas:
		return assumedSlots * target, assumedSlots, nil
	case s.load.slots > 0:
		return 1, cmp.Or(d.Slots, s.load.slots), nil
	case s.load.Unit == workload.Nodes:
		return float64(b.largest[l.Flavor]) / float64(l.UnitsPerPod) * assumedSlots * target, assumedSlots, nil
	case s.load.Unit == workload.GPUs:
		return 1 / float64(l.UnitsPerPod) * assumedSlots * target, assumedSlots, nil
	case d.Slots > 0 && s.load.Unit == workload.PerSecond && d.RequestTime <= 0:
		return 0, 0, fmt.Errorf("--request-time: must be given with --slots: the load of %s is in requests per second", s.load.Service)
	case d.Slots > 0 && s.load.Unit == workload.PerSecond:
		return d.RequestTime.Seconds(), d.Slots, nil
	case d.Slots > 0:
		return 1, d.Slots, nil
	case top <= 0:
		return 0, 0, fmt.Errorf("--load: the load of %s is 0 all the time: --slots must say what it means", s.load.Service)
	}
	b.note("%s has as many GPUs as its load needs: at its 99.9th percentile all %d replicas are as full as they are meant to be (%.0f%%)", s.load.Service, replicas, target*100)
	return float64(replicas) * assumedSlots * target / top, assumedSlots, nil
}

// Input is a summary of what is played.
type Input struct {
	Start  time.Time `json:"start"`
	Length string    `json:"length"`
	Warmup string    `json:"warmup"`
	Seed   uint64    `json:"seed"`
	Nodes  int       `json:"nodes"`
	// Units by flavor.
	Units    map[string]int64 `json:"units"`
	Services []ServiceInput   `json:"services"`
	Tenants  []Demand         `json:"tenants"`
}

// ServiceInput is about one service. KnownShare is the part of the time in which its load
// is known, PeakShare its highest load as a share of the slots of all replicas.
type ServiceInput struct {
	Name            string  `json:"name"`
	Flavor          string  `json:"flavor"`
	Owned           int64   `json:"owned"`
	UnitsPerReplica int64   `json:"unitsPerReplica"`
	KnownShare      float64 `json:"knownShare"`
	PeakShare       float64 `json:"peakShare"`
}

func (b *builder) input(s *sim.Scenario) Input {
	in := Input{
		Start: s.Start, Length: span(s.Length), Warmup: span(s.Warmup), Seed: s.Seed, Nodes: len(s.Nodes), Units: b.units, Tenants: b.demand,
	}
	for i := range s.Services {
		v := &s.Services[i]
		share, _, highest := known(v.Load, s.Length)
		in.Services = append(in.Services, ServiceInput{
			Name: v.Lender.Name, Flavor: v.Lender.Flavor, Owned: v.Lender.Owned, UnitsPerReplica: v.Lender.UnitsPerPod,
			KnownShare: round(share), PeakShare: round(highest / (v.Slots * float64(v.Most()))),
		})
	}
	return in
}

// round to four digits: more would be noise.
func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }
