package monitoring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/deploy"
	shipped "github.com/ebbtide/ebbtide/deploy/monitoring"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/lab/prometheus"
)

// patience is for what another program does on a busy machine.
const patience = 2 * time.Minute

func brokerConfig(e lab.Env) ([]byte, error) {
	api, err := e.Listen("web")
	if err != nil {
		return nil, err
	}
	metrics, err := e.Listen("metrics")
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 500ms
ledger: {path: %q}
http: {bindAddress: %q}
metrics: {bindAddress: %q}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: true, leaseDuration: 10s, renewDeadline: 8s, retryPeriod: 500ms}
`, e.Dir+"/ledger.db", api, metrics, e.Addr), nil
}

// TestRules: Prometheus takes the rules, every expression of rules and dashboards can be
// evaluated on what a real broker says, no alert fires in peace, and one does when the
// broker is killed.
func TestRules(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{NoPrometheus: true, Manifests: [][]byte{manifests}, Broker: &lab.Program{Config: brokerConfig}})
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(l.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CreateNamespace(t.Context(), "research", map[string]string{"team": "research"}); err != nil {
		t.Fatal(err)
	}
	quota := &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: "research"}, Spec: v1alpha1.TenantQuotaSpec{
		Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "research"}},
		Flavors:    []v1alpha1.FlavorQuota{{Name: "h100", Resource: "nvidia.com/gpu", Nominal: 8}},
	}}
	queue := &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "default"}}
	for _, o := range []client.Object{quota, queue} {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}

	p := start(t, l)
	p.await("sum(ebbtide_broker_decisions_total) > 3")
	p.await(`ebbtide_broker_quota_units{tenant="research",flavor="h100",state="nominal"} == 8`)
	p.await(`ebbtide_queue_waiting_jobs{queue_namespace="research",queue="default"} == 0`)
	p.await(`rest_client_requests_total`)
	p.await(`ebbtide_broker_admission_policies_missing == 0`)
	p.healthy(time.Now())
	p.evaluates()
	// Before the first scrape the broker was absent, and under load a scrape can fail.
	labtest.Eventually(t, patience, func(context.Context) (bool, string) {
		alerts := p.alerts()
		return len(alerts) == 0, fmt.Sprint("in peace there are the alerts ", alerts)
	})

	if err := l.Part(lab.Broker).Kill(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(context.Context) (bool, string) {
		alerts := p.alerts()
		return slices.Contains(alerts, "EbbtideBrokerAbsent firing"), fmt.Sprint("alerts: ", alerts)
	})
}

// server is a Prometheus.
type server struct {
	t   *testing.T
	url string
}

// start starts one with the shipped rules, of which those about an absent broker wait for
// two seconds only, scraping the lab's broker as its administrator.
func start(t *testing.T, l *lab.Lab) server {
	t.Helper()
	rules, err := shipped.ReadRules()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for i := range g.Rules {
			if g.Rules[i].Alert == "EbbtideBrokerAbsent" {
				g.Rules[i].For = "2s"
			}
		}
	}
	folder := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, err := yaml.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	env, err := l.Env(lab.Broker)
	if err != nil {
		t.Fatal(err)
	}
	address, err := env.Listen("metrics")
	if err != nil {
		t.Fatal(err)
	}
	admin := l.Config()
	return server{t, prometheus.Start(t, map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []any{write("rules.yaml", text)},
		"scrape_configs": []any{map[string]any{
			"job_name": "ebbtide-broker", "scheme": "https",
			"static_configs": []any{map[string]any{"targets": []any{address}}},
			"tls_config": map[string]any{
				"insecure_skip_verify": true,
				"cert_file":            write("cert.pem", admin.CertData), "key_file": write("key.pem", admin.KeyData),
			},
		}},
	})}
}

// get asks the HTTP API, and fills data from its answer.
func (s server) get(path string, data any) error {
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: data}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s: %w: %.200s", path, err, text)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

// query says how many series an expression has.
func (s server) query(expr string) (int, error) {
	var data struct {
		Result []any `json:"result"`
	}
	err := s.get("/api/v1/query?"+url.Values{"query": {expr}}.Encode(), &data)
	return len(data.Result), err
}

// await waits until an expression has a series.
func (s server) await(expr string) {
	s.t.Helper()
	labtest.Eventually(s.t, patience, func(context.Context) (bool, string) {
		n, err := s.query(expr)
		return err == nil && n > 0, fmt.Sprintf("%s: %d series, %v", expr, n, err)
	})
}

// healthy waits until every rule was evaluated after a time, and fails if one cannot be.
func (s server) healthy(since time.Time) {
	s.t.Helper()
	labtest.Eventually(s.t, patience, func(context.Context) (bool, string) {
		var data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError string
					LastEvaluation          time.Time
				}
			}
		}
		if err := s.get("/api/v1/rules", &data); err != nil {
			return false, err.Error()
		}
		known, all := 0, 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					s.t.Fatalf("the rule %s: %s", r.Name, r.LastError)
				}
				all++
				if r.Health == "ok" && r.LastEvaluation.After(since) {
					known++
				}
			}
		}
		return known == all && all >= 20, fmt.Sprintf("%d of %d rules were evaluated, want all, and at least 20", known, all)
	})
}

// evaluates asks for every expression of the dashboards, and waits until some have something
// to show: under load a scrape can fail, after which nothing has for a second.
func (s server) evaluates() {
	s.t.Helper()
	variable := regexp.MustCompile(`\$\w+`)
	labtest.Eventually(s.t, patience, func(context.Context) (bool, string) {
		asked, answered := 0, 0
		for _, d := range shipped.Dashboards() {
			for _, row := range d.Rows {
				for _, p := range row.Panels {
					for _, q := range p.Queries {
						n, err := s.query(variable.ReplaceAllString(q.Expr, ".*"))
						if err != nil {
							s.t.Fatalf("%s, %s: %v", d.Title, p.Title, err)
						}
						asked++
						if n > 0 {
							answered++
						}
					}
				}
			}
		}
		said := fmt.Sprintf("%d of %d expressions of dashboards have something to show, want at least 10", answered, asked)
		s.t.Log(said)
		return answered >= 10, said
	})
}

// alerts are those that are pending or fire, each with its state.
func (s server) alerts() (list []string) {
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := s.get("/api/v1/alerts", &data); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range data.Alerts {
		list = append(list, a.Labels["alertname"]+" "+a.State)
	}
	return list
}
