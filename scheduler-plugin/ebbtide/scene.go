package ebbtide

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// overdue is how long past its grace a terminating pod is still expected to go.
// Later it counts as stuck: its units are not coming free.
const overdue = 30 * time.Second

// slack is how much longer than its grace a terminating pod may take and still
// count as coming free in time.
const slack = 5 * time.Second

// handover is how much longer than for units that nobody asked back the plugin
// waits for a broker that asked for them: time to read, decide and write.
const handover = 5 * time.Second

// scene is a node as it will be when everything that is leaving has left.
type scene struct {
	info  fwk.NodeInfo
	state fwk.CycleState
	// now is the node as it is.
	now fwk.NodeInfo
	// fits: the pod passes all filters here once what is leaving has left.
	fits bool
	// fitsWithout: it would, if all takeable pods left too.
	fitsWithout bool
	// takeable are the pods of open loans that can be taken back, by loan.
	takeable []takeable
	// stalled are loans asked back whose pods nobody has told to stop.
	stalled []*v1alpha1.Loan
	// strays are pods that need a loan and have none.
	strays []*corev1.Pod
	// reshaped are the changes of the node's cards that took units which the pod asks for.
	reshaped []reshaped
}

// takeable is what one loan has on one node: pods, or for a bare pod below online
// priority perhaps only units that no pod has taken yet.
type takeable struct {
	loan *v1alpha1.Loan
	pods []fwk.PodInfo
}

func (s *scene) name() string { return s.info.Node().Name }

// fate is what becomes of a pod that stands on a node.
type fate int

const (
	stays    fate = iota // it is not the plugin's to move
	leaves               // it is on its way out
	stalled              // it should be on its way out, and is not
	strays               // it runs without the loan that it was started on
	takeBack             // it can be taken back
)

// fateOf says what becomes of a pod, given its loan (nil if none).
//
// A pod on its way out counts as coming free only if it is gone within the grace
// that a pod of its loan would get now. Nobody waits for one whose owner stopped
// it with an hour's grace: it is judged as if it still ran.
//
// A pod of a queued job that this scheduler placed was on a loan. One that has none
// any more was cut off from its job (a tenant may edit its owners): that keeps no
// units. Pods that others placed are not the plugin's to judge.
func (p *Ebbtide) fateOf(pod *corev1.Pod, loan *v1alpha1.Loan, now time.Time) fate {
	if due, leaving := p.due(pod, loan, now); leaving {
		switch {
		case now.After(due.Add(overdue)):
			return stays
		case !due.After(now.Add(p.longestGrace(loan) + slack)):
			return leaves
		}
	}
	if loan == nil {
		return p.fateOfBare(pod, now)
	}
	reclaiming, late := p.askedBack(loan, now)
	switch {
	case p.takenBack(loan) || late:
		return stalled
	case reclaiming:
		return leaves
	case !book.Lent(loan):
		return stays
	case p.suspended(loan):
		return stalled
	}
	return takeBack
}

// fateOfBare is fateOf for a pod without a loan.
func (p *Ebbtide) fateOfBare(pod *corev1.Pod, now time.Time) fate {
	needs, known := p.queued(pod)
	switch {
	case p.taken.hasPod(pod.UID):
		return leaves
	case needs && (known || p.orphaned(pod, now)) && slices.Contains(p.profiles.list(p.handle.ProfileName()), pod.Spec.SchedulerName):
		return strays
	}
	return stays
}

// due returns when a pod that was told to stop will be gone, and whether it was.
// A grace that was shortened counts from the first deletion, which may be long
// past: then the notice written to the pod says until when it may take.
func (p *Ebbtide) due(pod *corev1.Pod, loan *v1alpha1.Loan, now time.Time) (time.Time, bool) {
	if pod.DeletionTimestamp == nil {
		return time.Time{}, false
	}
	due := pod.DeletionTimestamp.Time
	notice, err := time.Parse(time.RFC3339, pod.Annotations[v1alpha1.AnnotationReclaimBy])
	if err == nil && due.Before(now) && notice.After(due) && !notice.After(now.Add(p.longestGrace(loan)+slack)) {
		return notice, true
	}
	return due, true
}

// askedBack reports whether the broker asked the loan back, and whether the pods
// should have been told to stop by now: the broker gets takeBackAfter and a
// handover for that, but no longer than it granted the pods.
func (p *Ebbtide) askedBack(loan *v1alpha1.Loan, now time.Time) (reclaiming, late bool) {
	since, reclaiming := book.ReclaimingSince(loan)
	if !reclaiming {
		return false, false
	}
	patience := since.Add(p.args.TakeBackAfter + handover)
	if by := loan.Status.ReclaimBy; by != nil && by.Time.Before(patience) {
		patience = by.Time
	}
	return true, !now.Before(patience)
}

// scenes looks at the nodes, and returns those where something is leaving or can be
// taken back, by name.
func (p *Ebbtide) scenes(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo, now time.Time) ([]*scene, error) {
	var out []*scene
	for _, node := range nodes {
		s, err := p.scene(ctx, state, pod, node, now)
		if err != nil {
			return nil, fmt.Errorf("look at node %s: %w", node.Node().Name, err)
		}
		if s != nil {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name() < out[j].name() })
	return out, nil
}

func (p *Ebbtide) scene(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, node fwk.NodeInfo, now time.Time) (*scene, error) {
	s, leaving, over := p.sortOut(node, now)
	if c, ok := readCycle(state); ok {
		for _, loan := range p.keepers(c, node.Node().Name) {
			isIt := func(t takeable) bool { return t.loan.UID == loan.UID }
			if !slices.Contains(over, loan) && !slices.ContainsFunc(s.takeable, isIt) {
				s.takeable = append(s.takeable, takeable{loan: loan})
			}
		}
		p.findReshaped(c, s, node, leaving, now)
	}
	here := p.advertised(node, now)
	if len(leaving) == 0 && len(s.takeable) == 0 && len(s.reshaped) == 0 && here == node {
		return nil, nil
	}
	sort.Slice(s.takeable, func(i, j int) bool { return book.Before(s.takeable[i].loan, s.takeable[j].loan) })
	s.now = p.counted(here)
	s.info, s.state = s.now.Snapshot(), state.Clone()
	endIn(s.state, over...)
	p.awaitChanges(s, node.Node().Name, now)
	if err := p.remove(ctx, pod, s, leaving); err != nil {
		return nil, err
	}
	p.bringBack(s, s, func(*v1alpha1.Loan) bool { return false })
	s.fits = p.handle.RunFilterPluginsWithNominatedPods(ctx, s.state, pod, s.info).IsSuccess()
	if s.fits || len(s.takeable) == 0 {
		return s, nil
	}
	var err error
	_, s.fitsWithout, err = p.fitsWithout(ctx, pod, s, func(*v1alpha1.Loan) bool { return true })
	return s, err
}

// sortOut says which of the node's pods are leaving, and which can be taken back.
// over are the loans that are on their way out with them.
func (p *Ebbtide) sortOut(node fwk.NodeInfo, now time.Time) (s *scene, leaving []fwk.PodInfo, over []*v1alpha1.Loan) {
	s = &scene{}
	resources := p.account.Resources()
	at := map[types.UID]int{}
	for _, info := range node.GetPods() {
		loan := p.book.LoanOf(info.GetPod())
		switch p.fateOf(info.GetPod(), loan, now) {
		case stays:
		case stalled:
			leaving = append(leaving, info)
			if !slices.Contains(s.stalled, loan) {
				s.stalled, over = append(s.stalled, loan), append(over, loan)
			}
		case leaves:
			leaving = append(leaving, info)
			if loan != nil && p.suspended(loan) {
				over = append(over, loan)
			}
		case strays:
			if len(book.Requests(info.GetPod(), resources)) > 0 {
				leaving, s.strays = append(leaving, info), append(s.strays, info.GetPod())
			}
		case takeBack:
			i, seen := at[loan.UID]
			if !seen {
				i, at[loan.UID] = len(s.takeable), len(s.takeable)
				s.takeable = append(s.takeable, takeable{loan: loan})
			}
			s.takeable[i].pods = append(s.takeable[i].pods, info)
		}
	}
	return s, leaving, over
}

// fitsWithout reports whether the pod passes all filters on the scene's node
// once the loans that gone accepts have left it, and returns the node as it is then.
func (p *Ebbtide) fitsWithout(ctx context.Context, pod *corev1.Pod, s *scene, gone func(*v1alpha1.Loan) bool) (after *scene, ok bool, err error) {
	after = &scene{info: s.info.Snapshot(), state: s.state.Clone()}
	for _, t := range s.takeable {
		if gone(t.loan) {
			endIn(after.state, t.loan)
			if err := p.remove(ctx, pod, after, t.pods); err != nil {
				return nil, false, err
			}
		}
	}
	p.bringBack(after, s, gone)
	return after, p.handle.RunFilterPluginsWithNominatedPods(ctx, after.state, pod, after.info).IsSuccess(), nil
}

// remove takes pods off the scene's node, and tells the other plugins.
func (p *Ebbtide) remove(ctx context.Context, pod *corev1.Pod, s *scene, pods []fwk.PodInfo) error {
	logger := klog.FromContext(ctx)
	for _, info := range pods {
		if err := s.info.RemovePod(logger, info.GetPod()); err != nil {
			return fmt.Errorf("take pod %s off: %w", klog.KObj(info.GetPod()), err)
		}
		if status := p.handle.RunPreFilterExtensionRemovePod(ctx, s.state, pod, info, s.info); !status.IsSuccess() {
			return fmt.Errorf("take pod %s off: %w", klog.KObj(info.GetPod()), status.AsError())
		}
	}
	return nil
}
