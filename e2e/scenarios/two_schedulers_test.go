package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	// wide is how many nodes two schedulers meet on, with 8 GPUs each.
	wide = 100
	// asking is how many pods ask for one GPU each: more than there are.
	asking = 900
	// calmFor is how long nothing more must have been bound.
	calmFor = 3 * time.Second
)

// TestTwoStockSchedulersDoubleBook is the control of the next test: with two schedulers over
// the same nodes and nothing that keeps them apart, units get into two hands.
func TestTwoStockSchedulersDoubleBook(t *testing.T) {
	nightly(t)
	t.Parallel()
	opts := lab.Options{NoPrometheus: true, KubeScheduler: true, Manifests: [][]byte{[]byte(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: second-scheduler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:kube-scheduler}
subjects: [{kind: ServiceAccount, namespace: ebbtide-system, name: ebbtide-scheduler}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: second-scheduler-volumes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:volume-scheduler}
subjects: [{kind: ServiceAccount, namespace: ebbtide-system, name: ebbtide-scheduler}]
`)}}
	for i := range wide {
		opts.Nodes = append(opts.Nodes, lab.NodeSpec{Name: fmt.Sprintf("gpu-%d", i), GPUs: 8})
	}
	l := labtest.New(t, opts)
	const second = "second"
	_, err := l.StartKubeScheduler(t.Context(), lab.Program{Name: second, Config: func(lab.Env) ([]byte, error) {
		return []byte("profiles: [{schedulerName: second}]"), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CreateNamespace(t.Context(), "busy", nil); err != nil {
		t.Fatal(err)
	}
	refused := race(t, l, "busy", asking/2, [2]string{corev1.DefaultSchedulerName, second}, lab.KubeScheduler, second)
	bound, over := booked(t, l)
	t.Logf("two stock schedulers bound %d pods on %d GPUs, %d too many on their nodes; %d pods were refused", bound, wide*8, over, refused)
	if refused != 0 {
		t.Errorf("%d pods were refused where nothing refuses them", refused)
	}
	if over == 0 {
		t.Error("no unit is in two hands: this experiment shows nothing about guards")
	}
}

// With Ebbtide, what asks for a GPU through the stock scheduler is refused, and no unit is in
// two hands. What admission does not look at, the broker names.
func TestStockSchedulerBesideEbbtide(t *testing.T) {
	t.Parallel()
	d := newDial(t)
	w := raise(t, wide, lab.Options{SDURL: d.server.URL + "/targets", Broker: brokerProgram(), KubeScheduler: true})
	w.dial = d
	d.follow(w.Client())
	w.team("busy", "town", wide*8)

	// A pod of an exempt namespace, before there is no room.
	past := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "past"}, Spec: podSpec("", 4, 1)}
	past.Spec.SchedulerName = corev1.DefaultSchedulerName
	w.create(past)
	w.awaitBound(metav1.NamespaceSystem, 1)
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		said, err := w.events(ctx, metav1.NamespaceSystem, "Pod", "past")
		text := said["OtherScheduler"]
		ok := strings.Contains(text, "4 "+gpu) && strings.Contains(text, corev1.DefaultSchedulerName) && strings.Contains(text, "gpu-")
		return ok, fmt.Sprintf("the events of the pod: %v (%v)", said, err)
	})

	if err := w.api.Delete(t.Context(), past); err != nil {
		t.Fatal(err)
	}
	w.awaitBound(metav1.NamespaceSystem, 0)
	w.audit() // the auditor, too, has seen that pod, whose namespace is no tenant's

	refused := race(t, w.Lab, "busy", asking/2, [2]string{corev1.DefaultSchedulerName, v1alpha1.SchedulerName}, lab.KubeScheduler, lab.Scheduler)
	bound, over := booked(t, w.Lab)
	t.Logf("beside Ebbtide: %d pods were bound on %d GPUs, %d too many on their nodes; %d pods were refused", bound, wide*8, over, refused)
	if refused != asking/2 {
		t.Errorf("%d of %d pods for the stock scheduler were refused", refused, asking/2)
	}
	if over != 0 {
		t.Errorf("%d units are in two hands", over)
	}
	if bound != asking/2 {
		t.Errorf("%d pods are bound, want the %d of Ebbtide's scheduler", bound, asking/2)
	}
	for _, v := range w.final(w.auditor).Violations {
		t.Errorf("the auditor saw: %s", v)
	}
}

// race lets two schedulers, which sleep while the pods are made, have pods in turn at the
// same moment. It returns how many pods were refused, when as many are bound as must be, and
// then nothing more.
func race(t *testing.T, l *lab.Lab, namespace string, least int, names [2]string, parts ...string) (refused int) {
	t.Helper()
	for _, part := range parts {
		if err := l.Part(part).Freeze(); err != nil {
			t.Fatal(err)
		}
	}
	results := make(chan error, asking)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for i := range asking {
		group.Go(func() error {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("pod-%03d", i)}, Spec: podSpec("", 1, 1)}
			pod.Spec.SchedulerName = names[i%len(names)]
			_, err := l.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
			if err != nil && !apierrors.IsForbidden(err) {
				return err
			}
			results <- err
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	close(results)
	for err := range results {
		if err != nil {
			refused++
		}
	}
	for _, part := range parts {
		if err := l.Part(part).Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	last, since := -1, time.Now()
	labtest.Eventually(t, 2*patience, func(ctx context.Context) (bool, string) {
		n, _, err := book(ctx, l.Client())
		if err != nil {
			return false, err.Error()
		}
		if n != last {
			last, since = n, time.Now()
		}
		return n >= least && time.Since(since) > calmFor, fmt.Sprintf("%d pods are bound, want %d, and then no more", n, least)
	})
	return refused
}

func booked(t *testing.T, l *lab.Lab) (bound int, over int64) {
	t.Helper()
	bound, over, err := book(t.Context(), l.Client())
	if err != nil {
		t.Fatal(err)
	}
	return bound, over
}

// book counts the pods that have a node and ask for GPUs, and the GPUs that nodes have given
// away beyond what they have.
func book(ctx context.Context, client kubernetes.Interface) (bound int, over int64, err error) {
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, 0, err
	}
	held := map[string]int64{}
	for _, pod := range pods.Items {
		asks := pod.Spec.Containers[0].Resources.Requests[gpu]
		if pod.Spec.NodeName != "" && asks.Value() > 0 {
			held[pod.Spec.NodeName] += asks.Value()
			bound++
		}
	}
	for _, n := range held {
		over += max(0, n-8)
	}
	return bound, over, nil
}
