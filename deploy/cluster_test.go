package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// Users of the cluster, as the API server knows them. The tenant has Kubernetes'
// own role edit in the test's namespace, and nothing else.
const (
	administrator = ""
	tenant        = "alice"
	broker        = "system:serviceaccount:ebbtide-system:ebbtide-broker"
	scheduler     = "system:serviceaccount:ebbtide-system:ebbtide-scheduler"
	jobController = "system:serviceaccount:kube-system:job-controller"
	replicaSets   = "system:serviceaccount:kube-system:replicaset-controller"
	daemonSets    = "system:serviceaccount:kube-system:daemon-set-controller"
	collector     = "system:serviceaccount:kube-system:generic-garbage-collector"
)

// shared is the one control plane of all tests in this package.
var shared *lab.Lab

// namespaces counts the namespaces made, to name them.
var namespaces atomic.Int32

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	manifests, err := deploy.Manifests()
	if err != nil {
		log.Printf("read the manifests: %v", err)
		return 1
	}
	shared, err = lab.Start(ctx, lab.Options{Logf: log.Printf, NoPrometheus: true, Manifests: [][]byte{manifests}})
	if err != nil {
		log.Printf("start a control plane: %v", err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		log.Printf("stop the control plane: %v", err)
		return 1
	}
	return code
}

// cluster is a real API server with Ebbtide's manifests applied.
type cluster struct {
	admin *rest.Config
}

func testCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{admin: shared.Config()}
}

// as returns the configuration of a user; it acts by impersonation, so that
// roles and policies see exactly that user.
func (c *cluster) as(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(c.admin)
	if user != administrator {
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	}
	return config
}

func (c *cluster) client(t *testing.T, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.as(user, groups...))
	if err != nil {
		t.Fatalf("make a client for %s: %v", user, err)
	}
	return client
}

// ebbtide returns a client of one of Ebbtide's kinds.
func (c *cluster) ebbtide(t *testing.T, user, plural string, namespaced bool, namespace string) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(c.as(user))
	if err != nil {
		t.Fatalf("make a client for %s: %v", user, err)
	}
	if !namespaced {
		return client.Resource(ebbtideResource(plural))
	}
	return client.Resource(ebbtideResource(plural)).Namespace(namespace)
}

// namespace makes a namespace for one test, in which the tenant may edit.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("team-%d", namespaces.Add(1))
	if err := shared.CreateNamespace(t.Context(), name, nil); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	_, err := c.client(t, administrator).RbacV1().RoleBindings(name).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "team"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: tenant}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("let %s edit %s: %v", tenant, name, err)
	}
	// A controller adds Ebbtide's rules to Kubernetes' role edit, and the API
	// server learns of bindings from a watch.
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		for _, r := range []struct{ group, plural string }{{"batch", "jobs"}, {"ebbtide.dev", "lendingpolicies"}} {
			allowed, why, err := c.may(ctx, tenant, "create", r.group, r.plural, name)
			if err != nil || !allowed {
				return false, fmt.Sprintf("%s may not create %s yet: %s %v", tenant, r.plural, why, err)
			}
		}
		return true, ""
	})
	return name
}

// may asks the API server whether a user has a right, and why.
func (c *cluster) may(ctx context.Context, user, verb, group, path, namespace string) (bool, string, error) {
	groups := []string{"system:authenticated"}
	if user == broker || user == scheduler {
		groups = append(groups, "system:serviceaccounts", "system:serviceaccounts:ebbtide-system")
	}
	name, subresource, _ := strings.Cut(path, "/")
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return false, "", err
	}
	answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: verb, Group: group, Resource: name, Subresource: subresource, Namespace: namespace,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, "", err
	}
	return answer.Status.Allowed, answer.Status.Reason, nil
}

// difference is the patch that turns one object into another.
func difference(t *testing.T, from, to any) []byte {
	t.Helper()
	old, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := json.Marshal(to)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(old, changed, from)
	if err != nil {
		t.Fatal(err)
	}
	return patch
}

// wantOutcome checks that the API server accepted, if want is empty, or refused
// and said want.
func wantOutcome(t *testing.T, err error, want string) {
	t.Helper()
	if want != "" {
		wantRefusal(t, err, want)
		return
	}
	if err != nil {
		t.Errorf("refused, want it accepted: %v", err)
	}
}

// who names a user in the name of a test.
func who(user string) string {
	switch user {
	case administrator:
		return "administrator"
	case tenant:
		return "tenant"
	}
	return user[strings.LastIndex(user, ":")+1:]
}
