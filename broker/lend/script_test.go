package lend

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScenarios runs the scripts in testdata. Each is a story about one cluster:
//
//	cluster                                runs the commands on the lines below
//	node NAME FLAVOR=UNITS... [count=N]    adds nodes
//	flavor NAME of= compute= memory=       a slice of another flavor's GPUs
//	cohort NAME [parent=] [weight=] [FLAVOR=NOMINAL] [borrow=] [lend=]
//	tenant NAME [cohort=] [weight=] FLAVOR=NOMINAL [borrow=] [lend=] [held=]
//	queue NAME tenant= [fifo|fair] [weight=] [used=] [nobackfill] [paused]
//	limit NAME most= [reason=]             what jobs draw on
//	lender NAME tenant= flavor= owned= pod= replicas= [low= high= dwell= cooldown= grace= warm= refill= advise]
//	       [notice=] [step=UNITS every=] [lendafter=] [min= max=]  the last two: the broker scales it
//	       [reshape [mintrough=] [change=] [undo=]]
//	policy [minloan=] [unknowngrace=] [unknownstep=] [budget=] [reserveafter=] [quotagrace=] [unfair]
//	       [stablewindow=] [flaps=]
//	load NAME PERCENT|unknown [for=] [age=] [coverage=] [signal=VALUE/LOW/HIGH [perreplica=] [rising]] [panic=PERCENT]
//	floor LENDER NAME units= in= for= [lead=]  a window of the schedule that begins in some time
//	forecast LENDER [season=] [growth=] [dispersion=] [most=] [ahead=DURATION until= then=]  loads as shares; without any: none
//	hold LENDER [REASON] | prepare LENDER [done]
//	book LENDER                            what an adviser would have done
//	scale NAME REPLICAS [for=]             what the autoscaler wants
//	job NAME pods= units= [queue=] [flavor=] [priority=] [stops=] [grace=] [lingers] [stuck] [draws=LIMIT:AMOUNT]
//	quarantine JOB | unstick JOB |
//	finish JOB | preempt JOB | stall JOB | pause QUEUE | drain QUEUE
//	borrowed TENANT FLAVOR=UNITS           what the tenant borrowed lately
//	cordon NODE | uncordon NODE | lose NODE | stop NODE | mend NODE | silence NODE | hear NODE
//	sleep DURATION                         time without a decision
//	restart                                the broker forgets its state
//	run DURATION                           a decision every 5 seconds
//	explain [SUBJECT...]                   the verdicts of the last decision
//	card NODE GPU board= FLAVOR=START:START... [pins=START:...]  adds a GPU and its slices
//	pins NODE GPU [START:...]              which of them are pinned
//	occupy NODE GPU START [USE]              somebody else does something with a slice; without USE nobody
//	fix GPU [REASON] | unlendable NODE [REASON]
//	show NODE cards|places|nothing         what is known of its cards: places without who uses them
//	agent NODE dead|alive|refuses|stuck    what the agent does about changes of layouts
//	cards [NODE...]                        the slices, and who has them
//	map                                    who holds what
//	quotas [NAME...]                       what quotas say after the last decision
//	waiting                                the order of the jobs that wait
//
// Commands that let time pass print every action that is taken.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			t.Skip("what a failed property left behind")
		}
		s := &script{world: newWorld()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			if err := s.run(d); err != nil {
				return "error: " + err.Error() + "\n"
			}
			if v := CheckLaws(s.world.snapshot()); len(v) > 0 {
				t.Errorf("%s: laws are broken: %v", d.Pos, v)
			}
			if s.out.Len() == 0 {
				return "ok\n"
			}
			return s.out.String()
		})
	})
}

type script struct {
	*world
	out  strings.Builder
	last Plan
	from time.Time
}

func (s *script) run(d *datadriven.TestData) error {
	if s.from.IsZero() {
		s.from = s.now
	}
	a := args{d}
	name := a.name(0)
	switch d.Cmd {
	case "cluster":
		return s.cluster(d)
	case "node":
		return s.addNode(a, name)
	case "flavor":
		s.flavors = append(s.flavors, Flavor{Name: name, SliceOf: a.text("of", ""), Compute: a.number("compute", 1), Memory: a.number("memory", 1), Profile: a.text("profile", "")})
		return nil
	case "cohort":
		s.cohorts = append(s.cohorts, Cohort{Name: name, Parent: a.text("parent", ""), Weight: a.limit("weight"), Quotas: a.quotas()})
		return nil
	case "tenant":
		s.tenants = append(s.tenants, Tenant{Name: name, Cohort: a.text("cohort", ""), Weight: a.limit("weight"), Quotas: a.quotas()})
		return nil
	case "borrowed":
		return s.setBorrowed(a, name)
	case "limit":
		n := a.number("most", 0)
		s.limits = append(s.limits, Limit{Name: name, Left: n, Most: n, Reason: a.text("reason", ""), Message: fmt.Sprintf("limit %s allows %d", name, n)})
		return nil
	case "queue":
		s.queues = append(s.queues, Queue{
			Name: name, Tenant: a.text("tenant", ""), FIFO: a.flag("fifo"), FairShare: a.flag("fair"), Weight: a.number("weight", 0),
			Used: a.number("used", 0), Backfill: !a.flag("nobackfill"), Paused: a.flag("paused"),
		})
		return nil
	case "lender":
		return s.addLender(a, name)
	case "policy":
		s.policy.MinimumLoan = a.duration("minloan", s.policy.MinimumLoan)
		s.policy.UnknownGrace = a.duration("unknowngrace", s.policy.UnknownGrace)
		s.policy.UnknownStep = a.duration("unknownstep", s.policy.UnknownStep)
		s.policy.EvictionBudget = int(a.number("budget", int64(s.policy.EvictionBudget)))
		s.policy.ReserveAfter = a.duration("reserveafter", s.policy.ReserveAfter)
		s.policy.QuotaGrace = a.duration("quotagrace", s.policy.QuotaGrace)
		s.policy.StableWindow = a.duration("stablewindow", s.policy.StableWindow)
		s.policy.FlapBudget = int(a.number("flaps", int64(s.policy.FlapBudget)))
		if a.flag("unfair") {
			s.policy.FairPreemption = nil
		}
		return nil
	case "load":
		return s.setLoad(a, name)
	case "scale":
		n, err := strconv.ParseInt(a.name(1), 10, 64)
		if err != nil {
			return err
		}
		s.service(name).Desired = n
		s.schedule()
		s.runFor(a.duration("for", 0))
		return nil
	case "job":
		s.addJob(a, name)
		return nil
	case "run":
		length, err := time.ParseDuration(name)
		if err != nil {
			return err
		}
		s.runFor(length)
		return nil
	case "sleep":
		length, err := time.ParseDuration(name)
		s.step(length)
		return err
	case "restart":
		s.state, s.epoch = State{}, s.epoch+1
		return nil
	case "explain":
		s.explain(d)
		return nil
	case "map":
		s.draw()
		return nil
	case "quotas":
		s.showQuotas(d)
		return nil
	case "waiting":
		s.showWaiting()
		return nil
	}
	if known, err := s.tell(a, d.Cmd, name); known {
		return err
	}
	if s.tellCards(a, d.Cmd, name) {
		return nil
	}
	return s.disturb(d.Cmd, name)
}

// cluster runs the lines under it.
func (s *script) cluster(d *datadriven.TestData) error {
	for _, line := range strings.Split(d.Input, "\n") {
		cmd, cmdArgs, err := datadriven.ParseLine(line)
		if err != nil {
			return err
		}
		if err := s.run(&datadriven.TestData{Pos: d.Pos, Cmd: cmd, CmdArgs: cmdArgs}); err != nil {
			return err
		}
	}
	return nil
}

// disturb is what happens to a cluster beside load.
func (s *script) disturb(cmd, name string) error {
	switch cmd {
	case "finish":
		j := s.training(name)
		j.finished = true
		s.loanOf(j.UID).Finished = true
	case "preempt":
		s.loanOf(s.training(name).UID).Preempted = true
	case "quarantine":
		s.loanOf(s.training(name).UID).Quarantined = true
	case "unstick":
		s.training(name).stuck = false
	case "stall":
		s.loanOf(s.training(name).UID).Bound = 0
	case "stop", "mend": // its device plugin
		for i := range s.node(name).Units {
			u := &s.node(name).Units[i]
			u.Capacity, u.Broken = u.Broken, u.Capacity
		}
	case "cordon", "uncordon":
		s.node(name).Schedulable = cmd == "uncordon"
	case "silence", "hear":
		s.node(name).Schedulable, s.node(name).Silent = cmd == "hear", cmd == "silence"
	case "lose":
		for i := range s.nodes {
			if s.nodes[i].Name == name {
				s.nodes = append(s.nodes[:i], s.nodes[i+1:]...)
				break
			}
		}
	case "pause", "drain":
		for i := range s.queues {
			if s.queues[i].Name == name {
				s.queues[i].Paused = s.queues[i].Paused || cmd == "pause"
				s.queues[i].Drain = cmd == "drain"
			}
		}
	default:
		return fmt.Errorf("there is no command %q", cmd)
	}
	return nil
}

// runFor makes a decision now and then every 5 seconds, the last one at the end.
func (s *script) runFor(length time.Duration) {
	const tick = 5 * time.Second
	for left := length; ; left -= tick {
		_, s.last = s.decide()
		s.tellReshapes(ReshapeUndo)
		for _, act := range s.last.Actions {
			fmt.Fprintf(&s.out, "%5s %s\n", s.now.Sub(s.from), describe(act))
		}
		s.tellReshapes(ReshapeMake)
		for _, to := range s.last.Scales {
			fmt.Fprintf(&s.out, "%5s scale %s to %d  %s: %s\n", s.now.Sub(s.from), to.Lender, to.Replicas, to.Reason, to.Message)
		}
		if left <= 0 {
			return
		}
		s.step(tick)
	}
}

func describe(a Action) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", strings.ToLower(string(a.Kind)), a.Job)
	for _, g := range a.Grants {
		fmt.Fprintf(&b, " %s:%d", g.Node, g.Count)
		if g.Lender != "" {
			fmt.Fprintf(&b, "<-%s", g.Lender)
		}
	}
	if a.Kind == ActionReclaim {
		fmt.Fprintf(&b, " %s lost=%.0f", a.ReclaimID, a.LostWork)
		if a.ReclaimedFor != "" {
			fmt.Fprintf(&b, " for=%s", strings.TrimPrefix(a.ReclaimedFor, "uid-"))
		}
		for _, o := range a.Owed {
			fmt.Fprintf(&b, " owed=%s:%dx%d", o.Lender, o.Pods, o.UnitsPerPod)
		}
	}
	fmt.Fprintf(&b, "  %s: %s", a.Reason, a.Message)
	return b.String()
}

func (s *script) explain(d *datadriven.TestData) {
	for _, v := range s.last.Verdicts {
		for _, arg := range d.CmdArgs {
			if arg.Key == v.Subject || (strings.HasSuffix(arg.Key, "*") && strings.HasPrefix(v.Subject, strings.TrimSuffix(arg.Key, "*"))) {
				fmt.Fprintf(&s.out, "%s %s  %s: %s\n", strings.ToLower(string(v.Kind)), v.Subject, v.Reason, v.Message)
			}
		}
	}
}

// draw shows every node: online pods by the service's name, loans by the job's.
func (s *script) draw() {
	for _, n := range s.nodes {
		for _, u := range n.Units {
			var held []string
			all, _ := s.online(n.Name, u.Flavor)
			free := u.Capacity - u.Other - all - s.heldBy(n.Name, u.Flavor)
			if s.cards.of(n.Name) != nil {
				free = s.slotsFor(n.Name, u.Flavor) - all
			}
			for _, sv := range s.lenders {
				for _, r := range sv.replicas {
					if r.node == n.Name && sv.Flavor == u.Flavor {
						held = append(held, fmt.Sprintf("%s:%d", sv.Name, sv.UnitsPerPod))
					}
				}
			}
			for _, l := range s.loans {
				for _, g := range l.Grants {
					if g.Node == n.Name && g.Flavor == u.Flavor {
						held = append(held, fmt.Sprintf("%s:%d", l.Job, g.Count))
					}
				}
			}
			sort.Strings(held)
			fmt.Fprintf(&s.out, "%s %s free=%d %s\n", n.Name, u.Flavor, free, strings.Join(held, " "))
		}
	}
}

func (s *script) addNode(a args, name string) error {
	count := a.number("count", 1)
	for i := range count {
		n := Node{Name: name, Schedulable: true, LendLast: int32(a.number("lendlast", 0))}
		if count > 1 {
			n.Name = fmt.Sprintf("%s-%d", name, i+1)
		}
		for _, f := range a.flavors("count", "lendlast") {
			n.Units = append(n.Units, Units{Flavor: f, Capacity: a.number(f, 0)})
		}
		s.nodes = append(s.nodes, n)
	}
	return nil
}

func (s *script) setBorrowed(a args, name string) error {
	for i := range s.tenants {
		if t := &s.tenants[i]; t.Name == name {
			t.Borrowed = nil
			for _, f := range a.flavors() {
				t.Borrowed = append(t.Borrowed, History{Flavor: f, Milli: 1000 * a.number(f, 0)})
			}
		}
	}
	return nil
}

// showQuotas shows what the last plan says of tenants and cohorts.
func (s *script) showQuotas(d *datadriven.TestData) {
	for _, v := range s.last.Tenants {
		if len(d.CmdArgs) == 0 || slices.ContainsFunc(d.CmdArgs, func(arg datadriven.CmdArg) bool { return arg.Key == v.Name }) {
			fmt.Fprintf(&s.out, "%s %s used=%d available=%d share=%d\n", v.Name, v.Flavor, v.Used, v.Available, v.Share)
		}
	}
}

func (s *script) showWaiting() {
	for _, p := range s.last.Waiting {
		fmt.Fprintf(&s.out, "%s position=%d ahead=%d\n", strings.TrimPrefix(p.UID, "uid-"), p.Position, p.Ahead)
	}
}

func (s *script) addLender(a args, name string) error {
	sv := &service{coverage: 1, Lender: Lender{
		Name: name, Tenant: a.text("tenant", "serving"), Flavor: a.text("flavor", "h100"),
		Owned: a.number("owned", 0), UnitsPerPod: a.number("pod", 1), Desired: a.number("replicas", 0),
		LowWater: a.share("low", 0.3), HighWater: a.share("high", 0.7), Warm: a.number("warm", 0), Refill: Refill(a.text("refill", "")),
		Dwell: a.duration("dwell", time.Minute), Cooldown: a.duration("cooldown", time.Minute),
		MaxGrace: a.duration("grace", 30*time.Second), Advise: a.flag("advise"), Notice: a.duration("notice", 0),
		Steps: Steps{LendUnits: a.number("step", 0), LendEvery: a.duration("every", 0), LendAfter: a.duration("lendafter", 0)},
	}}
	if a.flag("reshape") {
		sv.MIG = &MIGRules{
			Reshape: true, MinTrough: a.duration("mintrough", 30*time.Second),
			Change: a.duration("change", 2*time.Second), Undo: a.duration("undo", 5*time.Second),
		}
	}
	if a.flag("max") {
		sv.Scale = &Scale{Min: a.number("min", 1), Max: a.number("max", 0)}
	}
	s.lenders = append(s.lenders, sv)
	s.schedule()
	return nil
}

func (s *script) addJob(a args, name string) {
	s.jobs = append(s.jobs, &training{stops: a.duration("stops", 10*time.Second), lingers: a.flag("lingers"), stuck: a.flag("stuck"), Job: Job{
		Name: name, UID: "uid-" + name, Queue: a.text("queue", "research/default"),
		Tenant: a.text("tenant", "research"), Priority: int32(a.number("priority", 0)), Created: s.now,
		Flavor: a.text("flavor", "h100"), Pods: a.number("pods", 1), UnitsPerPod: a.number("units", 1), Draws: a.draws(),
		Grace: a.duration("grace", 0),
	}})
}

func (s *script) setLoad(a args, name string) error {
	sv := s.service(name)
	sv.panic = a.share("panic", 0)
	sv.util, sv.signals, sv.age, sv.coverage = -1, nil, a.duration("age", 0), a.share("coverage", 1)
	if text := a.name(1); text != "unknown" {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil {
			return err
		}
		sv.util = percent / 100
	}
	if text := a.text("signal", ""); text != "" {
		sig := Signal{Name: "queue", PerReplica: float64(a.number("perreplica", 0)), Rising: a.flag("rising")}
		if _, err := fmt.Sscanf(text, "%g/%g/%g", &sig.Value, &sig.Low, &sig.High); err != nil {
			return err
		}
		sv.signals = []Signal{sig}
	}
	s.runFor(a.duration("for", 0))
	return nil
}
