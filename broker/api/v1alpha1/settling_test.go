package v1alpha1

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nightCard has a 4g slice made of the first four of seven, and a GPU that is not cut.
func nightCard(state string, since time.Duration) *GPUNode {
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	n := &GPUNode{Status: GPUNodeStatus{
		Heartbeat: metav1.NewMicroTime(now),
		GPUs:      []GPUStatus{{UUID: "GPU-a", MIG: true, Healthy: true}, {UUID: "GPU-b", Healthy: true}},
	}}
	r := Reshape{ID: "r", GPU: "GPU-a", Create: []MIGPlacement{{Profile: 3, Name: "4g.20gb"}}}
	for start := range int32(4) {
		r.Destroy = append(r.Destroy, MIGPlacement{Name: "1g.5gb", Start: start})
	}
	n.Spec.Reshapes = []Reshape{r}
	if state != "" {
		n.Status.Reshapes = []ReshapeStatus{{ID: "r", State: state, Since: metav1.NewMicroTime(now.Add(-since))}}
	}
	made := MIGInstance{MIGPlacement: r.Create[0], State: InstanceReady}
	n.Status.GPUs[0].Instances = []MIGInstance{made}
	for start := int32(4); start < 7; start++ {
		n.Status.GPUs[0].Instances = append(n.Status.GPUs[0].Instances, MIGInstance{MIGPlacement: MIGPlacement{Name: "1g.5gb", Start: start}, State: InstanceReady})
	}
	return n
}

// A node settles from the first word of a change on until the kubelet has seen it, and
// never for longer than its agent waits for that.
func TestSettling(t *testing.T) {
	hour := time.Hour
	undo := func(n *GPUNode) { n.Spec.Reshapes[0].Undo = true }
	for name, tc := range map[string]struct {
		state  string
		since  time.Duration
		change func(*GPUNode)
		want   bool
	}{
		"asked for":           {want: true},
		"being made":          {state: ReshapeMaking, since: hour, want: true},
		"just made":           {state: ReshapeMade, since: time.Second, want: true},
		"made":                {state: ReshapeMade, since: JustSettled},
		"to be undone":        {state: ReshapeMade, since: hour, change: undo, want: true},
		"being undone":        {state: ReshapeUndoing, since: hour, change: undo, want: true},
		"undone by its agent": {state: ReshapeUndoing, since: hour, want: true},
		"just undone":         {state: ReshapeUndone, since: time.Second, change: undo, want: true},
		"undone":              {state: ReshapeUndone, since: hour, change: undo},
		"refused":             {state: ReshapeRefused, since: hour},
		"stuck":               {state: ReshapeStuck, since: time.Second, change: undo},
		"no change":           {change: func(n *GPUNode) { n.Spec.Reshapes = nil }},
		"the holder is there": {state: ReshapeUndoing, change: func(n *GPUNode) { undo(n); n.Status.GPUs[0].Instances[0].Holder = &GPUHolder{} }},
		"the holder of one that its agent undoes is there": {state: ReshapeUndoing, change: func(n *GPUNode) { n.Status.GPUs[0].Instances[0].Holder = &GPUHolder{} }},
		"the holder of one to be undone is there":          {state: ReshapeMade, since: hour, change: func(n *GPUNode) { undo(n); n.Status.GPUs[0].Instances[0].Holder = &GPUHolder{} }},
		"a process is there":                               {state: ReshapeUndoing, change: func(n *GPUNode) { undo(n); n.Status.GPUs[0].Instances[0].Processes = new(int32(1)) }},
		"no process is there":                              {state: ReshapeUndoing, change: func(n *GPUNode) { undo(n); n.Status.GPUs[0].Instances[0].Processes = new(int32(0)) }, want: true},
		"somebody is on another":                           {state: ReshapeUndoing, change: func(n *GPUNode) { undo(n); n.Status.GPUs[0].Instances[1].Holder = &GPUHolder{} }, want: true},
		"one goes there that has a pod":                    {state: ReshapeMaking, change: func(n *GPUNode) { n.Status.GPUs[0].Instances[0].Holder = &GPUHolder{} }, want: true},
		"the GPU is lost":                                  {state: ReshapeMaking, change: func(n *GPUNode) { n.Status.GPUs = n.Status.GPUs[1:] }},
		"MIG mode is off":                                  {state: ReshapeMaking, change: func(n *GPUNode) { n.Status.GPUs[0].MIG = false }},
		"by claims":                                        {state: ReshapeMaking, change: func(n *GPUNode) { n.Status.Allocation = AllocationDynamicResources }},
		"the agent may do nothing": {state: ReshapeMaking, change: func(n *GPUNode) {
			n.Status.Conditions = []metav1.Condition{{Type: GPUNodeReady, Status: metav1.ConditionFalse}}
		}},
		"the driver has just gone":                {state: ReshapeMaking, change: notReady("DriverUnavailable", time.Second)},
		"who holds the slices is not known":       {state: ReshapeMaking, change: notReady(ReasonHoldersUnknown, SilentAfter-time.Second), want: true},
		"who holds the slices was long not known": {state: ReshapeMaking, change: notReady(ReasonHoldersUnknown, SilentAfter)},
	} {
		t.Run(name, func(t *testing.T) {
			n := nightCard(tc.state, tc.since)
			if tc.change != nil {
				tc.change(n)
			}
			if n.Settling() != tc.want {
				t.Errorf("it settles: %t", !tc.want)
			}
		})
	}
}

// notReady is an agent that says for a time that it can do nothing.
func notReady(reason string, since time.Duration) func(*GPUNode) {
	return func(n *GPUNode) {
		n.Status.Conditions = []metav1.Condition{{
			Type: GPUNodeReady, Status: metav1.ConditionFalse, Reason: reason,
			LastTransitionTime: metav1.NewTime(n.Status.Heartbeat.Add(-since)),
		}}
	}
}

// That a node settled is remembered for a moment by whoever has seen it, and no longer.
func TestSettled(t *testing.T) {
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	var s Settled
	if s = s.See(false, at); s.Lately(at) || (Settled{}).Lately(time.Time{}) {
		t.Error("it was never seen to settle")
	}
	s = s.See(true, at)
	s = s.See(false, at.Add(time.Second))
	if !s.Lately(at) || !s.Lately(at.Add(JustSettled-1)) || s.Lately(at.Add(JustSettled)) {
		t.Errorf("what is known is %+v", s)
	}
}

// What is offered is what the agent knows to be there for pods to be given.
func TestOffers(t *testing.T) {
	const one, four, plus = corev1.ResourceName("nvidia.com/mig-1g.5gb"), corev1.ResourceName("nvidia.com/mig-4g.20gb"), corev1.ResourceName("nvidia.com/mig-1g.5gb.me")
	type counts = map[corev1.ResourceName]int64
	for name, tc := range map[string]struct {
		state       string
		change      func(*GPUStatus)
		has, offers counts
	}{
		"made": {ReshapeMade, nil, counts{one: 3, four: 1, WholeGPU: 1}, counts{one: 3, four: 1, WholeGPU: 1}},
		"some are about to go": {ReshapeMaking, func(gpu *GPUStatus) {
			gpu.Instances[0] = MIGInstance{MIGPlacement: MIGPlacement{Name: "1g.5gb", Start: 2}, State: InstanceReady}
		},
			counts{one: 3, WholeGPU: 1}, counts{one: 3, WholeGPU: 1}},
		"what was made is about to go": {ReshapeUndoing, nil, counts{one: 3, WholeGPU: 1}, counts{one: 3, WholeGPU: 1}},
		"another card's go": {ReshapeMaking, func(gpu *GPUStatus) {
			gpu.UUID, gpu.Instances[0] = "GPU-c", MIGInstance{MIGPlacement: MIGPlacement{Name: "1g.5gb", Start: 2}, State: InstanceReady}
		},
			counts{one: 4, WholeGPU: 1}, counts{one: 4, WholeGPU: 1}},
		"they are back": {ReshapeUndoing, func(gpu *GPUStatus) {
			gpu.Instances[0] = MIGInstance{MIGPlacement: MIGPlacement{Name: "1g.5gb", Start: 2}, State: InstanceReady}
		},
			counts{one: 4, WholeGPU: 1}, counts{one: 4, WholeGPU: 1}},
		"one is somebody else's": {ReshapeMade, func(gpu *GPUStatus) { gpu.Instances[1].State = InstanceForeign },
			counts{one: 3, four: 1, WholeGPU: 1}, counts{one: 2, four: 1, WholeGPU: 1}},
		"one is lost": {ReshapeMade, func(gpu *GPUStatus) { gpu.Instances[1].State = InstanceAbsent },
			counts{one: 2, four: 1, WholeGPU: 1}, counts{one: 2, four: 1, WholeGPU: 1}},
		"one is of another kind": {ReshapeMade, func(gpu *GPUStatus) { gpu.Instances[1].Name = "1g.5gb+me" },
			counts{one: 2, plus: 1, four: 1, WholeGPU: 1}, counts{one: 2, plus: 1, four: 1, WholeGPU: 1}},
		"the agent has a word for it": {ReshapeMade, func(gpu *GPUStatus) { gpu.Instances[0].Resource = string(one) },
			counts{one: 4, WholeGPU: 1}, counts{one: 4, WholeGPU: 1}},
		"the card is ill": {ReshapeMade, func(gpu *GPUStatus) { gpu.Healthy = false }, counts{one: 3, four: 1, WholeGPU: 1}, counts{WholeGPU: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			n := nightCard(tc.state, 0)
			if tc.change != nil {
				tc.change(&n.Status.GPUs[0])
			}
			has, offers := n.Offers()
			if diff := cmp.Diff([]counts{tc.has, tc.offers}, []counts{has, offers}); diff != "" {
				t.Errorf("has and offers (-want +got):\n%s", diff)
			}
		})
	}
	n := nightCard(ReshapeMade, 0)
	n.Spec.Reshapes[0].Undo = true
	if _, offers := n.Offers(); offers[four] != 0 || offers[one] != 3 {
		t.Errorf("it is to be undone, and offers %v", offers)
	}
	n = nightCard(ReshapeMade, 0)
	n.Status.GPUs[1].Healthy = false
	if has, offers := n.Offers(); has[WholeGPU] != 1 || offers[WholeGPU] != 0 {
		t.Errorf("it has %v and offers %v", has, offers)
	}
}
