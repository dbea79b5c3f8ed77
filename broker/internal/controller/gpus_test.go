package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/gpunodes"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// What an agent says wakes the broker only if it can change a decision, and at once if a
// change of a layout has come further.
func TestGPUNodesWake(t *testing.T) {
	node := func() *v1alpha1.GPUNode {
		return &v1alpha1.GPUNode{
			ObjectMeta: metav1.ObjectMeta{Name: "gpu-0", Generation: 1},
			Status: v1alpha1.GPUNodeStatus{
				Conditions: []metav1.Condition{{Type: v1alpha1.GPUNodeLendable, Status: metav1.ConditionTrue, Reason: "Checked", Message: "3 checks"}},
				Reshapes:   []v1alpha1.ReshapeStatus{{ID: "r1", State: v1alpha1.ReshapeMaking}},
				GPUs: []v1alpha1.GPUStatus{{UUID: "GPU-a", Healthy: true, Fingerprint: "f", Instances: []v1alpha1.MIGInstance{{
					State: v1alpha1.InstanceReady, Processes: ptr.To[int32](1), Holder: &v1alpha1.GPUHolder{Namespace: "a", Name: "b"},
				}}}},
			},
		}
	}
	instance := func(n *v1alpha1.GPUNode) *v1alpha1.MIGInstance { return &n.Status.GPUs[0].Instances[0] }
	tests := []struct {
		name   string
		change func(*v1alpha1.GPUNode)
		want   urgency
	}{
		{"nothing", func(*v1alpha1.GPUNode) {}, never},
		{"a heartbeat", func(n *v1alpha1.GPUNode) { n.Status.Heartbeat = metav1.NewMicroTime(time.Unix(9, 0)) }, never},
		{"one process more", func(n *v1alpha1.GPUNode) { instance(n).Processes = ptr.To[int32](2) }, never},
		{"how busy it is", func(n *v1alpha1.GPUNode) { instance(n).Activity = &v1alpha1.GPUActivity{SM: ptr.To[int32](9)} }, never},
		{"another message", func(n *v1alpha1.GPUNode) { n.Status.Conditions[0].Message = "4 checks" }, never},
		{"no process", func(n *v1alpha1.GPUNode) { instance(n).Processes = ptr.To[int32](0) }, soon},
		{"processes unknown", func(n *v1alpha1.GPUNode) { instance(n).Processes = nil }, soon},
		{"no holder", func(n *v1alpha1.GPUNode) { instance(n).Holder = nil }, soon},
		{"another state", func(n *v1alpha1.GPUNode) { instance(n).State = v1alpha1.InstanceStuck }, soon},
		{"another layout", func(n *v1alpha1.GPUNode) { n.Status.GPUs[0].Fingerprint = "g" }, soon},
		{"not healthy", func(n *v1alpha1.GPUNode) { n.Status.GPUs[0].Healthy = false }, soon},
		{"not lendable", func(n *v1alpha1.GPUNode) { n.Status.Conditions[0].Status = metav1.ConditionFalse }, soon},
		{"another spec", func(n *v1alpha1.GPUNode) { n.Generation++ }, soon},
		{"a change has come further", func(n *v1alpha1.GPUNode) { n.Status.Reshapes[0].State = v1alpha1.ReshapeMade }, atOnce},
	}
	for _, test := range tests {
		old, new := node(), node()
		test.change(new)
		if got := (&watcher{}).changed(old, new); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// How busy GPUs are is not kept.
func TestGPUNodesAreSlim(t *testing.T) {
	busy := &v1alpha1.GPUActivity{SM: ptr.To[int32](9)}
	n := &v1alpha1.GPUNode{Status: v1alpha1.GPUNodeStatus{GPUs: []v1alpha1.GPUStatus{{
		UUID: "GPU-a", Activity: busy, Instances: []v1alpha1.MIGInstance{{State: v1alpha1.InstanceReady, Activity: busy}},
	}}}}
	if _, err := slim(n); err != nil {
		t.Fatal(err)
	}
	gpu := n.Status.GPUs[0]
	if gpu.Activity != nil || gpu.Instances[0].Activity != nil || gpu.UUID != "GPU-a" || gpu.Instances[0].State != v1alpha1.InstanceReady {
		t.Errorf("left is %+v", gpu)
	}
}

// unread is a ledger that cannot be read now.
type unread struct{}

func (unread) Head() (uint64, ledger.Hash) { return 1, ledger.Hash{} }
func (unread) Read(uint64, int) ([]ledger.Entry, error) {
	return nil, errors.New("the disk is slow")
}

// Nobody waits for what the ledger says of how long changes took.
func TestCostsThatAreNotRecalled(t *testing.T) {
	var said string
	nodes := &gpunodes.Nodes{}
	recallCosts(nodes, unread{}, funcr.New(func(_, args string) { said += args }, funcr.Options{}))
	if change, undo := nodes.Costs(time.Minute, time.Second); change != time.Minute || undo != time.Second {
		t.Errorf("changes take %s, and back %s", change, undo)
	}
	if !strings.Contains(said, "the disk is slow") {
		t.Errorf("it says %q", said)
	}
}
