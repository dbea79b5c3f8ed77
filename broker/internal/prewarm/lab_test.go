package prewarm_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// manual is the documentation and the YAML in it, in its order.
func manual(t *testing.T) (policy, configuration, roles []byte) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/tasks/prewarm.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]byte
	for _, part := range bytes.Split(text, []byte("```yaml\n"))[1:] {
		block, _, _ := bytes.Cut(part, []byte("```"))
		blocks = append(blocks, block)
	}
	if len(blocks) != 3 {
		t.Fatalf("the documentation has %d blocks of YAML, want 3", len(blocks))
	}
	return blocks[0], blocks[1], blocks[2]
}

// TestDataLoad does what docs/tasks/prewarm.md says, on a real API server, as the
// broker's service account, with Fluid's kind.
func TestDataLoad(t *testing.T) {
	policyText, configuration, roles := manual(t)
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	definition, err := os.ReadFile("testdata/dataload-crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	namespace := []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: serving}\n")
	l := labtest.New(t, lab.Options{NoPrometheus: true, Manifests: [][]byte{manifests, definition, namespace, policyText}})
	admin, broker := clientOf(t, l.Config()), clientOf(t, asBroker(l.Config()))

	var policy v1alpha1.LendingPolicy
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "serving", Name: "chat"}, &policy); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Hooks struct {
			Kinds []prewarm.Kind `json:"kinds"`
		} `json:"hooks"`
	}
	if err := yaml.UnmarshalStrict(configuration, &config); err != nil {
		t.Fatal(err)
	}
	heard := events.NewFakeRecorder(100)
	clock := clocktesting.NewFakePassiveClock(time.Now())
	runner := &prewarm.Runner{Client: broker, Live: broker, Recorder: heard, Clock: clock, Kinds: config.Hooks.Kinds}
	lent := clock.Now()
	reclaim := func() { // five seconds later, as often as objects are looked at
		t.Helper()
		clock.SetTime(clock.Now().Add(5 * time.Second))
		snapshot := &lend.Snapshot{Now: clock.Now(), Loans: []lend.Loan{{Name: "research/a", Since: lent}}}
		plan := &lend.Plan{Actions: []lend.Action{{Kind: lend.ActionReclaim, Loan: "research/a", Owed: []lend.Owed{{Lender: "serving/chat"}}}}}
		if err := runner.Reconcile(t.Context(), map[string]*v1alpha1.LendingPolicy{"serving/chat": &policy}, snapshot, plan); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(want string) {
		t.Helper()
		select {
		case got := <-heard.Events:
			if !strings.Contains(got, want) {
				t.Fatalf("heard %q, want %q", got, want)
			}
		default:
			t.Fatalf("heard nothing, want %q", want)
		}
	}

	// Without the rights that the documentation gives it, the broker gives up.
	reclaim()
	hears("Warning HookFailed before-return: create DataLoad of data.fluid.io/v1alpha1: dataloads.data.fluid.io is forbidden")
	if err := l.Apply(t.Context(), roles); err != nil {
		t.Fatal(err)
	}
	// The API server acts on new roles some moments later.
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		err := broker.List(ctx, dataLoads())
		return err == nil, fmt.Sprint(err)
	})
	lent = clock.Now().Add(time.Second)
	reclaim()
	hears("Normal HookBegun before-return: created DataLoad chat-return-")
	list := dataLoads()
	if err := admin.List(t.Context(), list); err != nil || len(list.Items) != 1 {
		t.Fatalf("%d objects, %v", len(list.Items), err)
	}
	load := &list.Items[0]
	want := map[string]any{
		"dataset": map[string]any{"name": "qwen-14b", "namespace": "serving"}, "loadMetadata": true,
		"target": []any{map[string]any{"path": "/", "replicas": int64(1)}},
	}
	if diff := cmp.Diff(want, load.Object["spec"]); diff != "" || load.GetNamespace() != "serving" {
		t.Errorf("created in %s (-want +got):\n%s", load.GetNamespace(), diff)
	}
	reclaim()
	if len(heard.Events) > 0 {
		t.Errorf("heard %q before it is complete", <-heard.Events)
	}
	load.Object["status"] = map[string]any{"phase": "Complete", "duration": "3s", "conditions": []any{}}
	if err := admin.Status().Update(t.Context(), load); err != nil {
		t.Fatal(err)
	}
	reclaim()
	hears("Normal HookReady before-return: DataLoad chat-return-")

	// It goes with its policy.
	if err := admin.Delete(t.Context(), &policy, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		left := dataLoads()
		err := admin.List(ctx, left)
		return err == nil && len(left.Items) == 0, fmt.Sprintf("%d are left, %v", len(left.Items), err)
	})
}

func dataLoads() *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(dataLoad.GroupVersion().WithKind("DataLoadList"))
	return list
}

func asBroker(config *rest.Config) *rest.Config {
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:ebbtide-system:ebbtide-broker", Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}
	return config
}

func clientOf(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestManual: the policy in the documentation is one.
func TestManual(t *testing.T) {
	text, _, _ := manual(t)
	var policy v1alpha1.LendingPolicy
	if err := yaml.UnmarshalStrict(text, &policy); err != nil {
		t.Fatal(err)
	}
	if policy.Spec.Hooks == nil || policy.Spec.Hooks.BeforeReturn == nil || policy.Spec.Hooks.BeforeReturn.Timeout.Duration != 10*time.Minute {
		t.Errorf("hooks %+v", policy.Spec.Hooks)
	}
}
