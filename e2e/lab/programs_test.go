package lab_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// fakeBroker is what this test binary is under the name of the broker: it takes
// the broker's flags, says who it is to the cluster, and ends when it is told to.
func fakeBroker() {
	flags := flag.NewFlagSet(lab.Broker, flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "")
	config := flags.String("config", "", "")
	word := flags.String("word", "", "")
	if err := flags.Parse(os.Args[1:]); err != nil {
		panic(err)
	}
	addr, err := os.ReadFile(*config)
	if err != nil {
		panic(err)
	}
	rest, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		panic(err)
	}
	client := kubernetes.NewForConfigOrDie(rest)
	http.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		_, err := client.CoreV1().Nodes().List(r.Context(), metav1.ListOptions{})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "fake_broker{word=%q,env=%q} 1\n", *word, os.Getenv("EBBTIDE_FAKE"))
	})
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	panic(http.ListenAndServe(string(addr), nil))
}

// programsDir holds the real control plane, this test binary as the broker and the
// stock scheduler as Ebbtide's.
func programsDir(t *testing.T) string {
	t.Helper()
	real, err := lab.Programs(t.Context(), lab.Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, target := range map[string]string{
		"controlplane": filepath.Join(real, "controlplane"), "kwok": filepath.Join(real, "kwok"),
		"prometheus": filepath.Join(real, "prometheus"), lab.Broker: self,
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nexec " + filepath.Join(real, "controlplane") + ` kube-scheduler "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(dir, lab.Scheduler), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

const programRights = `
kind: ClusterRoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: scheduler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:kube-scheduler"}
subjects: [{kind: ServiceAccount, name: ebbtide-scheduler, namespace: ebbtide-system}]
---
kind: ClusterRoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: scheduler-volumes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:volume-scheduler"}
subjects: [{kind: ServiceAccount, name: ebbtide-scheduler, namespace: ebbtide-system}]
---
kind: ClusterRoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: broker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:kube-scheduler"}
subjects: [{kind: ServiceAccount, name: ebbtide-broker, namespace: ebbtide-system}]
`

const schedulerProfile = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles: [{schedulerName: ebbtide}]
`

func TestPrograms(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	config := func(e lab.Env) ([]byte, error) { return []byte(e.Addr), nil }
	l := labtest.New(t, lab.Options{
		BinDir: programsDir(t), Manifests: [][]byte{[]byte(programRights)}, ScrapeInterval: 200 * time.Millisecond,
		Nodes:     []lab.NodeSpec{{Name: gpuNode, GPUs: 8}},
		Scheduler: &lab.Program{Config: func(lab.Env) ([]byte, error) { return []byte(schedulerProfile), nil }},
		Broker: &lab.Program{
			Config: config, Restart: true, Environ: []string{"EBBTIDE_FAKE=yes"},
			Args: func(e lab.Env) []string { return []string{"--word=" + e.Part} },
		},
	})
	// The scheduler works, under its own name.
	if err := l.CreateNamespace(ctx, tenant, nil); err != nil {
		t.Fatal(err)
	}
	p := pod("online", nil)
	p.Spec.SchedulerName = "ebbtide"
	if _, err := l.Client().CoreV1().Pods(tenant).Create(ctx, p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
		p, err := l.Client().CoreV1().Pods(tenant).Get(ctx, "online", metav1.GetOptions{})
		return err == nil && p.Spec.NodeName == gpuNode && p.Status.Phase == corev1.PodRunning, fmt.Sprint(p, err)
	})
	// Prometheus scrapes both.
	for _, query := range []string{`fake_broker{word="ebbtide-broker",env="yes"}`, `up{job="ebbtide-scheduler"}==1`} {
		labtest.Eventually(t, time.Minute, func(ctx context.Context) (bool, string) {
			body, err := l.Query(ctx, query)
			return strings.Contains(body, `"value":[`), fmt.Sprint(body, err)
		})
	}
	// A program with Restart comes back by itself, at its old address.
	broker := l.Part(lab.Broker)
	env, err := l.Env(lab.Broker)
	if err != nil {
		t.Fatal(err)
	}
	before := broker.PID()
	if _, err := get(ctx, "http://"+env.Addr+"/exit"); err == nil {
		t.Error("the broker answered although it ended")
	}
	labtest.Eventually(t, time.Minute, func(context.Context) (bool, string) {
		return broker.PID() != before && broker.PID() != 0, "the broker did not come back"
	})
	if err := broker.WaitReady(ctx); err != nil {
		t.Error(err)
	}
	// A second one has a place of its own; it cannot come up without a config.
	second, err := l.StartBroker(ctx, lab.Program{Name: "ebbtide-broker-2", Config: config})
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Env("ebbtide-broker-2")
	if err != nil {
		t.Fatal(err)
	}
	web, err := other.Listen("web")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := other.Listen("web"); err != nil || again != web {
		t.Errorf("asked again, web is at %s (%v), not at %s", again, err, web)
	}
	if other.Addr == env.Addr || other.Dir == env.Dir || other.Kubeconfig == env.Kubeconfig || web == other.Addr {
		t.Errorf("two brokers share something: %+v %+v", env, other)
	}
	if err := second.Stop(); err != nil {
		t.Error(err)
	}
	_, err = l.StartBroker(ctx, lab.Program{Name: "ebbtide-broker-3"})
	if err == nil || !strings.Contains(err.Error(), "wait for ebbtide-broker-3: the part is not running") {
		t.Errorf("a broker that cannot start: %v", err)
	}
	if l.Part("ebbtide-broker-3") != nil || l.Err() != nil {
		t.Errorf("a broker that could not start is a part, or a failure of the lab: %v", l.Err())
	}
}
