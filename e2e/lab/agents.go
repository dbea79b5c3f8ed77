package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// AgentOf is the name of the part that is the agent on a node.
func AgentOf(node string) string { return build.Agent + "-" + node }

// agents run as the service account of Ebbtide's agent, with a token that names the node,
// as one is that a pod of a DaemonSet has.
var agents = programKind{
	binary: build.Agent, namespace: AgentNamespace, account: "ebbtide-agent", scheme: "http",
	command: func(*Lab, Program, Env) ([]string, error) { return nil, nil },
}

// StartAgent starts the agent of a node with cards and waits until it is ready. Its state
// is in the folder of its part, and outlasts it.
func (l *Lab) StartAgent(ctx context.Context, node string, p Program) (*Part, error) {
	if l.devices.Node(node) == nil {
		return nil, fmt.Errorf("start an agent on node %s: it has no cards", node)
	}
	p.Name = AgentOf(node)
	kubelet, plugin := l.sockets(node)
	kind := agents
	kind.kubeconfig = func(ctx context.Context) (string, error) { return l.nodeKubeconfig(ctx, kind.account, node) }
	kind.command = func(l *Lab, p Program, e Env) ([]string, error) {
		return []string{
			"--node=" + node, "--kubeconfig=" + e.Kubeconfig, "--state-dir=" + e.Dir, "--listen=" + e.Addr,
			"--gpus=" + l.cardsFolder(node), "--kubelet=" + kubelet, "--plugin=" + plugin,
		}, nil
	}
	return l.startProgram(ctx, kind, p)
}

// nodeKubeconfig writes a kubeconfig that acts as a service account on a node.
func (l *Lab) nodeKubeconfig(ctx context.Context, account, node string) (string, error) {
	n, err := l.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token for node %s: %w", node, err)
	}
	token, err := l.client.CoreV1().ServiceAccounts(AgentNamespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: ptr.To[int64](tokenSeconds),
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: n.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token for node %s: %w", node, err)
	}
	return l.writeKubeconfig("agent-"+node, &clientcmdapi.AuthInfo{Token: token.Status.Token})
}

// FailAgent has the agent of a node die at one of agent.Failpoints or dra.Failpoints, after
// so many others of its name, once.
func (l *Lab) FailAgent(node, step string, after int) error {
	return l.tellAgent(node, "failpoint", fmt.Sprintf("%s %d", step, after))
}

// SetLendable has the agent of a node say that it is lendable, or for what reason it is
// not.
func (l *Lab) SetLendable(node, problem string) error { return l.tellAgent(node, "doctor", problem) }

// tellAgent puts a file into an agent's folder, or takes it away if it would be empty.
func (l *Lab) tellAgent(node, name, text string) error {
	e, err := l.Env(AgentOf(node))
	if err != nil {
		return err
	}
	path := filepath.Join(e.Dir, name)
	if text == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("tell the agent of node %s: %w", node, err)
		}
		return nil
	}
	// Whole at once: the agent reads it at any time.
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("tell the agent of node %s: %w", node, err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("tell the agent of node %s: %w", node, err)
	}
	return nil
}
