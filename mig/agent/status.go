package agent

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/boards"
	"github.com/ebbtide/ebbtide/mig/device"
)

// publish writes the status, if it says something new or is due.
func (a *Agent) publish(ctx context.Context) error {
	status := a.status(ctx)
	return a.send(ctx, status)
}

// publishVerdict says that the GPUs could not be read, or may not be changed at all, and
// leaves all else as it was published, with the heartbeat that it had: what is old is
// unknown.
func (a *Agent) publishVerdict(ctx context.Context, ready Verdict) error {
	status := v1alpha1.GPUNodeStatus{}
	switch {
	case a.published != nil:
		status = *a.published.DeepCopy()
	case a.node != nil:
		status = *a.node.Status.DeepCopy()
	}
	a.conditions(ctx, &status, ready)
	status.Allocation = a.o.Allocation
	return a.send(ctx, status)
}

func (a *Agent) send(ctx context.Context, status v1alpha1.GPUNodeStatus) error {
	if before := a.published; before != nil && !a.doubted && status.Heartbeat.Sub(before.Heartbeat.Time) < a.o.Heartbeat && !settled(before, &status) {
		same := *before
		same.Heartbeat = status.Heartbeat
		if equality.Semantic.DeepEqual(same, status) {
			return nil
		}
	}
	if err := a.o.Nodes.Publish(ctx, status); err != nil {
		a.doubted = true // it may have been carried out
		return fmt.Errorf("publish the GPUNode: %w", err)
	}
	a.published, a.stands, a.doubted = &status, false, false
	a.heard.Store(true)
	a.metrics.heartbeat.SetToCurrentTime()
	return nil
}

// doubt looks whether what was published stands in the GPUNode as it was read now: it does
// not in one that was made anew, or that somebody has written since.
func (a *Agent) doubt(node *v1alpha1.GPUNode) {
	if a.published == nil {
		return
	}
	word, theirs := a.published.Heartbeat.Truncate(time.Microsecond), node.Status.Heartbeat.Truncate(time.Microsecond)
	switch {
	case a.node != nil && a.node.UID != node.UID:
		a.doubted = true
	case theirs.Equal(word):
		a.stands = true
	case a.stands: // else it was read from before that
		a.doubted = true
	}
}

// settled reports whether a change has ended just so long ago that its end is over since
// what was published before: whoever reads the GPUNode knows that by the heartbeat.
func settled(before, now *v1alpha1.GPUNodeStatus) bool {
	return slices.ContainsFunc(now.Reshapes, func(r v1alpha1.ReshapeStatus) bool {
		return (r.State == v1alpha1.ReshapeMade || v1alpha1.ReshapeOver(r.State)) &&
			before.Heartbeat.Sub(r.Since.Time) < v1alpha1.JustSettled && now.Heartbeat.Sub(r.Since.Time) >= v1alpha1.JustSettled
	})
}

func (a *Agent) status(ctx context.Context) v1alpha1.GPUNodeStatus {
	status := v1alpha1.GPUNodeStatus{
		Heartbeat:  metav1.NewMicroTime(a.o.Clock.Now()),
		Allocation: a.o.Allocation,
	}
	if describer, ok := a.o.Driver.(device.Describer); ok {
		if facts, err := describer.Describe(ctx); err == nil {
			status.Driver = facts.Driver
		}
	}
	for _, g := range a.gpus() {
		if geometry := a.geometry[g.UUID]; geometry != nil {
			status.Boards = addBoard(status.Boards, geometry)
		}
		status.GPUs = append(status.GPUs, a.gpuStatus(g))
	}
	for _, r := range a.journal.State.Reshapes {
		status.Reshapes = append(status.Reshapes, v1alpha1.ReshapeStatus{
			ID: r.Spec.ID, State: r.State, Message: short(r.Message), Since: metav1.NewMicroTime(r.Since),
			MakeMilliseconds: r.MakeMilliseconds, UndoMilliseconds: r.UndoMilliseconds, Recovered: r.Recovered,
		})
	}
	a.conditions(ctx, &status, a.verdict())
	a.metrics.state(status)
	return status
}

// verdict is the condition Ready while the GPUs are read.
func (a *Agent) verdict() Verdict {
	switch {
	case a.unwritten != nil:
		return Verdict{metav1.ConditionFalse, ReasonJournalWrite, a.unwritten.Error()}
	case a.rival.Status != metav1.ConditionTrue:
		return a.rival
	case a.seen.unknown != nil:
		return Verdict{metav1.ConditionFalse, ReasonHolders, "Who holds the slices is not known: " + a.seen.unknown.Error()}
	}
	return Verdict{metav1.ConditionTrue, ReasonReading, "The GPUs are read, and their layouts may be changed"}
}

func (a *Agent) conditions(ctx context.Context, status *v1alpha1.GPUNodeStatus, ready Verdict) {
	// Conditions keep the time of their last transition.
	switch {
	case a.published != nil:
		status.Conditions = slices.Clone(a.published.Conditions)
	case a.node != nil:
		status.Conditions = slices.Clone(a.node.Status.Conditions)
	}
	lendable := Verdict{metav1.ConditionUnknown, "NotExamined", "Nothing examines whether pods can reach GPUs that they were not given"}
	if a.o.Examiner != nil {
		lendable = a.o.Examiner.Lendable(ctx)
	}
	for name, v := range map[string]Verdict{v1alpha1.GPUNodeReady: ready, v1alpha1.GPUNodeLendable: lendable} {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: name, Status: v.Status, Reason: v.Reason, Message: short(v.Message),
			LastTransitionTime: metav1.NewTime(a.o.Clock.Now()),
		})
	}
	slices.SortFunc(status.Conditions, func(x, y metav1.Condition) int { return strings.Compare(x.Type, y.Type) })
}

// short keeps a message within what an API object is for.
func short(message string) string {
	const most = 1024
	if len(message) > most {
		return strings.ToValidUTF8(message[:most-3], "") + "..."
	}
	return message
}

// gpus are those that were read, and those of the journal that are not there any more.
func (a *Agent) gpus() []device.GPU {
	all := slices.Clone(a.seen.gpus)
	for _, j := range a.journal.State.GPUs {
		if a.seen.gpu(j.UUID) == nil {
			all = append(all, device.GPU{
				UUID: j.UUID, PCI: j.PCI, Product: j.Product, MemoryMiB: j.MemoryMiB, Problem: "the driver does not list it any more",
			})
		}
	}
	slices.SortFunc(all, func(x, y device.GPU) int { return strings.Compare(x.UUID, y.UUID) })
	return all
}

func (a *Agent) gpuStatus(g device.GPU) v1alpha1.GPUStatus {
	s := v1alpha1.GPUStatus{
		UUID: g.UUID, PCI: g.PCI, Product: g.Product, MemoryMiB: g.MemoryMiB, MIG: g.MIG,
		Healthy: g.Healthy, Problem: g.Problem,
	}
	if geometry := a.geometry[g.UUID]; geometry != nil {
		s.Board = geometry.Board
	}
	j := a.journal.State.GPU(g.UUID)
	if j != nil {
		for _, known := range j.Instances {
			s.Instances = append(s.Instances, a.instanceStatus(g, known))
		}
	}
	if j != nil && cut(&g) {
		s.Fingerprint = a.fingerprint(j)
	}
	if g.MIG {
		return s
	}
	if j != nil && g.Healthy && slices.ContainsFunc(j.Instances, func(i journal.Instance) bool { return !i.Foreign }) {
		s.Healthy = false
		s.Problem = "MIG mode is off, and with it the slices of the GPU are gone: an administrator must switch it on again"
	}
	if a.seen.unknown == nil && g.Healthy {
		if h, ok := a.seen.holders[g.UUID]; ok {
			s.Holder = &h
		}
		s.Processes = count(g.Processes)
	}
	s.Activity = activityStatus(a.activity[ActivityKey{g.UUID, -1}])
	return s
}

func (a *Agent) instanceStatus(g device.GPU, known journal.Instance) v1alpha1.MIGInstance {
	s := v1alpha1.MIGInstance{
		MIGPlacement: v1alpha1.MIGPlacement{
			Profile: int32(known.Profile), Name: known.Name, Start: int32(known.Start), Generation: known.Generation,
		},
		Resource: a.resource(g.UUID, known.Placed),
		State:    v1alpha1.InstanceAbsent,
	}
	i := a.seen.instance(g.UUID, known.Placed)
	if i == nil {
		s.Holder = a.claimant(g.UUID, known.Placed)
		return s
	}
	s.UUID = i.UUID
	switch {
	case known.Foreign:
		s.State = v1alpha1.InstanceForeign
	case a.stuckAt(g.UUID, known.Placed):
		s.State = v1alpha1.InstanceStuck
	case i.CI < 0:
		s.State = v1alpha1.InstanceRemnant
	default:
		s.State = v1alpha1.InstanceReady
	}
	// Who holds it and what runs on it go together: one without the other would look
	// idle.
	if a.seen.unknown == nil {
		if h, ok := a.holder(g.UUID, *i); ok {
			s.Holder = &h
		} else {
			s.Holder = a.claimant(g.UUID, known.Placed)
		}
		s.Processes = count(i.Processes)
	}
	s.Activity = activityStatus(a.activity[ActivityKey{g.UUID, i.GI}])
	return s
}

// claimant is the pod whose claim has a place, whether an instance is there or not: claims
// are of places, and what a pod is promised is what it gets. nil where a device plugin
// hands instances out, which may choose otherwise.
func (a *Agent) claimant(gpu string, at mig.Placed) *v1alpha1.GPUHolder {
	if a.o.Allocation != v1alpha1.AllocationDynamicResources {
		return nil
	}
	if h, ok := a.seen.holders[promised(gpu, a.profileName(gpu, at, ""), at.Start)]; ok {
		return &h
	}
	return nil
}

// stuckAt reports whether an instance is what a change is stuck at.
func (a *Agent) stuckAt(gpu string, at mig.Placed) bool {
	return slices.ContainsFunc(a.journal.State.Reshapes, func(r *journal.Reshape) bool {
		return r.State == v1alpha1.ReshapeStuck && r.Spec.GPU == gpu &&
			slices.ContainsFunc(r.Spec.Create, func(p v1alpha1.MIGPlacement) bool { return boards.Placed(p) == at })
	})
}

func count(processes []device.Process) *int32 {
	if processes == nil {
		return nil
	}
	return ptr.To(int32(len(processes)))
}

func activityStatus(x device.Activity) *v1alpha1.GPUActivity {
	s := v1alpha1.GPUActivity{
		Graphics: percent(x.Graphics), SM: percent(x.SM), Tensor: percent(x.Tensor), DRAM: percent(x.DRAM),
		MemoryUsedMiB: x.MemoryUsedMiB, Source: x.Source,
	}
	if s.Graphics == nil && s.SM == nil && s.Tensor == nil && s.DRAM == nil && s.MemoryUsedMiB == nil {
		return nil
	}
	return &s
}

func percent(share *float64) *int32 {
	if share == nil || math.IsNaN(*share) || *share < 0 || *share > 1.5 {
		return nil // no measurement
	}
	return ptr.To(int32(math.Round(100 * min(*share, 1))))
}

func addBoard(all []v1alpha1.MIGBoard, g *mig.Geometry) []v1alpha1.MIGBoard {
	if slices.ContainsFunc(all, func(b v1alpha1.MIGBoard) bool { return b.Name == g.Board }) {
		return all
	}
	all = append(all, boards.Said(g))
	slices.SortFunc(all, func(x, y v1alpha1.MIGBoard) int { return strings.Compare(x.Name, y.Name) })
	return all
}
