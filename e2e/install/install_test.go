package install_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// TestInstall installs in every way that there is, one after the other, by the commands of
// docs/tasks/install.md, and looks what is left of each. Its last line is JSON.
func TestInstall(t *testing.T) {
	s := newSite(t)
	t.Run("helm", s.helm)
	t.Run("everything", s.everything)
	t.Run("rendered", s.rendered)
	for _, overlay := range []string{"second-scheduler", "with-agent", "replace-default", "advise-only"} {
		t.Run(overlay, func(t *testing.T) { s.kustomize(t, overlay) })
	}
	line, err := json.Marshal(s.count)
	if err != nil {
		t.Fatal(err)
	}
	if s.count.Rejected > 0 || s.count.Applied < 700 {
		t.Errorf("%d manifests were applied and %d refused", s.count.Applied, s.count.Rejected)
	}
	fmt.Println(string(line))
}

// kustomize applies an overlay, has it lend, or advise, and deletes it.
func (s *site) kustomize(t *testing.T, overlay string) {
	s.prepare(t)
	before := s.inventory(t)
	const shown = "overlays/second-scheduler"
	s.installs(t, strings.ReplaceAll(s.page.commands(t, "With kustomize", "kubectl"), shown, "overlays/"+overlay))
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
	s.types(t, s.installer, strings.ReplaceAll(s.page.commands(t, "Uninstall", "kubectl"), shown, "overlays/"+overlay))
	// The namespaces are a part of what was applied, and so are the definitions.
	s.leaves(t, before, nil, nil)
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
