package install_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/install"
)

// values are the least that somebody sets: where Prometheus is. The second are a later wish.
const (
	values  = "prometheus: {url: %q}\n"
	changed = "prometheus: {url: %q}\nbroker: {config: {policy: {restartCost: 2m}}}\nscheduler: {plugin: {restartCost: 2m, maxGrace: 90s}}\n"
)

// left is what the page about installing says that stays when the chart is uninstalled.
var left = []string{
	// The API server makes it of the definitions.
	"apiservices.apiregistration.k8s.io /v1alpha1.ebbtide.dev",
	"customresourcedefinitions.apiextensions.k8s.io /gpunodes.ebbtide.dev",
	"customresourcedefinitions.apiextensions.k8s.io /lendingpolicies.ebbtide.dev",
	"customresourcedefinitions.apiextensions.k8s.io /loans.ebbtide.dev",
	"customresourcedefinitions.apiextensions.k8s.io /tenantquotas.ebbtide.dev",
	"customresourcedefinitions.apiextensions.k8s.io /trainingqueues.ebbtide.dev",
	"leases.coordination.k8s.io ebbtide-system/ebbtide-broker",
	"leases.coordination.k8s.io ebbtide-system/ebbtide-ledger",
	"leases.coordination.k8s.io ebbtide-system/ebbtide-scheduler",
	"persistentvolumeclaims ebbtide-system/ledger-ebbtide-broker-0",
}

// TestInstall installs in every way that there is, one after the other, and looks what is
// left of each. Its last line is JSON.
func TestInstall(t *testing.T) {
	s := newSite(t)
	var count install.Count
	t.Run("helm", func(t *testing.T) { s.helm(t, &count) })
	for _, overlay := range []string{"second-scheduler", "with-agent", "replace-default", "advise-only"} {
		t.Run(overlay, func(t *testing.T) { s.kustomize(t, overlay, &count) })
	}
	line, err := json.Marshal(count)
	if err != nil {
		t.Fatal(err)
	}
	if count.Rejected > 0 || count.Applied < 400 {
		t.Errorf("%d manifests were applied and %d refused", count.Applied, count.Rejected)
	}
	fmt.Println(string(line))
}

// helm installs the previous chart, makes a loan, upgrades, and uninstalls.
func (s *site) helm(t *testing.T, count *install.Count) {
	s.prepare(t)
	before := s.inventory(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	previous := s.previous(t)
	must(s.installer.InstallChart(t.Context(), "ebbtide-crds", filepath.Join(previous, "ebbtide-crds-0.0.9.tgz"), "", count))
	must(s.installer.InstallChart(t.Context(), "ebbtide", filepath.Join(previous, "ebbtide-0.0.9.tgz"), fmt.Sprintf(values, s.PrometheusURL()), count))
	s.start(t, true)
	work := s.lend(t, v1alpha1.SchedulerName)
	loan := work.loan(t)

	must(s.installer.InstallChart(t.Context(), "ebbtide-crds", "deploy/charts/ebbtide-crds", "", count))
	must(s.installer.InstallChart(t.Context(), "ebbtide", "deploy/charts/ebbtide", fmt.Sprintf(changed, s.PrometheusURL()), count))
	s.stop(t)
	s.start(t, true)
	work.another(t) // by what was upgraded
	if diff := cmp.Diff(loan, work.loan(t)); diff != "" {
		t.Errorf("the loan is another after the upgrade (-before +after):\n%s", diff)
	}

	work.end(t)
	s.stop(t)
	for _, release := range []string{"ebbtide", "ebbtide-crds"} {
		if _, err := s.installer.Helm(t.Context(), "", "uninstall", release, "--namespace", "ebbtide-system", "--wait"); err != nil {
			t.Fatal(err)
		}
	}
	s.leaves(t, before, left)
}

// kustomize applies an overlay, has it lend, or advise, and deletes it.
func (s *site) kustomize(t *testing.T, overlay string, count *install.Count) {
	s.prepare(t)
	before := s.inventory(t)
	folder := "deploy/kustomize/overlays/" + overlay
	if err := s.installer.ApplyOverlay(t.Context(), folder, count); err != nil {
		t.Fatal(err)
	}
	if overlay == "replace-default" {
		s.handOver(t)
	}
	if overlay == "advise-only" {
		s.start(t, false)
		s.advise(t)
	} else {
		s.start(t, true)
		work := s.lend(t, v1alpha1.SchedulerName)
		work.loan(t)
		work.end(t)
	}
	s.stop(t)
	if out, err := s.installer.Kubectl(t.Context(), "delete", "-k", folder, "--timeout=120s"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The namespaces are a part of what was applied, and so are the definitions.
	s.leaves(t, before, nil)
}

// leaves compares what there is with what there was, once what is going is gone.
func (s *site) leaves(t *testing.T, before map[string]bool, want []string) {
	t.Helper()
	s.seldom(t, func() (bool, string) {
		var got []string
		for _, name := range install.More(before, s.inventory(t)) {
			// Kube-scheduler's own, in whose place a scheduler was.
			if name != "leases.coordination.k8s.io kube-system/kube-scheduler" {
				got = append(got, name)
			}
		}
		diff := cmp.Diff(want, got)
		return diff == "", "left behind (-documented +found):\n" + diff
	})
}

// advise has a service with a policy that lends, and finds that it only advises, and that
// pods go on as they did.
func (s *site) advise(t *testing.T) {
	work := s.lend(t, "default-scheduler")
	s.eventually(t, func() (bool, string) {
		policy := &v1alpha1.LendingPolicy{}
		if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: serving, Name: "chat"}, policy); err != nil {
			return false, err.Error()
		}
		text, err := json.Marshal(policy.Status)
		if err != nil {
			t.Fatal(err)
		}
		return policy.Status.Advice != nil && policy.Status.Advice.LentUnits > 0, "the policy does not advise to lend: " + string(text)
	})
	loans := &v1alpha1.LoanList{}
	if err := s.api.List(t.Context(), loans); err != nil {
		t.Fatal(err)
	}
	if len(loans.Items) > 0 {
		t.Errorf("it lent: %v", loans.Items)
	}
	pods, err := s.Client().CoreV1().Pods(serving).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName == "" || !strings.HasPrefix(pod.Name, "chat-") {
			t.Errorf("pod %s is not where the stock scheduler puts it", pod.Name)
		}
	}
	work.end(t)
}
