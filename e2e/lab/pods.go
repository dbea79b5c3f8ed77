package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab/container"
	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
)

// preparePods makes what runs the pods that are processes.
func (l *Lab) preparePods() (err error) {
	if len(l.opts.Programs) == 0 {
		return nil
	}
	config, err := l.UserConfig("lab-kubelet")
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make the kubelet's client: %w", err)
	}
	l.programs, err = container.NewRuntime(container.Options{
		Programs: l.opts.Programs,
		Dir:      l.folder.Join("pods"), Logs: l.folder.Join("logs", "pods"),
		APIServer: l.apiAddr, CA: l.authority.CertPEM,
		Tokens: tokens{client}, Starter: l.starter,
	})
	return err
}

// NFS returns the folder that stands for a path of an nfs volume, as all pods see it
// that are processes.
func (l *Lab) NFS(server, path string) (string, error) {
	if l.programs == nil {
		return "", errors.New("find an nfs volume: no pod of this lab is a process")
	}
	return l.programs.NFS(server, path)
}

// tokens are those of pods' service accounts, as the kubelet asks for them.
type tokens struct{ client kubernetes.Interface }

// Token returns one that ends with the pod.
func (t tokens) Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	answer, err := t.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

// withoutGPUs makes kwok leave the pods alone that ask for whole GPUs.
func withoutGPUs(stages []byte) ([]byte, error) {
	leaves := fmt.Appendf(nil, "select(startswith(%q))", kubelet.SlicePrefix)
	if bytes.Count(stages, leaves) != 1 {
		return nil, errors.New("read kwok's stages: there is not one that leaves pods on slices alone")
	}
	return bytes.Replace(stages, leaves, fmt.Appendf(nil, "select(startswith(%q) or . == %q)", kubelet.SlicePrefix, kubelet.WholeGPU), 1), nil
}

// handsGPUs: there are whole GPUs beside cards that are cut, and so pods get devices for
// these, too.
func (o Options) handsGPUs() bool {
	return slices.ContainsFunc(o.Nodes, func(n NodeSpec) bool { return n.Cards != nil && n.Cards.Whole > 0 })
}

// withoutPrograms makes kwok leave the pods alone that are processes.
func withoutPrograms(stages []byte, programs map[string]string) ([]byte, error) {
	if len(programs) == 0 {
		return stages, nil
	}
	images, err := json.Marshal(slices.Sorted(maps.Keys(programs)))
	if err != nil {
		return nil, fmt.Errorf("encode the images of programs: %w", err)
	}
	starts := []byte("    - {key: '.status.podIP', operator: DoesNotExist}\n")
	if bytes.Count(stages, starts) != 1 {
		return nil, errors.New("read kwok's stages: there is not one that starts pods")
	}
	others := fmt.Appendf(nil, "    - {key: '.spec.containers.[].image', operator: NotIn, values: %s}\n", images)
	return bytes.Replace(stages, starts, append(others, starts...), 1), nil
}
