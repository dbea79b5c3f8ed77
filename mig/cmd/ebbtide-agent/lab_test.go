package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/mig/nvml"
)

// The agent itself, with the rights and policies that it is installed with, on a node
// without a driver: it says so, and that nothing is to be lent there.
func TestAgentWithoutDriver(t *testing.T) {
	if gpus, err := nvml.Open(); err == nil {
		_ = gpus.Close()
		t.Skip("this machine has NVIDIA's driver")
	}
	const name = "gpu-0"
	l := labtest.New(t, lab.Options{Nodes: []lab.NodeSpec{{Name: name, GPUs: 1}}, NoPrometheus: true, Manifests: manifests(t)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	o := options{
		node: name, kubeconfig: tokenOf(t, l, name), stateDir: filepath.Join(t.TempDir(), "state"), allocation: "DevicePlugin",
		kubelet: socket(t), plugins: []string{"app=plugin"}, listen: listenOptions{address: "127.0.0.1:0"}, interval: 200 * time.Millisecond,
		doctor: doctorOptions{root: t.TempDir()},
	}
	go func() { ended <- run(ctx, o) }()
	api, err := lab.TypedClient(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, 2*time.Minute, func(ctx context.Context) (bool, string) {
		select {
		case err := <-ended:
			t.Fatalf("the agent ended: %v", err)
		default:
		}
		found := &v1alpha1.GPUNode{}
		if err := api.Get(ctx, client.ObjectKey{Name: name}, found); err != nil {
			return false, err.Error()
		}
		ready := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.GPUNodeReady)
		lendable := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.GPUNodeLendable)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == "DriverUnavailable" &&
				lendable != nil && lendable.Status != metav1.ConditionTrue && found.Status.Heartbeat.IsZero() && len(found.OwnerReferences) == 1,
			fmt.Sprintf("the GPUNode is %+v", found)
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

// manifests are those of an install with agents, file by file: what renders them links
// package plugin, and a program that does cannot load a driver's library later.
func manifests(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	for _, pattern := range []string{"crds/ebbtide*.yaml", "kustomize/cluster/[^k]*.yaml", "kustomize/components/agent/access/[^k]*.yaml"} {
		files, err := filepath.Glob(filepath.Join("../../../deploy", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files (%v)", pattern, len(files), err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, content)
		}
	}
	return all
}

// socket is where no kubelet answers.
func socket(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	path := filepath.Join(folder, "kubelet.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return path
}

// tokenOf writes a kubeconfig for the agent on a node.
func tokenOf(t *testing.T, l *lab.Lab, node string) string {
	t.Helper()
	n, err := l.Client().CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := l.Client().CoreV1().ServiceAccounts(lab.AgentNamespace).CreateToken(t.Context(), "ebbtide-agent",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: n.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: l.Config().Host, CertificateAuthorityData: l.Config().CAData, CertificateAuthority: l.Config().CAFile}
	config.AuthInfos["agent"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["agent"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "agent"}
	config.CurrentContext = "agent"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
