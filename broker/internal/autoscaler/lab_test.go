package autoscaler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/ebbtide/ebbtide/broker/internal/autoscaler"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: scaledobjects.keda.sh}
spec:
  group: keda.sh
  names: {kind: ScaledObject, listKind: ScaledObjectList, plural: scaledobjects, singular: scaledobject}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

const scaledChat = `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, namespace: default}
spec: {scaleTargetRef: {name: chat}, maxReplicaCount: 7}
`

// TestInstalledOnAServer: KEDA's kind is installed while a broker runs, with the rights
// that the broker has.
func TestInstalledOnAServer(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{NoPrometheus: true, Manifests: [][]byte{manifests}})
	config := l.Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:ebbtide-system:ebbtide-broker", Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}
	caches, err := cache.New(config, cache.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- caches.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	changed := make(chan struct{}, 1)
	kinds := &autoscaler.Kinds{Cache: caches, Changed: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}}
	read := func() *autoscaler.Found {
		t.Helper()
		found, err := kinds.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	kinds.Look(t.Context())
	if found := read(); len(found.Unread) != 0 {
		t.Fatalf("nothing is installed, and unread are %v", found.Unread)
	}
	if err := l.Apply(t.Context(), []byte(definition)); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		err := l.Apply(ctx, []byte(scaledChat))
		return err == nil, fmt.Sprint(err)
	})
	target := autoscaler.Ref{Namespace: "default", Group: "apps", Kind: "Deployment", Name: "chat"}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		kinds.Look(ctx)
		found := read()
		if found.Get(autoscaler.ScaledObjects, types.NamespacedName{Namespace: "default", Name: "chat"}) == nil {
			return false, fmt.Sprintf("the ScaledObject is not found; unread are %v", found.Unread)
		}
		o := autoscaler.NewSet(nil, found).Of(target)
		return o.Max == 7, fmt.Sprintf("got %+v", o)
	})
	select {
	case <-changed:
	case <-time.After(2 * time.Minute):
		t.Error("nobody was told of the ScaledObject")
	}
}
