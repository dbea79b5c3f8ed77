// Package audit watches a cluster from outside and says whether Ebbtide kept its
// laws. It shares no code with what it audits but the types of the API: it has its
// own watches, its own counting and its own fit check.
//
// Events of all kinds are put into the API server's own order (the revision)
// before they are judged, so a law is judged on states that really were, not on
// the lag between two watches. What must hold at every revision is checked at
// every revision; what two programs need a moment to agree on is a violation when
// it lasts longer than Settle.
//
//	law 1  the units of the pods bound to a node never exceed what it has, or had until
//	       Settle ago; a job
//	       has at most one open loan (every revision); the units of online pods
//	       and of loans together never exceed what the node has (Settle)
//	law 3  an online pod is bound within the grace plus Slack
//	law 5  a gang runs whole or not at all (Settle); a take-back by the scheduler
//	       takes nothing that it could have spared
//	law 9  a pod of a queued job is bound only where an open loan of its job says,
//	       and a job's pods hold no more of a node than that loan grants; beside what
//	       it borrows, a tenant holds no more than its nominal quota (Settle)
package audit

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Options say what is audited.
type Options struct {
	// Resource is what is counted, e.g. nvidia.com/gpu.
	Resource string
	// Flavor of the resource, where there are loans of others: these do not count. Empty:
	// all loans are of the resource.
	Flavor string
	// Claimed is the most that nodes have whose units are allocated by claims, by name: no
	// kubelet counts those.
	Claimed map[string]int64
	// Others wait for what loans of the flavor hold, and not only pods that ask for it: what
	// the scheduler takes back is not judged by who waits for the resource.
	Others bool
	// Makers are the kinds of what stands between jobs and pods, of those that the API
	// server has: Jobs within JobSets, say. Without them, a pod's job is who made it.
	Makers []schema.GroupVersionResource
	// MaxGrace is the longest that a lender lets an online pod wait, Slack what
	// the programs may need beyond it.
	MaxGrace, Slack time.Duration
	// Settle is how long two programs may take to agree.
	Settle time.Duration
	// Hold is how long events are held back to put them in order.
	Hold time.Duration
}

// Violation is a law that was broken.
type Violation struct {
	Law  int
	At   time.Time
	Text string
}

// String is one line for people.
func (v Violation) String() string {
	return fmt.Sprintf("%s law %d: %s", v.At.UTC().Format("15:04:05.000"), v.Law, v.Text)
}

// Report is what the auditor has seen so far.
type Report struct {
	Violations []Violation
	// Waits of online pods from creation to binding, sorted. A pod that was deleted
	// before it was bound has waited until then, and one that still waits until the
	// last moment that was judged.
	Waits []time.Duration
	// Loans that were made; Reclaimed those of them that were asked back or taken
	// back; TakeBacks those the scheduler took by itself.
	Loans, Reclaimed, TakeBacks int
	// EvictedPods are training pods that were made to stop.
	EvictedPods int
	// Asked are the loans that the broker asked back, in that order.
	Asked []string
	// Needless are take-backs by the scheduler that could have been spared.
	Needless []string
	// LoanUnits and BoundUnits are unit-time on loan from a lender, and of that in
	// the hands of bound pods, since the auditor began.
	LoanUnits, BoundUnits time.Duration
	// Events were judged; Late counts those of them that came after a later one had
	// been: what was judged meanwhile may never have been so.
	Events, Late int
}

// WaitQuantile returns the wait that the share q of online pods did not exceed,
// 0 if there were none.
func (r Report) WaitQuantile(q float64) time.Duration {
	if len(r.Waits) == 0 {
		return 0
	}
	i := int(q*float64(len(r.Waits))+0.9999999) - 1
	return r.Waits[min(max(i, 0), len(r.Waits)-1)]
}

// Usage is who holds units now.
type Usage struct {
	// Online units, and how many online pods wait.
	Online  int64
	Waiting int
	// Lent units are on loan from a lender, Bound of them held by bound pods.
	Lent, Bound int64
	// OpenLoans and Reclaiming among them.
	OpenLoans, Reclaiming int
}

// auditor judges events in order. It has no clock and no lock.
type auditor struct {
	opts     Options
	cluster  cluster
	revision uint64
	last     time.Time
	report   Report

	// over and partial are since when a node is over-granted or a gang partial.
	over    map[string]since
	partial map[types.UID]since
	waited  map[types.UID]bool
	// greedy is since when a tenant holds more than its quota.
	greedy map[string]since
	burst  *burst
}

// since is when something began, and whether it was reported.
type since struct {
	at       time.Time
	reported bool
}

func newAuditor(opts Options) *auditor {
	return &auditor{
		opts: opts, cluster: newCluster(opts.Resource, opts.Flavor, opts.Claimed),
		over: map[string]since{}, partial: map[types.UID]since{}, waited: map[types.UID]bool{},
		greedy: map[string]since{},
	}
}

// maxViolations bounds what is kept; one broken law can be seen at every event.
const maxViolations = 1000

func (a *auditor) violate(law int, at time.Time, format string, args ...any) {
	if len(a.report.Violations) < maxViolations {
		a.report.Violations = append(a.report.Violations, Violation{law, at, fmt.Sprintf(format, args...)})
	}
}

// judge applies one event and checks what must hold at its revision.
func (a *auditor) judge(e event) {
	a.report.Events++
	if e.revision < a.revision {
		a.report.Late++
	}
	a.revision = max(a.revision, e.revision)
	a.integrate(e.received)
	switch change := a.cluster.apply(e).(type) {
	case podChange:
		a.judgePod(change, e)
	case loanChange:
		a.judgeLoan(change, e)
	case nodeChange:
		a.judgeNode(change.name, e.received)
	}
}

// integrate adds up unit-time until now.
func (a *auditor) integrate(now time.Time) {
	if a.last.IsZero() {
		a.last = now
	}
	if d := now.Sub(a.last); d > 0 {
		a.report.LoanUnits += time.Duration(a.cluster.lent) * d
		a.report.BoundUnits += time.Duration(a.cluster.bound()) * d
		a.last = now
	}
}

func (a *auditor) snapshot() Report {
	r := a.report
	r.Violations = slices.Clone(r.Violations)
	r.Needless = slices.Clone(r.Needless)
	r.Asked = slices.Clone(r.Asked)
	r.Waits = slices.Clone(r.Waits)
	for _, p := range a.cluster.pods {
		if p.waits() && !p.initial {
			r.Waits = append(r.Waits, max(0, a.last.Sub(p.created)))
		}
	}
	slices.Sort(r.Waits)
	return r
}
