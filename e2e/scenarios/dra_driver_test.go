package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent"
	"github.com/ebbtide/ebbtide/mig/dra"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

// claimBench is a lab with one card and its DRA driver, and Kubernetes' own scheduler.
type claimBench struct {
	*lab.Lab
	t      *testing.T
	driver *lab.Driver
	cards  *simgpu.Sim
}

func newClaimBench(t *testing.T) *claimBench {
	t.Helper()
	b := &claimBench{t: t, Lab: labtest.New(t, lab.Options{
		NoPrometheus: true, KubeScheduler: true, Manifests: driverManifests(t), Nodes: []lab.NodeSpec{{Name: migNode}},
	})}
	if err := b.CreateNamespace(t.Context(), trainingNamespace, nil); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.driver, err = b.StartDriver(t.Context(), migNode, *cutInSeven(migNode, 1).Cards, lab.Program{Restart: true}); err != nil {
		t.Fatal(err)
	}
	if b.cards, err = b.Cards(migNode); err != nil {
		t.Fatal(err)
	}
	_, err = b.Client().ResourceV1().ResourceClaimTemplates(trainingNamespace).Create(t.Context(), template("mig-1g.5gb.ebbtide.dev"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// driverManifests are what a driver needs, and nothing else of Ebbtide, which would have
// pods go to its own scheduler.
func driverManifests(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	for _, pattern := range []string{
		"crds/ebbtide.dev_gpunodes.yaml", "kustomize/components/agent/access/[^k]*.yaml", "kustomize/components/dynamic-resources/[^k]*.yaml",
	} {
		files, err := filepath.Glob(filepath.Join("../../deploy", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files (%v)", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text)
		}
	}
	return all
}

// claim makes a pod that claims a slice of one, which is prepared when this returns.
func (b *claimBench) claim(name string) {
	b.t.Helper()
	pod := slicePod(name, oneG)
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "slice"}}}
	pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "slice", ResourceClaimTemplateName: ptr.To("mig-1g.5gb.ebbtide.dev")}}
	if _, err := b.Client().CoreV1().Pods(trainingNamespace).Create(b.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	b.awaitPrepared(1)
}

// drop deletes a pod. Its claim is let go when this returns.
func (b *claimBench) drop(name string) {
	b.t.Helper()
	if err := b.Client().CoreV1().Pods(trainingNamespace).Delete(b.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		b.t.Fatal(err)
	}
	b.awaitPrepared(0)
}

func (b *claimBench) awaitPrepared(want int) {
	b.t.Helper()
	labtest.Eventually(b.t, patience, func(ctx context.Context) (bool, string) {
		got := b.driver.Kubelet.Prepared()
		claims, err := b.Client().ResourceV1().ResourceClaims(trainingNamespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(got) == want && len(claims.Items) == want,
			fmt.Sprintf("prepared %v of %d claims, want %d (%v)", got, len(claims.Items), want, err)
	})
}

// check looks at everything that the driver leaves: the slice that the allocator gives
// first is there once if a claim has it, and is what the container runtime is told, and
// there is nothing of it otherwise.
func (b *claimBench) check(when string, held bool) {
	b.t.Helper()
	gpus, err := b.cards.Read(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	uuid, all := "", []mig.Placed{}
	for _, i := range gpus[0].Instances {
		if all = append(all, i.Placed); i.Start == 6 && i.Whole {
			uuid = i.UUID
		}
	}
	want := sevens[:6:6]
	if held {
		want = sevens
	}
	if !slices.Equal(all, want) || (uuid != "") != held {
		b.t.Errorf("%s: instances %v, want %v", when, all, want)
	}
	files, err := os.ReadDir(b.driver.CDI)
	if err != nil {
		b.t.Fatal(err)
	}
	var told []string
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(b.driver.CDI, f.Name()))
		if err != nil {
			b.t.Fatal(err)
		}
		told = append(told, string(text))
	}
	if held && (len(told) != 1 || !strings.Contains(told[0], "/"+uuid+`"`)) || !held && len(told) > 0 {
		b.t.Errorf("%s: the container runtime is told %v, and the slice is %q", when, told, uuid)
	}
	if n := b.remembered(); (n == 1) != held || n > 1 {
		b.t.Errorf("%s: the driver remembers %d claims", when, n)
	}
}

// remembered is how many claims the driver's checkpoint has.
func (b *claimBench) remembered() int {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.driver.State, "dra.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	var file struct {
		Data struct{ Claims map[string]any }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		b.t.Fatal(err)
	}
	return len(file.Data.Claims)
}

// dies has the driver killed at a step of what do does, and returns when another runs.
func (b *claimBench) dies(step string, do func()) {
	b.t.Helper()
	before := b.driver.Agent.PID()
	if err := b.FailAgent(migNode, step, 0); err != nil {
		b.t.Fatal(err)
	}
	do()
	labtest.Eventually(b.t, patience, func(context.Context) (bool, string) {
		now := b.driver.Agent.PID()
		return now != 0 && now != before, fmt.Sprintf("the driver did not die at %s", step)
	})
}

// A driver that is killed at any step of preparing a claim, and of letting it go, makes the
// slice once and leaves nothing behind.
func TestDriverKilledAtEachStep(t *testing.T) {
	t.Parallel()
	b := newClaimBench(t)
	b.claim("first") // the slice was there from the start
	b.check("at first", true)
	b.drop("first")
	b.check("without it", false)
	before := b.writes()
	prepare, unprepare := dra.Failpoints()
	prepare = append(prepare, agent.FailCreateBegun, agent.FailCreateDone, agent.FailCreateWritten)
	unprepare = append(unprepare, agent.FailProvenEmpty, agent.FailDestroyBegun, agent.FailDestroyDone)
	for i, step := range prepare {
		began := time.Now()
		name := fmt.Sprintf("pod-%d", i)
		b.dies(step, func() { b.claim(name) })
		b.check("killed at "+step, true)
		after := unprepare[i%len(unprepare)]
		b.dies(after, func() { b.drop(name) })
		b.check("killed at "+after, false)
		t.Logf("%s, %s: in %s", step, after, time.Since(began).Round(time.Millisecond))
	}
	if got, want := b.writes()-before, 2*len(prepare); got != want {
		t.Errorf("slices were made and destroyed %d times, want %d", got, want)
	}
}

// writes counts how often the agent has made a slice and destroyed one.
func (b *claimBench) writes() int {
	b.t.Helper()
	all, err := b.cards.Writes()
	if err != nil {
		b.t.Fatal(err)
	}
	n := 0
	for _, w := range all {
		if w.By == "agent" && w.Error == "" && (w.Op == simgpu.OpCreateGI || w.Op == simgpu.OpDestroyGI) {
			n++
		}
	}
	return n
}

// What a pod has comes back with its node, also after a reboot that takes it; and what is
// left of a claim of which the kubelet knows nothing any more is let go by the driver.
func TestDriverAfterTheNode(t *testing.T) {
	t.Parallel()
	b := newClaimBench(t)
	b.claim("pod")
	b.check("at first", true)
	if err := b.driver.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.awaitPrepared(1)
	gpus, err := b.cards.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := gpus[0].Instances; len(got) != 1 || got[0].Start != 6 || !got[0].Whole {
		t.Errorf("instances after a reboot %+v, want the one that a claim has", got)
	}

	// The kubelet forgets the claim, and the pod goes while the driver is not there.
	if err := b.driver.Agent.Stop(); err != nil {
		t.Fatal(err)
	}
	b.driver.Kubelet.Forget()
	if err := b.Client().CoreV1().Pods(trainingNamespace).Delete(t.Context(), "pod", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		claims, err := b.Client().ResourceV1().ResourceClaims(trainingNamespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(claims.Items) == 0, fmt.Sprintf("claims %v (%v), want none", claims.Items, err)
	})
	b.driver.Kubelet.Forget() // it may have asked again while the pod was there
	if b.remembered() != 1 {
		t.Fatalf("the driver remembers %d claims, want one", b.remembered())
	}
	if err := b.driver.Agent.Start(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		gpus, err := b.cards.Read(ctx)
		n := b.remembered()
		return err == nil && len(gpus[0].Instances) == 0 && n == 0, fmt.Sprintf("the driver remembers %d claims, instances %+v (%v)", n, gpus[0].Instances, err)
	})
	if left, err := os.ReadDir(b.driver.CDI); err != nil || len(left) > 0 {
		t.Errorf("the container runtime is told %v (%v)", left, err)
	}
}
