package soak

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/soak/judge"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A quarter of an hour, in which the window of the budget passes more than twice.
func TestSoak(t *testing.T) {
	c := Default()
	c.Nodes, c.Length, c.Window, c.Budget = 16, 14*time.Minute, 6*time.Minute, 2
	c.MinimumLoan, c.Cooldown, c.Dwell = time.Minute, time.Minute, 15*time.Second
	var out, log bytes.Buffer
	c.Out, c.Log = &out, &log
	if _, err := lab.Programs(t.Context(), lab.Options{Scheduler: &lab.Program{}, Broker: &lab.Program{}, Logf: t.Logf}); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), c)
	t.Log(log.String())
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var r Result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("the last line is no result: %v", err)
	}
	if r.Loans == 0 || r.OnlinePods == 0 {
		t.Errorf("nothing happened: %+v", r)
	}
}

// The same seed gives the same adversary, another one another, and none leaves an act out.
func TestScript(t *testing.T) {
	for _, length := range []time.Duration{4 * time.Minute, time.Hour} {
		for seed := range uint64(20) {
			c := Default()
			c.Length, c.Seed = length, seed
			moves := c.script()
			if !reflect.DeepEqual(moves, c.script()) {
				t.Fatalf("seed %d gives two scripts", seed)
			}
			acts := map[act]int{}
			for i, m := range moves {
				acts[m.act]++
				if m.at <= 0 || m.at >= length || i > 0 && m.at < moves[i-1].at {
					t.Errorf("seed %d: act %d at %s, the soak lasts %s", seed, m.act, m.at, length)
				}
			}
			for _, which := range []act{actSurge, actLeave, actKillBroker, actKillScheduler} {
				if acts[which] == 0 {
					t.Errorf("seed %d, %s: act %d never comes", seed, length, which)
				}
			}
			c.Seed++
			if reflect.DeepEqual(moves, c.script()) {
				t.Errorf("seeds %d and %d give the same script", seed, c.Seed)
			}
		}
	}
}

// Replicas follow a surge that scales, up at once and down after a while; one that only
// loads they do not. No service ever asks for more than it owns.
func TestTide(t *testing.T) {
	c := Default()
	tide := newTide(c)
	start := time.Now()
	tide.begin(start)
	tide.rise(0, surge{height: 0.9, from: time.Minute, to: 2 * time.Minute, scales: true})
	tide.rise(1, surge{height: 0.6, from: time.Minute, to: 2 * time.Minute})
	at := func(d time.Duration) time.Time { return start.Add(c.real(d)) }
	_, low := tide.load(0, at(59*time.Second))
	share, high := tide.load(0, at(61*time.Second))
	tide.load(0, at(119*time.Second))
	_, still := tide.load(0, at(121*time.Second))
	_, again := tide.load(0, at(3*time.Minute))
	if owned := services[0].replicas(c); low >= owned || high != owned || still != owned || again != low || share < 1 {
		t.Errorf("replicas %d, %d, %d and %d with a load of %v; %d are owned", low, high, still, again, share, owned)
	}
	if share, replicas := tide.load(1, at(61*time.Second)); share < 0.7 || replicas > 2 {
		t.Errorf("a surge that does not scale: load %v, %d replicas", share, replicas)
	}
	tide.end()
	if share, _ := tide.load(1, at(61*time.Second)); share != services[1].usual {
		t.Errorf("the load is %v after the end, want %v", share, services[1].usual)
	}
}

// What owners may ask for at once fits on the nodes.
func TestServicesFit(t *testing.T) {
	for _, nodes := range []int{8, 10, 16, 50} {
		c := Default()
		c.Nodes = nodes
		owned := map[string]int64{}
		for _, s := range services {
			owned[s.flavor] += s.replicas(c) * s.gpus
			if s.replicas(c) == 0 {
				t.Errorf("%d nodes: %s owns nothing", nodes, s.name)
			}
		}
		if has := int64(nodes/2) * gpusPerNode; owned["h100"] > has-ownNodes*gpusPerNode || owned["a100"] > has {
			t.Errorf("%d nodes: services own %v of %d of each flavor", nodes, owned, has)
		}
	}
}

// What the ledger says is read as it was meant.
func TestBooked(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	grants := []ledger.Grant{{Lender: "chat/chat", Count: 1}, {Lender: "chat/chat", Count: 2}, {Count: 1}}
	entries := []ledger.Entry{
		{Kind: ledger.LendIntent, Loan: "x-1", JobUID: "x", Grants: grants, Time: at(1)},
		{Kind: ledger.LendGranted, Loan: "x-1", JobUID: "x", Time: at(2)},
		{Kind: ledger.LendIntent, Loan: "y-1", JobUID: "y", Grants: grants, Time: at(2)},
		{Kind: ledger.LendAborted, Loan: "y-1", JobUID: "y", Time: at(3)},
		{Kind: ledger.Recovered, Loan: "z-1", JobUID: "z", Grants: grants, Time: at(9), At: at(3)},
		{Kind: ledger.ShedIntent, Loan: "x-1", Time: at(4), Reason: lend.ReasonNeedRose},
		{Kind: ledger.ReclaimIntent, Loan: "x-1", Time: at(5), Reason: lend.ReasonNeedRose, Message: "need of chat/chat, rank/rank rose"},
		{Kind: ledger.ReclaimDone, Loan: "x-1", Time: at(6), Reason: lend.ReasonReturned},
		{Kind: ledger.Preempted, Loan: "z-1", Time: at(8), At: at(7), Reason: lend.ReasonPreempted},
	}
	s, r := &soak{config: Default()}, &Result{reasons: map[string]int{}}
	lends, backs := s.booked(r, entries)
	wantLends := []judge.Lend{
		{Job: "x", Loan: "x-1", At: at(1), Lenders: []string{"chat/chat"}}, {Job: "z", Loan: "z-1", At: at(3), Lenders: []string{"chat/chat"}},
	}
	wantBacks := []judge.TakeBack{
		{Job: "x", Loan: "x-1", At: at(5), Reason: lend.ReasonNeedRose, Asking: []string{"chat/chat", "rank/rank"}},
		{Job: "z", Loan: "z-1", At: at(7), Reason: lend.ReasonPreempted, Urgent: true, Forced: true},
	}
	if diff := cmp.Diff(wantLends, lends); diff != "" {
		t.Errorf("lends (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantBacks, backs); diff != "" {
		t.Errorf("take-backs (-want +got):\n%s", diff)
	}
	if r.Sheds != 1 {
		t.Errorf("%d parts were asked for, want 1", r.Sheds)
	}
}

// A pod waits from when it was made: who decides may know of it before the witness does.
func TestWaited(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	w := newWitness(nil)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "a", Labels: map[string]string{labelService: "chat"}, CreationTimestamp: metav1.NewTime(at(10))}}
	pod.Spec.NodeSelector = map[string]string{lab.LabelProduct: flavors["h100"]}
	w.seePod(pod, false, at(13))
	pod.Spec.NodeName = "n"
	w.seePod(pod, false, at(15))
	for _, test := range []struct {
		flavor   string
		from, to int
		want     bool
	}{
		{"h100", 8, 12, true}, {"h100", 14, 16, true}, {"a100", 8, 12, false}, {"h100", 7, 9, false}, {"h100", 16, 19, false},
	} {
		if got := w.waited(test.flavor, span{at(test.from), at(test.to)}); got != test.want {
			t.Errorf("a pod for %s waited from %d to %d: %t", test.flavor, test.from, test.to, got)
		}
	}
}

// Each broken promise fails the soak, and so does one in which nothing was tried.
func TestMissed(t *testing.T) {
	good := Result{Budget: 4, MostUnforcedPerJob: 4, TakeBacks: 9, ForcedTakeBacks: 3, BrokerKills: 1, SchedulerKills: 1, MaxGraceSeconds: 2, OnlineWaitMax: 7, LedgerCheck: ledgerOK}
	if missed := good.missed(); len(missed) > 0 {
		t.Fatalf("a good result misses %v", missed)
	}
	for name, spoil := range map[string]func(r *Result){
		"budget": func(r *Result) { r.MostUnforcedPerJob = 5 }, "over": func(r *Result) { r.OverBudget = 1 },
		"young": func(r *Result) { r.YoungTakeBacks = 1 }, "relent": func(r *Result) { r.LentTooSoon = 1 },
		"unrecorded": func(r *Result) { r.Unrecorded = 1 }, "unfounded": func(r *Result) { r.Unfounded = 1 },
		"waits": func(r *Result) { r.OnlineWaitMax = 7.1 }, "laws": func(r *Result) { r.LawViolations = 1 },
		"needless": func(r *Result) { r.Needless = 1 }, "ledger": func(r *Result) { r.LedgerCheck = "failed" },
		"left": func(r *Result) { r.LeftRunning = 1 }, "tame": func(r *Result) { r.ForcedTakeBacks = 0 },
		"only pods": func(r *Result) { r.ForcedTakeBacks = 9 }, "no kill": func(r *Result) { r.BrokerKills = 0 },
	} {
		r := good
		if spoil(&r); len(r.missed()) != 1 {
			t.Errorf("%s: missed %v, want one", name, r.missed())
		}
	}
}

func TestValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	bad := Config{Nodes: 9, Speed: 100}
	err := bad.Validate()
	for _, want := range []string{"--nodes is 9", "--length", "--speed is 100", "--budget", "--window", "cooldown", "--max-grace"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say what is wrong with %s", err, want)
		}
	}
}
