package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// newClaimedTown is a town of one node with one card that is cut in seven, whose slices are
// allocated by claims: there is no device plugin, and the agent is a DRA driver.
func newClaimedTown(t *testing.T) *town {
	t.Helper()
	d := newDial(t)
	component, err := deploy.Manifests(deploy.AgentAccess, deploy.DynamicResources)
	if err != nil {
		t.Fatal(err)
	}
	w := raise(t, 0, lab.Options{
		SDURL: d.server.URL + "/targets", Broker: slicingBroker(), Manifests: [][]byte{component},
		Nodes: []lab.NodeSpec{{Name: migNode, Labels: map[string]string{lab.LabelProduct: "NVIDIA-A100-40GB"}}},
	})
	w.dial = d
	d.follow(w.Client())
	w.claimed = map[corev1.ResourceName]int64{oneG: 7, fourG: 1}
	w.settleSliced(1, 0)
	w.startDriver()
	return w
}

// startDriver runs the agent of the node, as a DRA driver of a simulated card, and what
// stands in for its kubelet.
func (w *town) startDriver() {
	w.t.Helper()
	_, err := w.StartDriver(w.t.Context(), migNode, *cutInSeven(migNode, 1).Cards, lab.Program{
		Args: func(lab.Env) []string { return []string{"--interval=200ms"} },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.card, err = w.Cards(migNode); err != nil {
		w.t.Fatal(err)
	}
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		slices, err := w.Client().ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{})
		return err == nil && len(slices.Items) == 2, fmt.Sprintf("%d ResourceSlices, want one of counters and one of devices (%v)", len(slices.Items), err)
	})
}

// heldDevices are the devices of claims that are reserved for pods of a namespace, sorted.
func (w *town) heldDevices(ctx context.Context, namespace string) ([]string, error) {
	list, err := w.Client().ResourceV1().ResourceClaims(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range list.Items {
		if c.Status.Allocation == nil {
			continue
		}
		for _, r := range c.Status.Allocation.Devices.Results {
			out = append(out, strings.TrimPrefix(r.Device, "gpu-0-mig-"))
		}
	}
	slices.Sort(out)
	return out, nil
}

// awaitDevices waits until claims in the namespace hold exactly these devices.
func (w *town) awaitDevices(namespace string, want ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		got, err := w.heldDevices(ctx, namespace)
		return err == nil && slices.Equal(got, want), fmt.Sprintf("claims in %s hold %v, want %v (%v)", namespace, got, want, err)
	})
}

// awaitInstances waits until there are exactly these instances on the card: profile and
// start of each, by start.
func (w *town) awaitInstances(want string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		gpus, err := w.card.Read(ctx)
		if err != nil {
			return false, err.Error()
		}
		var words []string
		for _, i := range gpus[0].Instances {
			words = append(words, fmt.Sprintf("%d@%d", i.Profile, i.Start))
		}
		got := strings.Join(words, " ")
		return got == want, fmt.Sprintf("instances %s, want %s", got, want)
	})
}
