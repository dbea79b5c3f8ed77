package kubelet

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

// shelf is a node's devices: some, or an answer.
type shelf struct {
	err      error
	admitted []types.UID
	released []types.UID
}

func (s *shelf) Admit(_ context.Context, pod *corev1.Pod) error {
	s.admitted = append(s.admitted, pod.UID)
	return s.err
}

func (s *shelf) Release(_ context.Context, pod types.UID) error {
	s.released = append(s.released, pod)
	return nil
}

func onSlice(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	p.Namespace, p.Name, p.UID = "a", "x", "x"
	p.Spec.NodeName = "n"
	p.Spec.Containers = []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{"nvidia.com/mig-1g.5gb": resource.MustParse("1")},
	}}}
	return p
}

func TestPodsThatNeedDevices(t *testing.T) {
	pending := phase(pod(false), corev1.PodPending)
	for _, test := range []struct {
		name      string
		pod       *corev1.Pod
		err       error
		phase     corev1.PodPhase
		reason    string
		again     bool
		admitted  int
		released  int
		wantReady bool
	}{
		{"gets them and runs", pending, nil, corev1.PodRunning, "", false, 1, 0, true},
		{"gets them and loads its model", phase(pod(false, AnnotationModelLoad, "1h"), corev1.PodPending), nil, corev1.PodRunning, "", false, 1, 0, false},
		{"there are none", pending, fmt.Errorf("none: %w", ErrNoDevice), corev1.PodFailed, "UnexpectedAdmissionError", false, 1, 0, false},
		{"its container does not start", pending, errors.New("no such instance"), corev1.PodPending, "", true, 1, 0, false},
		{"has ended", phase(pod(false), corev1.PodSucceeded), nil, corev1.PodSucceeded, "", false, 0, 1, false},
	} {
		p := onSlice(test.pod)
		client := fake.NewClientset(p)
		s := &shelf{err: test.err}
		k := New(client, logr.Discard())
		k.UseDevices(s)
		if err := k.nodes.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}); err != nil {
			t.Fatal(err)
		}
		if err := k.Add(p); err != nil {
			t.Fatal(err)
		}
		_, err := k.step(t.Context(), keyOf(p))
		if (err != nil) != test.again {
			t.Errorf("%s: error %v, want one: %t", test.name, err, test.again)
		}
		now, err := client.CoreV1().Pods("a").Get(t.Context(), "x", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if now.Status.Phase != test.phase || now.Status.Reason != test.reason || isReady(now) != test.wantReady ||
			len(s.admitted) != test.admitted || len(s.released) != test.released {
			t.Errorf("%s: the pod is %s (%s), ready %t, admitted %d and released %d times", test.name,
				now.Status.Phase, now.Status.Reason, isReady(now), len(s.admitted), len(s.released))
		}
	}
}

// Pods on whole GPUs are kwok's to start, unless devices are handed out for them, too.
func TestWholeGPUsAreHandedOut(t *testing.T) {
	of := func(name corev1.ResourceName) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{name: resource.MustParse("1")},
		}}}}}
	}
	k := &Kubelet{}
	for _, hands := range []bool{false, true} {
		for name, want := range map[corev1.ResourceName]bool{WholeGPU: hands, SlicePrefix + "1g.5gb": true, "nvidia.com/gpu.shared": false, "cpu": false} {
			if got := k.wantsDevices(of(name)); got != want {
				t.Errorf("GPUs are handed out: %t: a pod on %s waits for devices: %t, want %t", hands, name, got, want)
			}
		}
		k.HandGPUs()
	}
}
