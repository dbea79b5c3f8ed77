package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// boundedLabels are what series of the broker's may be told apart by: what administrators and
// services' owners make, and words of the program's own. There is one head at a time.
var boundedLabels = []string{
	"bound", "entry", "flavor", "head", "id", "kind", "law", "lender", "outcome", "queue", "queue_namespace", "reason", "resource",
	"state", "step", "tenant",
}

// boundMetrics looks for labels by which a tenant could make as many series as it can make
// jobs.
func (w *town) boundMetrics(text string) {
	w.t.Helper()
	names := map[string]bool{}
	for _, list := range []client.ObjectList{&corev1.PodList{}, &v1alpha1.LoanList{}} {
		if err := w.api.List(w.t.Context(), list); err != nil {
			w.t.Fatal(err)
		}
		switch l := list.(type) {
		case *corev1.PodList:
			for i := range l.Items {
				names[l.Items[i].Name], names[string(l.Items[i].UID)] = true, true
			}
		case *v1alpha1.LoanList:
			for i := range l.Items {
				names[l.Items[i].Name], names[l.Items[i].Spec.Job.Name] = true, true
			}
		}
	}
	for _, wrong := range unbounded(text, names) {
		w.t.Error(wrong)
	}
}

// unbounded says which labels of a metrics page are not of the bounded ones, or have the name
// of a pod, a job or a loan in them.
func unbounded(text string, names map[string]bool) (wrong []string) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	own := 0
	for name, family := range families {
		ours := strings.HasPrefix(name, "ebbtide_")
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if ours && !slices.Contains(boundedLabels, label.GetName()) {
					wrong = append(wrong, fmt.Sprintf("%s has the label %s, which is not one of %v", name, label.GetName(), boundedLabels))
				}
				for part := range strings.SplitSeq(label.GetValue(), "/") {
					if names[part] {
						wrong = append(wrong, fmt.Sprintf("%s has %s=%q, which is the name of a pod, a job or a loan", name, label.GetName(), label.GetValue()))
					}
				}
			}
		}
		if ours {
			own++
		}
	}
	if own < 10 {
		wrong = append(wrong, fmt.Sprintf("only %d of the broker's own metrics are there", own))
	}
	return wrong
}

// Every scenario looks at the metrics of its world in the end (judge); this looks at how.
func TestMetricsAreBounded(t *testing.T) {
	var page strings.Builder
	for i := range 10 {
		fmt.Fprintf(&page, "ebbtide_broker_thing_%d{lender=\"serving/chat\"} 1\n", i)
	}
	names := map[string]bool{"tune": true, "tune-0-x7k2p": true}
	if wrong := unbounded(page.String(), names); len(wrong) > 0 {
		t.Errorf("what is bounded is found guilty: %v", wrong)
	}
	for _, series := range []string{
		`ebbtide_broker_waits{job="research/x"} 1`, `ebbtide_broker_waits{pod="x"} 1`, `ebbtide_broker_waits{reason="research/tune"} 1`,
		`workqueue_depth{name="tune-0-x7k2p"} 1`,
	} {
		if len(unbounded(page.String()+series+"\n", names)) == 0 {
			t.Errorf("%s would pass", series)
		}
	}
	if len(unbounded("up 1\n", names)) == 0 {
		t.Error("an empty page would pass")
	}
}
