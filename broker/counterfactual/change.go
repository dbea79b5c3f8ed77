package counterfactual

import (
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/quota"
)

// Kind says what is changed. The set is closed.
type Kind string

// The kinds, in the order in which Nearest tries them.
const (
	FewerPods        Kind = "FewerPods"        // a smaller gang
	FewerUnitsPerPod Kind = "FewerUnitsPerPod" // fewer units on each node
	OtherFlavor      Kind = "OtherFlavor"      // another flavor of its tenant's quota
	BorrowingLimit   Kind = "BorrowingLimit"   // a higher one, of its tenant or of a cohort above
	LenderWait       Kind = "LenderWait"       // the time that services wait before they lend is over
	LenderLends      Kind = "LenderLends"      // services that only advise lend
	Resume           Kind = "Resume"           // its queue, or services, are paused no more
	Priority         Kind = "Priority"         // a higher one
	FreeUnits        Kind = "FreeUnits"        // so many more in its cohort
)

// Kinds are all, in their order.
func Kinds() []Kind {
	return []Kind{FewerPods, FewerUnitsPerPod, OtherFlavor, BorrowingLimit, LenderWait, LenderLends, Resume, Priority, FreeUnits}
}

// Change is one thing that is otherwise. Which fields are set depends on Kind.
type Change struct {
	Kind Kind `json:"kind"`
	// Text is one sentence for the job's tenant.
	Text string `json:"text"`

	Pods        int64 `json:"pods,omitempty"`
	UnitsPerPod int64 `json:"unitsPerPod,omitempty"`
	// Flavor of OtherFlavor, BorrowingLimit and FreeUnits.
	Flavor string `json:"flavor,omitempty"`
	// Limit is the new one, of Cohort or, where that is empty, of the job's tenant.
	Limit  int64  `json:"limit,omitempty"`
	Cohort string `json:"cohort,omitempty"`
	// At is when the last wait that counts is over.
	At time.Time `json:"at,omitzero"`
	// Lender is the last of those that lend then, namespace/name; empty where it is of
	// another tenant. Services is how many there are.
	Lender   string `json:"lender,omitempty"`
	Services int    `json:"services,omitempty"`
	Queue    string `json:"queue,omitempty"`
	Priority *int32 `json:"priority,omitempty"`
	// Units that are free in addition, on so many Nodes.
	Units int64 `json:"units,omitempty"`
	Nodes int64 `json:"nodes,omitempty"`

	// lenders are all services that it is about, whosever they are.
	lenders []string
}

// Make returns the snapshot and the memory with the change made for a job. What it is given
// stays as it is. Without such a job nothing is changed.
func (c *Change) Make(in lend.Snapshot, prev lend.State, uid string) (lend.Snapshot, lend.State) {
	at, found := find(&in, uid)
	if !found {
		return in, prev
	}
	switch c.Kind {
	case FewerPods, FewerUnitsPerPod, OtherFlavor, Priority:
		in.Jobs = slices.Clone(in.Jobs)
		c.reshape(&in.Jobs[at])
	case BorrowingLimit:
		c.raise(&in, in.Jobs[at].Tenant)
	case LenderWait:
		prev = c.passTime(&in, prev)
	case LenderLends:
		c.each(&in, func(l *lend.Lender) { l.Advise = false })
	case Resume:
		if c.Queue == "" {
			c.each(&in, func(l *lend.Lender) { l.Hold = nil })
			break
		}
		in.Queues = slices.Clone(in.Queues)
		for i := range in.Queues {
			if in.Queues[i].Name == c.Queue {
				in.Queues[i].Paused = false
			}
		}
	case FreeUnits:
		c.addFree(&in, &in.Jobs[at])
	}
	return in, prev
}

func find(in *lend.Snapshot, uid string) (int, bool) {
	return slices.BinarySearchFunc(in.Jobs, uid, func(j lend.Job, uid string) int { return strings.Compare(j.UID, uid) })
}

// reshape changes what the job asks for. What it draws on limits goes with its pods.
func (c *Change) reshape(j *lend.Job) {
	switch c.Kind {
	case FewerPods:
		j.Draws = slices.Clone(j.Draws)
		for i := range j.Draws {
			d := &j.Draws[i]
			d.Amount = int64(quota.Amount(max(d.Amount, 0)).Times(c.Pods).Add(quota.Amount(j.Pods-1))) / j.Pods
		}
		j.Pods, j.MinPods = c.Pods, min(j.MinPods, c.Pods)
	case FewerUnitsPerPod:
		j.UnitsPerPod = c.UnitsPerPod
	case OtherFlavor:
		j.Flavor = c.Flavor
	case Priority:
		j.Priority = *c.Priority
	}
}

// raise sets the limit of the tenant, or of the cohort that is named.
func (c *Change) raise(in *lend.Snapshot, tenant string) {
	if c.Cohort == "" {
		in.Tenants = slices.Clone(in.Tenants)
		for i := range in.Tenants {
			if t := &in.Tenants[i]; t.Name == tenant {
				t.Quotas = c.limited(t.Quotas)
			}
		}
		return
	}
	in.Cohorts = slices.Clone(in.Cohorts)
	for i := range in.Cohorts {
		if o := &in.Cohorts[i]; o.Name == c.Cohort {
			o.Quotas = c.limited(o.Quotas)
		}
	}
}

func (c *Change) limited(quotas []lend.Quota) []lend.Quota {
	quotas = slices.Clone(quotas)
	for i := range quotas {
		if q := &quotas[i]; q.Flavor == c.Flavor {
			limit := c.Limit
			q.BorrowingLimit = &limit
		}
	}
	return quotas
}

// passTime ends the waits of the services, as if time had passed in which nothing else
// happened.
func (c *Change) passTime(in *lend.Snapshot, prev lend.State) lend.State {
	c.each(in, func(l *lend.Lender) { l.Dwell, l.Cooldown = 0, 0 })
	prev.Lenders, prev.Since = slices.Clone(prev.Lenders), time.Time{}
	for i := range prev.Lenders {
		if m := &prev.Lenders[i]; slices.Contains(c.lenders, m.Name) {
			m.LastUnknown = time.Time{}
		}
	}
	return prev
}

func (c *Change) each(in *lend.Snapshot, change func(*lend.Lender)) {
	in.Lenders = slices.Clone(in.Lenders)
	for i := range in.Lenders {
		if l := &in.Lenders[i]; slices.Contains(c.lenders, l.Name) {
			change(l)
		}
	}
}

// added is how what is added is called: behind all that a cluster may call something.
const added = "~free"

// addFree adds nodes with nothing on them, and the quota for their units: to the cohort of
// the job's tenant, where whoever may borrow does, or to the tenant itself if it has none.
func (c *Change) addFree(in *lend.Snapshot, j *lend.Job) {
	size, left := nodeSize(in, j), c.Units
	in.Nodes = slices.Clone(in.Nodes)
	for n := 0; left > 0; n++ {
		units := min(left, size)
		left -= units
		in.Nodes = append(in.Nodes, lend.Node{
			Name: added + "-" + digits(n), Schedulable: true, Units: []lend.Units{{Flavor: j.Flavor, Capacity: units}},
		})
	}
	cohort := ""
	in.Tenants = slices.Clone(in.Tenants)
	for i := range in.Tenants {
		t := &in.Tenants[i]
		if t.Name != j.Tenant {
			continue
		}
		if cohort = t.Cohort; cohort != "" {
			break
		}
		t.Quotas = slices.Clone(t.Quotas)
		for k := range t.Quotas {
			if q := &t.Quotas[k]; q.Flavor == j.Flavor {
				q.Nominal += c.Units
			}
		}
	}
	if cohort != "" {
		in.Tenants = append(in.Tenants, lend.Tenant{Name: added, Cohort: cohort, Quotas: []lend.Quota{{Flavor: j.Flavor, Nominal: c.Units}}})
	}
}

// nodeSize is how many units of the job's flavor a node has at most, and at least a pod's.
func nodeSize(in *lend.Snapshot, j *lend.Job) int64 {
	size := max(j.UnitsPerPod, 1)
	for i := range in.Nodes {
		for _, u := range in.Nodes[i].Units {
			if u.Flavor == j.Flavor {
				size = max(size, u.Capacity)
			}
		}
	}
	return size
}

// digits are as many for every number below a million, so that names are in its order.
func digits(n int) string {
	const zeros = "000000"
	var buf [len(zeros)]byte
	copy(buf[:], zeros)
	for i := len(buf) - 1; i >= 0 && n > 0; i-- {
		buf[i] = byte('0' + n%10)
		n /= 10
	}
	return string(buf[:])
}
