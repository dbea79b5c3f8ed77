package install_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/e2e/install"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// patience is how long a step may take; it only matters where one fails.
const patience = 4 * time.Minute

// site is a cluster without Ebbtide, and the two who work on it.
type site struct {
	*lab.Lab
	api                      client.Client
	administrator, installer *install.Person
	// parts run as the cluster says; generation tells those of a moment apart.
	parts      []*lab.Part
	generation int
	// stopped: kube-scheduler has handed over.
	stopped bool
	// folder of the ledger, which outlives a broker's process.
	folder string
}

func newSite(t *testing.T) *site {
	t.Helper()
	bin, err := build.Programs(t.Context(), t.Logf, build.Kubectl, build.Helm, build.Broker, build.Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	var nodes []lab.NodeSpec
	for i := range 3 {
		nodes = append(nodes, lab.NodeSpec{Name: fmt.Sprintf("gpu-%d", i), GPUs: 8})
	}
	s := &site{Lab: labtest.New(t, lab.Options{KubeScheduler: true, Nodes: nodes, ScrapeInterval: time.Second})}
	if s.api, err = lab.TypedClient(s.Config()); err != nil {
		t.Fatal(err)
	}
	person := func(name string, groups ...string) *install.Person {
		kubeconfig, err := s.UserKubeconfig(name, groups...)
		if err != nil {
			t.Fatal(err)
		}
		return &install.Person{Kubeconfig: kubeconfig, Bin: bin, Root: root, Home: t.TempDir()}
	}
	s.administrator, s.installer = person("administrator", "system:masters"), person("installer")
	s.releaseClaims(t)
	return s
}

// releaseClaims plays the controller that lets deleted claims of volumes go, which a lab has
// not.
func (s *site) releaseClaims(t *testing.T) {
	t.Helper()
	claims := s.Client().CoreV1().PersistentVolumeClaims("ebbtide-system")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	go func() {
		defer close(ended)
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			w, err := claims.Watch(ctx, metav1.ListOptions{})
			if err != nil {
				return // it is tried again, for as long as the test lasts
			}
			for event := range w.ResultChan() {
				claim, ok := event.Object.(*corev1.PersistentVolumeClaim)
				if !ok || claim.DeletionTimestamp == nil {
					continue
				}
				// If it fails, the claim stays, and so does the namespace: the test says so.
				_, _ = claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			}
		}, time.Second)
	}()
}

// prepare gives the installer his rights, as the page about installing says, in a cluster
// without anything of Ebbtide. A lab brings namespaces and accounts for it.
func (s *site) prepare(t *testing.T) {
	t.Helper()
	s.stop(t) // what a test that failed has left
	s.clear(t)
	s.folder = t.TempDir()
	commands := [][]string{
		{"apply", "--server-side", "-k", "deploy/kustomize/installer"},
		{"create", "namespace", "ebbtide-system"},
		{"create", "namespace", "ebbtide-agent"},
		{"create", "clusterrolebinding", "ebbtide-installer", "--clusterrole=ebbtide-installer", "--user=installer"},
	}
	for _, namespace := range []string{"ebbtide-system", "ebbtide-agent"} {
		commands = append(commands, []string{"create", "rolebinding", "ebbtide-installer-workloads", "--namespace=" + namespace, "--clusterrole=ebbtide-installer-workloads", "--user=installer"})
	}
	for _, namespace := range []string{"ebbtide-system", "ebbtide-agent", "kube-system", "kube-node-lease"} {
		commands = append(commands, []string{"create", "rolebinding", "ebbtide-installer-roles", "--namespace=" + namespace, "--clusterrole=ebbtide-installer-roles", "--user=installer"})
	}
	for _, command := range commands {
		if _, err := s.administrator.Kubectl(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
}

// clear takes away what prepare made, and what an install leaves behind.
func (s *site) clear(t *testing.T) {
	t.Helper()
	for _, command := range [][]string{
		{"delete", "--ignore-not-found", "namespace", "ebbtide-system", "ebbtide-agent"},
		{"delete", "--ignore-not-found", "rolebinding", "ebbtide-installer-roles", "--namespace=kube-system"},
		{"delete", "--ignore-not-found", "rolebinding", "ebbtide-installer-roles", "--namespace=kube-node-lease"},
		{"delete", "--ignore-not-found", "clusterrolebinding", "ebbtide-installer"},
		{"delete", "--ignore-not-found", "-k", "deploy/kustomize/installer"},
		{"delete", "--ignore-not-found", "-k", "deploy/crds"},
	} {
		if _, err := s.administrator.Kubectl(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
	if s.stopped {
		s.stopped = false
		if err := s.Part(lab.KubeScheduler).Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// previous packages the charts as the release before this one.
func (s *site) previous(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if _, err := s.installer.Helm(t.Context(), "", "package", "--version", "0.0.9", "--app-version", "v0.0.9", "--destination", folder,
		"deploy/charts/ebbtide-crds", "deploy/charts/ebbtide"); err != nil {
		t.Fatal(err)
	}
	return folder
}

// handOver stops kube-scheduler, as the page about schedulers says.
func (s *site) handOver(t *testing.T) {
	t.Helper()
	if err := s.Part(lab.KubeScheduler).Stop(); err != nil {
		t.Fatal(err)
	}
	s.stopped = true
}

// start runs Ebbtide as the cluster's objects say.
func (s *site) start(t *testing.T, scheduler bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.generation++
	broker, err := install.Broker(ctx, s.Client(), fmt.Sprintf("%s-%d", lab.Broker, s.generation), s.local(t))
	if err != nil {
		t.Fatal(err)
	}
	part, err := s.StartBroker(ctx, *broker)
	if err != nil {
		t.Fatal(err)
	}
	s.parts = append(s.parts, part)
	if !scheduler {
		return
	}
	program, err := install.Scheduler(ctx, s.Client(), fmt.Sprintf("%s-%d", lab.Scheduler, s.generation))
	if err != nil {
		t.Fatal(err)
	}
	if part, err = s.StartScheduler(ctx, *program); err != nil {
		t.Fatal(err)
	}
	s.parts = append(s.parts, part)
}

// local is what of a broker's configuration belongs to this machine, and a test's patience
// for what takes minutes by default.
func (s *site) local(t *testing.T) func(lab.Env) map[string]any {
	folder := s.folder
	return func(e lab.Env) map[string]any {
		web, err := e.Listen("web")
		if err != nil {
			t.Error(err)
		}
		return map[string]any{
			"prometheus":  map[string]any{"url": s.PrometheusURL()},
			"ledger":      map[string]any{"path": folder + "/ledger.db"},
			"http":        map[string]any{"bindAddress": web},
			"metrics":     map[string]any{"bindAddress": "0"},
			"healthProbe": map[string]any{"bindAddress": e.Addr},
			"interval":    "1s",
			"signals":     map[string]any{"youngReplica": "1s", "stableWindow": "2s", "panicWindow": "1s", "forecast": false},
		}
	}
}

// stop ends what start has started.
func (s *site) stop(t *testing.T) {
	t.Helper()
	for _, part := range s.parts {
		if err := part.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	s.parts = nil
}

func (s *site) inventory(t *testing.T) map[string]bool {
	t.Helper()
	all, err := install.Inventory(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("%d objects were listed, which cannot be all", len(all))
	}
	return all
}

func (s *site) eventually(t *testing.T, condition func() (bool, string)) {
	t.Helper()
	labtest.Eventually(t, patience, func(context.Context) (bool, string) { return condition() })
}

// seldom is eventually for what is much work to look at.
func (s *site) seldom(t *testing.T, condition func() (bool, string)) {
	t.Helper()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	began := time.Now()
	for {
		ok, message := condition()
		if ok {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("not within %s: %s", patience, message)
		}
		<-ticker.C
	}
}

// vanish deletes an object and waits until it is gone.
func (s *site) vanish(t *testing.T, object client.Object) {
	t.Helper()
	if err := client.IgnoreNotFound(s.api.Delete(t.Context(), object, client.PropagationPolicy(metav1.DeletePropagationBackground))); err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
	s.eventually(t, func() (bool, string) {
		err := s.api.Get(t.Context(), key, object)
		return apierrors.IsNotFound(err), fmt.Sprintf("%T %s is still there: %v", object, key, err)
	})
}
