package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/audit"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/claims"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/agent/kube"
	"github.com/ebbtide/ebbtide/mig/dra"
	"github.com/ebbtide/ebbtide/mig/simgpu"
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
	start := func(resource corev1.ResourceName, flavor string) *audit.Auditor {
		auditor, stop, err := audit.Start(t.Context(), w.Client(), w.Dynamic(), audit.Options{
			Resource: string(resource), Flavor: flavor, MaxGrace: maxGrace, Slack: slack, Settle: settle, Hold: time.Second,
			// A slice of four is taken back for pods on slices of one.
			Others:  resource == fourG,
			Claimed: map[string]int64{migNode: w.claimed[resource]},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return auditor
	}
	w.auditor, w.large = start(oneG, oneGFlavor), start(fourG, fourGFlavor)
	w.slicedTeam(onlineNamespace, 1)
	w.slicedTeam(trainingNamespace, 0)
	w.create(&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: trainingNamespace, Name: "default"}})
	w.startDriver()
	return w
}

// safe is a doctor that finds nothing wrong.
type safe struct{}

func (safe) Lendable(context.Context) agent.Verdict {
	return agent.Verdict{Status: metav1.ConditionTrue, Reason: "Examined", Message: "Nothing would let a pod at a GPU that it was not given"}
}

// startDriver runs the agent of the node, as a DRA driver of a simulated card, and what
// stands in for its kubelet.
func (w *town) startDriver() {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	dir, log := w.t.TempDir(), w.logTo("driver")
	board, _ := mig.Board("A100-40GB")
	sim, err := simgpu.Create(filepath.Join(dir, "gpus"), []simgpu.Card{{Geometry: board, Layout: lab.Places(oneGProfile, 0, 1, 2, 3, 4, 5, 6)}})
	must(err)
	must(sim.SetLatency(lab.FastCards()))
	w.card = sim
	config := w.agentConfig()
	client, err := kubernetes.NewForConfig(config)
	must(err)
	node, err := kube.NewNode(config, migNode)
	must(err)
	driver, err := dra.New(dra.Options{Node: migNode, Dir: dir, CDI: dir})
	must(err)
	a, err := agent.New(agent.Options{
		Node: migNode, StateDir: dir, Driver: sim, Nodes: driver.Observed(node),
		Holders: kube.Holders{Node: node, Devices: dra.Holders{Node: driver, Cluster: node}}, Advertiser: kube.Silent{},
		Examiner: safe{}, Allocation: v1alpha1.AllocationDynamicResources, Interval: 200 * time.Millisecond, Log: log,
	})
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	_, err = node.Start(ctx)
	must(err)
	sockets := dra.Kubelet{Plugins: filepath.Join(dir, "p"), Registry: filepath.Join(dir, "r")}
	kubelet := &claims.Kubelet{Client: w.Client(), Node: migNode, Driver: dra.Driver, Socket: filepath.Join(sockets.Plugins, "dra.sock"), Log: log}
	ended := make(chan error, 3)
	for _, run := range []func() error{
		func() error { return a.Run(ctx) },
		func() error { return driver.Serve(logr.NewContext(ctx, log), client, node, a, sockets) },
		func() error { return kubelet.Run(ctx) },
	} {
		go func() { ended <- run() }()
	}
	w.t.Cleanup(func() {
		stop()
		for range cap(ended) {
			if err := <-ended; err != nil {
				w.t.Error(err)
			}
		}
		if err := a.Close(); err != nil {
			w.t.Error(err)
		}
	})
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		slices, err := w.Client().ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{})
		return err == nil && len(slices.Items) == 2, fmt.Sprintf("%d ResourceSlices, want one of counters and one of devices (%v)", len(slices.Items), err)
	})
}

// agentConfig acts as the agent on the node does: with a token that names the node.
func (w *town) agentConfig() *rest.Config {
	w.t.Helper()
	n, err := w.Client().CoreV1().Nodes().Get(w.t.Context(), migNode, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := w.Client().CoreV1().ServiceAccounts(lab.AgentNamespace).CreateToken(w.t.Context(), "ebbtide-agent",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: ptr.To[int64](3600),
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: migNode, UID: n.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(w.Config())
	config.BearerToken, config.QPS = token.Status.Token, -1
	return config
}

// logTo is a log among those of the lab.
func (w *town) logTo(name string) logr.Logger {
	w.t.Helper()
	file, err := os.Create(filepath.Join(w.Dir(), "logs", name+".log"))
	if err != nil {
		w.t.Fatal(err)
	}
	return funcr.New(func(prefix, args string) { fmt.Fprintln(file, prefix, args) }, funcr.Options{LogTimestamp: true, Verbosity: 2})
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
