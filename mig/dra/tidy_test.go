package dra

import (
	"errors"
	"os"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/device"
)

// A claim whose end the driver did not hear of is let go, and nothing else is.
func TestTidy(t *testing.T) {
	noAnswer := errors.New("no answer")
	for name, c := range map[string]struct {
		// happens while the driver is not there.
		happens func(s *stage, c *fakeCluster)
		kept    bool
		fails   error
	}{
		"nothing":              {func(*stage, *fakeCluster) {}, true, nil},
		"gone":                 {func(_ *stage, c *fakeCluster) { c.claims = nil }, false, nil},
		"another has its name": {func(_ *stage, c *fakeCluster) { c.claims[0].UID = "later" }, false, nil},
		"not allocated":        {func(_ *stage, c *fakeCluster) { c.claims[0].Status.Allocation = nil }, false, nil},
		"reserved for nobody":  {func(_ *stage, c *fakeCluster) { c.claims[0].Status.ReservedFor = nil }, false, nil},
		"on another node": {func(_ *stage, c *fakeCluster) {
			c.claims[0].Status.Allocation.Devices.Results[0].Pool = "other"
		}, false, nil},
		"the API server is silent": {func(_ *stage, c *fakeCluster) { c.silent = noAnswer }, true, noAnswer},
		"gone, and its pod is not": {func(_ *stage, c *fakeCluster) {
			c.claims, c.pods = nil, []corev1.Pod{podOf("c", "node")}
		}, true, nil},
		"gone, and a process is on it": {func(s *stage, c *fakeCluster) {
			c.claims, s.maker.refuse = nil, device.ErrInUse
		}, true, device.ErrInUse},
		"gone, and then reserved again": {func(_ *stage, c *fakeCluster) {
			was := c.claims
			c.claims = nil
			looks := 0
			c.asked = func() {
				if looks++; looks == 2 {
					c.claims = was
				}
			}
		}, true, nil},
		"gone while it was being let go": {func(s *stage, c *fakeCluster) {
			s.maker.refuse = device.ErrInUse
			if err := s.Unprepare(s.t.Context(), "c"); !errors.Is(err, device.ErrInUse) {
				s.t.Errorf("let go: %v", err)
			}
			c.claims, s.maker.refuse = nil, nil
		}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			cluster := &fakeCluster{claims: []resourcev1.ResourceClaim{*claim("c", "gpu-0-mig-1g5gb-19-4")}}
			s.prepare(&cluster.claims[0])
			c.happens(s, cluster)
			s.restart()
			if err := s.tidy(t.Context(), cluster, logr.Discard()); !errors.Is(err, c.fails) {
				t.Errorf("the error is %v, want %v", err, c.fails)
			}
			kept := len(s.Claims()) == 1
			_, err := os.Stat(s.cdiFile("c"))
			if kept != c.kept || len(s.maker.there) == 1 != c.kept || (err == nil) != c.kept {
				t.Errorf("claims %v, instances %v, the claim's file: %v; want them kept: %v", s.Claims(), s.maker.there, err, c.kept)
			}
		})
	}
}

// A GPU that a claim has whole is let go only when it is known that nothing is on it.
func TestTidyOfAWholeGPU(t *testing.T) {
	for name, c := range map[string]struct {
		processes *int32
		healthy   bool
		kept      bool
		unready   string
	}{
		"no processes":        {ptr.To[int32](0), true, false, ""},
		"processes":           {ptr.To[int32](2), true, true, ""},
		"not known":           {nil, true, true, ""},
		"lost":                {ptr.To[int32](0), false, true, ""},
		"not read since":      {ptr.To[int32](0), true, true, agent.ReasonDriver},
		"not read at all":     {ptr.To[int32](0), true, true, agent.ReasonJournal},
		"read, holders aside": {ptr.To[int32](0), true, false, agent.ReasonHolders},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.prepare(claim("c", "gpu-1"))
			status := status(true)
			status.GPUs[1].Processes, status.GPUs[1].Healthy = c.processes, c.healthy
			if c.unready != "" {
				status.Conditions = []metav1.Condition{{Type: v1alpha1.GPUNodeReady, Status: metav1.ConditionFalse, Reason: c.unready}}
			}
			s.observe(status)
			if err := s.tidy(t.Context(), &fakeCluster{}, logr.Discard()); (err != nil) != c.kept || len(s.Claims()) == 1 != c.kept {
				t.Errorf("claims %v (%v), want it kept: %v", s.Claims(), err, c.kept)
			}
		})
	}
}

// What is asked of the API server while the kubelet has to wait has a deadline.
func TestTidyLetsTheKubeletWaitNoLongerThanItMust(t *testing.T) {
	s := newStage(t)
	s.prepare(claim("c", "gpu-1"))
	cluster := &fakeCluster{}
	if err := s.letGoOf(t.Context(), cluster, s.copies()[0], logr.Discard()); err == nil {
		t.Error("let go of a GPU of which the processes are not known")
	}
	if cluster.unbounded > 0 {
		t.Errorf("asked %d times without a deadline", cluster.unbounded)
	}
}

// What died between writing the name of a claim's file and putting it into its place
// leaves nothing behind when the claim is let go.
func TestLetGoLeavesNoFiles(t *testing.T) {
	s := newStage(t)
	s.prepare(claim("c", "gpu-1"))
	if err := os.WriteFile(s.cdiFile("c")+".next", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Unprepare(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.o.CDI); err != nil || len(left) > 0 {
		t.Errorf("left %v (%v)", left, err)
	}
}
