package ebbtide

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// reshaped is a reshape on a scene's node whose undoing brings units back that the pod
// asks for.
type reshaped struct {
	*migslices.Reshape
	// loans must end before it is undone; none: it is being undone, and what it made is
	// nobody's. One that nobody has stands for itself (see asLoan).
	loans []*v1alpha1.Loan
}

// comes reports whether the units come back once the loans that gone accepts have ended.
func (r *reshaped) comes(gone func(*v1alpha1.Loan) bool) bool {
	return !slices.ContainsFunc(r.loans, func(loan *v1alpha1.Loan) bool { return !gone(loan) })
}

// findReshaped notes the scene's reshapes, and what can be taken back for their sake:
// the loans that have what was made, or the reshapes themselves. One that is held by
// somebody who stays, one that is stuck and one whose node is silent bring nothing.
func (p *Ebbtide) findReshaped(c *cycle, s *scene, node fwk.NodeInfo, leaving []fwk.PodInfo, now time.Time) {
	name := node.Node().Name
	n := p.cards.on(name)
	if !n.Fresh(now) || len(n.Reshapes) == 0 {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(node.GetPods()), func(info fwk.PodInfo) bool {
		return slices.ContainsFunc(leaving, func(gone fwk.PodInfo) bool { return gone.GetPod().UID == info.GetPod().UID })
	})
	room := p.roomOn(n, "", stay)
	promises := p.promisesOn(node)
	for i := range n.Reshapes {
		r := &n.Reshapes[i]
		if r.Stuck() || !slices.ContainsFunc(c.requests, func(ask book.Request) bool { return ask.Resource == r.From }) {
			continue
		}
		if loans, ok := p.inTheWay(s, name, r, room.Takes(i), promises, now); ok {
			s.reshaped = append(s.reshaped, reshaped{r, loans})
		}
	}
}

// inTheWay returns the loans that must end before the reshape can be undone; those of
// them that the scene does not know yet become takeable. ok is false if that is not in
// the scheduler's hands.
func (p *Ebbtide) inTheWay(s *scene, node string, r *migslices.Reshape, holders []types.UID, promises []promise, now time.Time) (loans []*v1alpha1.Loan, ok bool) {
	for _, pod := range holders {
		at := slices.IndexFunc(s.takeable, func(t takeable) bool {
			return slices.ContainsFunc(t.pods, func(info fwk.PodInfo) bool { return info.GetPod().UID == pod })
		})
		if at < 0 {
			return nil, false
		}
		if loan := s.takeable[at].loan; !slices.Contains(loans, loan) {
			loans = append(loans, loan)
		}
	}
	key := reshapeKey{node, r.ID}
	switch {
	case len(loans) > 0:
		return loans, true
	case r.Undo || p.undos.has(key):
		return nil, !now.After(p.undos.unheld(key, now).Add(undoTakes(r) + overdue))
	}
	loan := promisedTo(promises, node, r)
	if loan == nil {
		loan = asLoan(key, r)
	}
	if !slices.ContainsFunc(s.takeable, func(t takeable) bool { return t.loan.UID == loan.UID }) {
		s.takeable = append(s.takeable, takeable{loan: loan})
	}
	return []*v1alpha1.Loan{loan}, true
}

// promise is how many more pods an open loan may start on a node.
type promise struct {
	loan *v1alpha1.Loan
	pods int64
}

// promisesOn returns the node's open loans with pods that are still to start there,
// oldest first.
func (p *Ebbtide) promisesOn(info fwk.NodeInfo) []promise {
	var out []promise
	for _, loan := range p.book.LoansOn(info.Node().Name) {
		resource := corev1.ResourceName(loan.Spec.Resource)
		if !migslices.Is(resource) || p.whyNoLoan(loan) != "" {
			continue
		}
		if units := due(loan, info.Node().Name, resource, p.usedByJob(info, resource)); units > 0 {
			out = append(out, promise{loan, units / max(1, loan.Spec.UnitsPerPod)})
		}
	}
	return out
}

// promisedTo returns the loan whose next pod gets what the reshape made, and takes that
// off the promises: first one of the job that it was made for, then the oldest; nil if
// nobody is to get it.
func promisedTo(promises []promise, node string, r *migslices.Reshape) *v1alpha1.Loan {
	best := -1
	for i := range promises {
		lent := slices.ContainsFunc(promises[i].loan.Keeps(), func(g v1alpha1.Grant) bool {
			return g.Node == node && g.Lender == r.Lender && g.Flavor == r.To
		})
		if !lent || promises[i].pods <= 0 {
			continue
		}
		if job := promises[i].loan.Spec.Job.UID; best < 0 || job == r.JobUID && promises[best].loan.Spec.Job.UID != r.JobUID {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	promises[best].pods--
	return promises[best].loan
}

// reshapeUID is what the UIDs of loans that stand for reshapes begin with.
const reshapeUID = "reshape/"

// asLoan returns a loan to nobody that stands for a reshape of which nobody has what was
// made: it is among those that can be taken back, and costs nothing.
func asLoan(key reshapeKey, r *migslices.Reshape) *v1alpha1.Loan {
	return &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{
			Name: key.id, Namespace: reshapeUID + key.node, UID: types.UID(reshapeUID + key.node + "/" + key.id),
			CreationTimestamp: metav1.NewTime(r.Since),
		},
		Spec: v1alpha1.LoanSpec{Grants: []v1alpha1.Grant{{Lender: r.Lender, Node: key.node, Flavor: r.To, Count: 1}}},
	}
}

// nobodys returns the reshape that the loan stands for, if it stands for one.
func nobodys(loan *v1alpha1.Loan) (key reshapeKey, ok bool) {
	rest, ok := strings.CutPrefix(string(loan.UID), reshapeUID)
	if !ok {
		return reshapeKey{}, false
	}
	key.node, key.id, ok = strings.Cut(rest, "/")
	return key, ok
}

// bringBack puts on the node of a scene, as it is after some loans have ended, the units
// of those of the scene's reshapes that nobody stands in the way of then.
func (p *Ebbtide) bringBack(after, s *scene, gone func(*v1alpha1.Loan) bool) {
	c, ok := readCycle(after.state)
	if !ok {
		return
	}
	var changed []corev1.ResourceName
	more := false
	for i := range s.reshaped {
		r := &s.reshaped[i]
		switch {
		case c.undone[r.ID]:
		case !r.comes(gone):
			continue
		default:
			if more = true; c.undone == nil {
				c.undone = map[string]bool{}
			}
			c.undone[r.ID] = true
		}
		changed = append(changed, r.From, r.Resource)
	}
	if !more {
		return
	}
	n, node := p.cards.on(s.name()), *s.now.Node()
	allocatable := corev1.ResourceList{}
	maps.Copy(allocatable, node.Status.Allocatable)
	node.Status.Allocatable = allocatable
	for _, name := range changed {
		now := s.now.GetAllocatable().GetScalarResources()[name]
		allocatable[name] = *resource.NewQuantity(n.Allocatable(name, now, c.isUndone), resource.DecimalSI)
	}
	after.info.SetNode(&node)
}

// bringsBack returns the units that come back with the end of the loan. Where several
// loans have what one reshape made, each is told a part; the filters know the rest.
func (s *scene) bringsBack(loan *v1alpha1.Loan) map[corev1.ResourceName]int64 {
	var out map[corev1.ResourceName]int64
	for i := range s.reshaped {
		r := &s.reshaped[i]
		at := slices.Index(r.loans, loan)
		if at < 0 {
			continue
		}
		if out == nil {
			out = map[corev1.ResourceName]int64{}
		}
		among := int64(len(r.loans))
		out[r.From] += r.Count / among
		if at == 0 {
			out[r.From] += r.Count % among
		}
	}
	return out
}

// withReshaped adds the nodes where units of what the pod asks for were made into others,
// or are not offered while a change becomes known: the filters may have told that such a
// node never had enough.
func (p *Ebbtide) withReshaped(c *cycle, nodes []fwk.NodeInfo) ([]fwk.NodeInfo, error) {
	if len(slicesAsked(c.requests)) == 0 {
		return nodes, nil
	}
	all, err := p.handle.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return nil, err
	}
	known, now := map[string]bool{}, p.clock.Now()
	for _, info := range nodes {
		known[info.Node().Name] = true
	}
	for _, info := range all {
		n := p.cards.on(info.Node().Name)
		if n == nil || known[n.Name] || whyNotTenantNode(c, info.Node()) != "" {
			continue
		}
		if p.advertised(info, now) != info || slices.ContainsFunc(n.Reshapes, func(r migslices.Reshape) bool {
			return slices.ContainsFunc(c.requests, func(ask book.Request) bool { return ask.Resource == r.From })
		}) {
			nodes = append(nodes, info)
		}
	}
	return nodes, nil
}

// takeBackAll takes the loans back, and has the reshapes on the scenes undone that none
// but these stand in the way of.
func (p *Ebbtide) takeBackAll(ctx context.Context, loans []*v1alpha1.Loan, scenes []*scene) {
	for _, loan := range loans {
		if _, idle := nobodys(loan); !idle {
			p.reclaim(ctx, loan, lentMessage)
		}
	}
	for _, s := range scenes {
		for i := range s.reshaped {
			r := &s.reshaped[i]
			if len(r.loans) > 0 && r.comes(func(loan *v1alpha1.Loan) bool { return slices.Contains(loans, loan) }) {
				p.undo(ctx, reshapeKey{s.name(), r.ID})
			}
		}
	}
}

// assumedUndo is how long undoing a reshape is taken to last of which the broker did not
// say: as it takes it by default.
const assumedUndo = 20 * time.Second

// undoTakes returns how long undoing the reshape takes.
func undoTakes(r *migslices.Reshape) time.Duration { return cmp.Or(r.UndoTakes, assumedUndo) }
