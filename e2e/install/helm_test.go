package install_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/install"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// helm installs the previous charts, makes a loan, upgrades, and uninstalls. There is no
// release before this one yet, so the previous charts are today's with an older version and
// another default: what is tried is that helm upgrades them by the page's command, and that
// loans live on. That a release drops an object, or changes a field that cannot be changed, is
// seen from the first release on, whose packaged charts are to take their place.
func (s *site) helm(t *testing.T) {
	s.prepare(t)
	before := s.inventory(t)
	s.installs(t, s.older(t, s.helmCommands(t)))
	if config := s.schedulerConfig(t); !strings.Contains(config, "restartCost: 2m") {
		t.Errorf("the previous chart's default is not in force:\n%s", config)
	}
	s.start(t, true)
	work := s.lend(t, v1alpha1.SchedulerName)
	loan := work.loan(t)

	s.installs(t, s.page.commands(t, "Upgrade", "helm"))
	if config := s.schedulerConfig(t); !strings.Contains(config, "restartCost: 1m") {
		t.Errorf("the new chart's default is not in force:\n%s", config)
	}
	if config := s.config(t, "ebbtide-broker-config", "broker-config.yaml"); !strings.Contains(config, s.PrometheusURL()) {
		t.Errorf("the upgrade has forgotten where Prometheus is:\n%s", config)
	}
	s.stop(t)
	s.start(t, true)
	work.another(t) // by what was upgraded
	if diff := cmp.Diff(loan, work.loan(t)); diff != "" {
		t.Errorf("the loan is another after the upgrade (-before +after):\n%s", diff)
	}

	work.end(t)
	s.stop(t)
	left := s.page.left(t)
	s.types(t, s.installer, s.page.commands(t, "Uninstall", "helm"))
	s.leaves(t, before, left.always, nil)
	for _, away := range left.away {
		s.types(t, s.installer, away)
	}
	delete(before, namespaced)
	s.leaves(t, before, nil, nil)
}

// namespaced is the namespace itself in an inventory.
const namespaced = "namespaces /" + lab.SystemNamespace

// helmCommands are the page's, to who has been given the namespace and Prometheus' address.
func (s *site) helmCommands(t *testing.T) string {
	t.Helper()
	const example = "http://prometheus.monitoring.svc:9090"
	var own []string
	for _, line := range strings.Split(s.page.commands(t, "With helm", "kubectl"), "\n") {
		switch {
		case strings.HasPrefix(line, "kubectl create namespace "):
		case strings.HasPrefix(line, "kubectl label namespace "):
			s.types(t, s.installer, line)
		default:
			own = append(own, line)
		}
	}
	commands := strings.Join(own, "\n")
	if len(own) != 2 || !strings.Contains(commands, example) {
		t.Fatalf("the page's commands of helm are not understood:\n%s", commands)
	}
	return strings.ReplaceAll(commands, example, s.PrometheusURL())
}

// older has commands install the previous charts.
func (s *site) older(t *testing.T, commands string) string {
	t.Helper()
	folder := s.previous(t)
	for _, chart := range []string{"ebbtide-crds", "ebbtide"} {
		path := "deploy/charts/" + chart + " "
		if strings.Count(commands, path) != 1 {
			t.Fatalf("the page does not install %s once:\n%s", path, commands)
		}
		commands = strings.Replace(commands, path, filepath.Join(folder, chart+"-0.0.9.tgz")+" ", 1)
	}
	return commands
}

func (s *site) schedulerConfig(t *testing.T) string {
	t.Helper()
	return s.config(t, "ebbtide-scheduler-config", "scheduler-config.yaml")
}

func (s *site) config(t *testing.T, name, file string) string {
	t.Helper()
	m, err := s.Client().CoreV1().ConfigMaps(lab.SystemNamespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m.Data[file]
}

// full is all that a chart can install, and how often there is each kind that no other way
// of installing has.
var full = map[string]int{
	"StatefulSet": 1, "Deployment": 1, "DaemonSet": 1, "PodDisruptionBudget": 2, "NetworkPolicy": 3,
	"ServiceMonitor": 1, "PodMonitor": 2, "PrometheusRule": 1, "Certificate": 1, "APIService": 1, "Service": 2,
}

// everything installs with all that the chart has switched on.
func (s *site) everything(t *testing.T) {
	s.prepare(t)
	before := s.inventory(t)
	const ownership = "--take-ownership"
	if !strings.Contains(s.page.text, "`"+ownership+"`") {
		t.Errorf("the page does not say that helm needs %s", ownership)
	}
	got := s.installs(t, s.helmCommands(t)+" --values e2e/install/testdata/everything.yaml "+ownership)
	manifests := s.types(t, s.installer, "helm get manifest ebbtide --namespace ebbtide-system; helm get manifest ebbtide-crds --namespace ebbtide-system")
	kinds := map[string]int{}
	for _, line := range strings.Split(manifests, "\n") {
		if kind, found := strings.CutPrefix(line, "kind: "); found {
			kinds[kind]++
		}
	}
	for kind, n := range full {
		if kinds[kind] != n {
			t.Errorf("%d of kind %s were installed, want %d", kinds[kind], kind, n)
		}
	}
	rendered := 0
	for _, n := range kinds {
		rendered += n
	}
	if want := (install.Count{Applied: rendered}); got != want {
		t.Errorf("of %d objects the API server accepted %d and refused %d", rendered, got.Applied, got.Rejected)
	}
	left := s.page.left(t)
	s.types(t, s.installer, s.page.commands(t, "Uninstall", "helm"))
	// What brokers make when they run was never there.
	s.leaves(t, before, nil, slices.Concat(left.always, left.two))
}

// leaves compares what there is with what there was, once what is going is gone: what must
// be left and what may be.
func (s *site) leaves(t *testing.T, before map[string]bool, must, may []string) {
	t.Helper()
	before = maps.Clone(before)
	if slices.Contains(must, namespaced) {
		delete(before, namespaced)
	}
	// Kube-scheduler's own, in whose place a scheduler was.
	before["leases.coordination.k8s.io kube-system/kube-scheduler"] = true
	for _, name := range may {
		before[name] = true
	}
	s.seldom(t, func() (bool, string) {
		now, err := install.Inventory(t.Context(), s.Config())
		if err != nil {
			return false, err.Error()
		}
		diff := cmp.Diff(must, install.More(before, now))
		return diff == "", "left behind (-documented +found):\n" + diff
	})
}
