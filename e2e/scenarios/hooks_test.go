package scenarios

import (
	"context"
	_ "embed"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

//go:embed testdata/dataload.yaml
var fluid []byte

const hookKinds = "hooks: {kinds: [{apiVersion: data.fluid.io/v1alpha1, kind: DataLoad}]}\n"

// Before anything is lent the borrowers' data is loaded, and when units are asked back
// the owner's model is, with Fluid's DataLoad. Lending waits for the first; an online
// pod waits for neither.
func TestHooksLoadData(t *testing.T) {
	t.Parallel()
	d := newDial(t)
	broker := brokerProgram()
	plain := broker.Config
	broker.Config = func(e lab.Env) ([]byte, error) {
		text, err := plain(e)
		return append(text, hookKinds...), err
	}
	w := raise(t, 2, lab.Options{SDURL: d.server.URL + "/targets", Broker: broker, Manifests: [][]byte{fluid}})
	w.dial = d
	d.follow(w.Client())
	w.settle(16)
	w.dial.set(2, 0)
	w.create(service(1, 8))
	policy := lends(16)
	policy.Spec.Hooks = &v1alpha1.Hooks{BeforeLend: loads("corpus"), BeforeReturn: loads("qwen-14b")}
	w.create(policy)
	w.submit("one", 1, 8, nil)

	before := w.awaitLoad("before-lend", "corpus")
	w.awaitVerdict("Lender/serving/chat", "Preparing")
	w.throughout(3 * time.Second)
	w.completeLoad(before)
	w.awaitLoans("one")
	w.awaitBound(trainingNamespace, 1)
	w.awaitEvent("HookReady")

	w.scale(2)
	after := w.awaitLoad("before-return", "qwen-14b")
	w.awaitBound(onlineNamespace, 2) // how soon, the auditor judges
	w.awaitLoans()
	w.completeLoad(after)
	w.closeTheBooks()
}

// loads is a hook that loads a dataset and waits for it.
func loads(dataset string) *v1alpha1.Hook {
	return &v1alpha1.Hook{
		Template: runtime.RawExtension{Raw: fmt.Appendf(nil, `{
			"apiVersion": "data.fluid.io/v1alpha1", "kind": "DataLoad",
			"spec": {"dataset": {"name": %q, "namespace": %q}, "loadMetadata": true, "target": [{"path": "/", "replicas": 1}]}
		}`, dataset, onlineNamespace)},
		Until:   v1alpha1.HookUntil{Field: ".status.phase", Value: "Complete"},
		Timeout: metav1.Duration{Duration: 5 * time.Minute},
	}
}

func (w *town) dataLoads() dynamic.ResourceInterface {
	return w.Dynamic().Resource(schema.GroupVersionResource{Group: "data.fluid.io", Version: "v1alpha1", Resource: "dataloads"}).Namespace(onlineNamespace)
}

// awaitLoad waits for the one DataLoad of a hook, and checks that it is the template's.
func (w *town) awaitLoad(hook, dataset string) *unstructured.Unstructured {
	w.t.Helper()
	var load *unstructured.Unstructured
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		list, err := w.dataLoads().List(ctx, metav1.ListOptions{LabelSelector: "ebbtide.dev/policy=chat,ebbtide.dev/hook=" + hook})
		if err != nil {
			return false, err.Error()
		}
		if len(list.Items) != 1 {
			return false, fmt.Sprintf("%s has made %d DataLoads, want one", hook, len(list.Items))
		}
		load = &list.Items[0]
		return true, ""
	})
	if name, _, _ := unstructured.NestedString(load.Object, "spec", "dataset", "name"); name != dataset {
		w.t.Errorf("%s loads %q, want %q", hook, name, dataset)
	}
	return load
}

// completeLoad says that all data is there, as Fluid's controller does.
func (w *town) completeLoad(load *unstructured.Unstructured) {
	w.t.Helper()
	load.Object["status"] = map[string]any{
		"phase": "Complete", "duration": "3s",
		"conditions": []any{map[string]any{"type": "Complete", "status": "True", "reason": "DataLoadJobComplete"}},
	}
	if _, err := w.dataLoads().UpdateStatus(w.t.Context(), load, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// awaitEvent waits for an event about the service's policy.
func (w *town) awaitEvent(reason string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		events, err := w.events(ctx, onlineNamespace, "LendingPolicy", "chat")
		return events[reason] != "", fmt.Sprintf("events %v, want %s (%v)", events, reason, err)
	})
}
