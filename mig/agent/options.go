package agent

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Nodes is the API server, for one GPUNode.
type Nodes interface {
	// Get returns the GPUNode as it is known now; it makes an empty one where there is
	// none. The caller does not change it.
	Get(ctx context.Context) (*v1alpha1.GPUNode, error)
	// Publish makes status the GPUNode's.
	Publish(ctx context.Context, status v1alpha1.GPUNodeStatus) error
	// Changed has something to receive after the GPUNode's spec has changed.
	Changed() <-chan struct{}
}

// Holders says which pods a node's GPUs and slices were handed to.
type Holders interface {
	// Holders returns the pods by Device, or by Promised for an instance that a pod on the
	// node was promised and does not hold yet. Nobody holds what is not there; whoever
	// cannot say that returns an error.
	Holders(ctx context.Context) (map[string]v1alpha1.GPUHolder, error)
}

// Promised is the key in Holders of an instance by its place: as in the annotation
// ebbtide.dev/mig-instances, without the generation.
func Promised(gpu, profile string, start int) string {
	return promised(gpu, profile, start)
}

// Change is one change of the node's layouts that is to be made known.
type Change struct {
	// ID is the same as long as it is the same change.
	ID string
	// Resources are how many devices the node has after it of each extended resource that
	// it is about. Those that are gone are in it with 0.
	Resources map[string]int64
	// Doubtful are how many more there may be of them, on GPUs that are not healthy: only
	// who advertises them knows whether these count.
	Doubtful map[string]int64
}

// Advertiser makes the kubelet, and so the scheduler, see what slices there are.
type Advertiser interface {
	// Withdraw keeps MIG devices, by UUID, from being handed out, as far as that can be.
	Withdraw(ctx context.Context, uuids []string) error
	// Advertise makes a change known, and says whether it is. Until then it is called
	// again, with the same change; after a crash maybe from the beginning.
	Advertise(ctx context.Context, change Change) (bool, error)
}

// Rival says whether another program changes the layouts of the node's GPUs.
type Rival interface {
	// Rival names the other program; empty if there is none.
	Rival(ctx context.Context) (string, error)
}

// Verdict is the content of a condition.
type Verdict struct {
	Status          metav1.ConditionStatus
	Reason, Message string
}

// Examiner says whether the node keeps pods from GPUs that they were not given.
type Examiner interface {
	// Lendable is the condition of that name.
	Lendable(ctx context.Context) Verdict
}

// Activities says how busy instances are where the driver cannot.
type Activities interface {
	// Activity of GPUs, by their UUIDs, and of instances on them. What is not known is not
	// there.
	Activity(ctx context.Context, gpus []string) (map[ActivityKey]device.Activity, error)
}

// ActivityKey is an instance by its GPU and the driver's number; GI is -1 for a whole
// GPU.
type ActivityKey struct {
	GPU string
	GI  int
}

// Options are what an Agent is made of. Those without a default are required.
type Options struct {
	// Node is the name of the node.
	Node string
	// StateDir is the folder of the journal, which outlives the agent and the node's
	// reboots.
	StateDir string

	Driver     device.Driver
	Nodes      Nodes
	Holders    Holders
	Advertiser Advertiser
	// Rival; nil: there is none.
	Rival Rival
	// Examiner; nil: Lendable is Unknown.
	Examiner Examiner
	// Activities; nil: what the driver says.
	Activities Activities
	// Allocation; DevicePlugin by default.
	Allocation v1alpha1.Allocation

	// Clock; the real one by default.
	Clock clock.WithTicker
	// Interval between rounds; 2 s by default. Heartbeat is how often the status is
	// published although nothing has changed, and how often activity is read; 30 s.
	Interval  time.Duration
	Heartbeat time.Duration
	// Metrics to register with; nil: none.
	Metrics prometheus.Registerer
	Log     logr.Logger
	// Failpoint is called after every step in Failpoints, by its name. Tests end the agent
	// there.
	Failpoint func(step string)
	// Know is told the board that a GPU's driver describes, once for each GPU, for
	// comparison with what is known of it.
	Know func(gpu device.GPU)
}

func (o Options) complete() (Options, error) {
	var missing []error
	for name, there := range map[string]bool{
		"Node": o.Node != "", "StateDir": o.StateDir != "", "Driver": o.Driver != nil,
		"Nodes": o.Nodes != nil, "Holders": o.Holders != nil, "Advertiser": o.Advertiser != nil,
	} {
		if !there {
			missing = append(missing, errors.New("the agent needs "+name))
		}
	}
	if len(missing) > 0 {
		return o, errors.Join(missing...)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.Allocation = cmp.Or(o.Allocation, v1alpha1.AllocationDevicePlugin)
	o.Interval = cmp.Or(o.Interval, 2*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, 30*time.Second)
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	return o, nil
}

// Maker makes and unmakes single instances, for dynamic allocation.
type Maker interface {
	// Make creates an instance, or returns the one that it has made at the place already,
	// with its generation.
	Make(ctx context.Context, gpu string, at mig.Placed) (device.Instance, int64, error)
	// Unmake destroys an instance of the agent's on which there is no process. One that is
	// not there is none to destroy.
	Unmake(ctx context.Context, gpu string, at mig.Placed) error
}
