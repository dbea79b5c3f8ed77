package install_test

import (
	"context"
	_ "embed"
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
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
)

// operators are definitions of kinds that others bring, and Ebbtide has objects of.
//
//go:embed testdata/operators.yaml
var operators []byte

// patience is how long a step may take; it only matters where one fails.
const patience = 4 * time.Minute

// installer is the user who installs.
const installer = "installer"

// site is a cluster without Ebbtide, and the two who work on it.
type site struct {
	*lab.Lab
	api                      client.Client
	page                     *page
	administrator, installer *install.Person
	// audit has what the API server was asked for, and count what of that was to install
	// something.
	audit *auditlog.Tail
	count install.Count
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
	s := &site{page: readPage(t, root), Lab: labtest.New(t, lab.Options{
		KubeScheduler: true, Nodes: nodes, ScrapeInterval: time.Second, Manifests: [][]byte{operators},
	})}
	if s.audit, err = auditlog.Follow(s.AuditLog(), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.audit.Close(); err != nil {
			t.Error(err)
		}
	})
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
	s.administrator, s.installer = person("administrator", "system:masters"), person(installer)
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

// inventory is all that there is.
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
