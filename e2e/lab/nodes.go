package lab

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/e2e/lab/kubelet"
)

// What a node has unless its NodeSpec says otherwise.
const (
	DefaultResource = "nvidia.com/gpu"
	DefaultProduct  = "NVIDIA-H100-80GB-HBM3"
	LabelProduct    = "nvidia.com/gpu.product"
)

const parallelNodes = 16

// NodeSpec describes a simulated node.
type NodeSpec struct {
	Name string
	// GPUs is how many units of Resource the node has. A node without any gets
	// neither the resource nor the product label.
	GPUs int64
	// Resource is the extended resource; DefaultResource if empty.
	Resource corev1.ResourceName
	// Labels are set beside kubernetes.io/hostname and, with GPUs, LabelProduct,
	// which is DefaultProduct unless it is given here.
	Labels map[string]string
	// Extra capacity, for instance of MIG resources. cpu (192), memory (2Ti) and
	// pods (110) may be overridden here as well.
	Extra corev1.ResourceList
	// Cards are GPUs of which some are cut into slices, instead of GPUs that are only counted.
	Cards *Cards
}

// Node returns the object that AddNodes creates.
func (s NodeSpec) Node() *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("192"),
		corev1.ResourceMemory: resource.MustParse("2Ti"),
		corev1.ResourcePods:   resource.MustParse("110"),
		// Some operators ask for it for the containers that they add.
		corev1.ResourceEphemeralStorage: resource.MustParse("8Ti"),
	}
	labels := map[string]string{
		corev1.LabelHostname:   s.Name,
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: "amd64",
	}
	if s.GPUs > 0 {
		name := s.Resource
		if name == "" {
			name = DefaultResource
		}
		capacity[name] = *resource.NewQuantity(s.GPUs, resource.DecimalSI)
		labels[LabelProduct] = DefaultProduct
	}
	maps.Copy(labels, s.Labels)
	maps.Copy(capacity, s.Extra)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Labels: labels},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity.DeepCopy()},
	}
}

// AddNodes creates the nodes and waits until each is ready and free of the taint
// that keeps pods off a new node.
func (l *Lab) AddNodes(ctx context.Context, specs []NodeSpec) error {
	nodes := l.client.CoreV1().Nodes()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelNodes)
	for _, spec := range specs {
		group.Go(func() error {
			node := spec.Node()
			if spec.Cards != nil {
				n, err := l.addCards(groupCtx, spec)
				if err != nil {
					return err
				}
				withCards(node, spec, n)
			}
			if _, err := nodes.Create(groupCtx, node, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("create node %s: %w", spec.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	waiting := make(map[string]bool, len(specs))
	for _, spec := range specs {
		waiting[spec.Name] = true
	}
	if err := l.waitNodes(ctx, waiting, usable); err != nil {
		return err
	}
	return l.startAgents(ctx, specs)
}

// startAgents starts the agents of nodes with cards, if the lab has any.
func (l *Lab) startAgents(ctx context.Context, specs []NodeSpec) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelNodes)
	for _, spec := range specs {
		if spec.Cards == nil || l.opts.Agent == nil {
			continue
		}
		group.Go(func() error {
			_, err := l.StartAgent(ctx, spec.Name, *l.opts.Agent)
			return err
		})
	}
	return group.Wait()
}

// LoseNode takes a node off the network: it turns NotReady and its kubelet stands
// still. It returns once the node's condition says so and its kubelet does.
func (l *Lab) LoseNode(ctx context.Context, name string) error {
	if err := l.patchLost(ctx, name, `""`); err != nil {
		return err
	}
	l.mu.Lock()
	nodes := l.nodes
	l.mu.Unlock()
	return l.waitNodes(ctx, map[string]bool{name: true}, func(n *corev1.Node) bool { return !ready(n) && nodes.Lost(n.Name) })
}

// RecoverNode brings a lost node back and waits until it can be used again.
func (l *Lab) RecoverNode(ctx context.Context, name string) error {
	if err := l.patchLost(ctx, name, "null"); err != nil {
		return err
	}
	return l.waitNodes(ctx, map[string]bool{name: true}, usable)
}

func (l *Lab) patchLost(ctx context.Context, name, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, kubelet.LabelNodeLost, value)
	_, err := l.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("label node %s: %w", name, err)
	}
	return nil
}

// waitNodes polls until every named node satisfies the condition.
func (l *Lab) waitNodes(ctx context.Context, waiting map[string]bool, satisfied func(*corev1.Node) bool) error {
	const interval = 50 * time.Millisecond
	err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		list, err := l.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, fmt.Errorf("list nodes: %w", err)
		}
		for i := range list.Items {
			if satisfied(&list.Items[i]) {
				delete(waiting, list.Items[i].Name)
			}
		}
		return len(waiting) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %d nodes: %w", len(waiting), ended(ctx, err))
	}
	return nil
}

// ended is why ctx ended, or else err.
func ended(ctx context.Context, err error) error {
	return cmp.Or(context.Cause(ctx), err)
}

func usable(n *corev1.Node) bool {
	for _, taint := range n.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
			return false
		}
	}
	return ready(n)
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// CreateNamespace creates a namespace and waits for its default service account,
// without which no pod can be created in it. One that exists keeps its labels.
func (l *Lab) CreateNamespace(ctx context.Context, name string, labels map[string]string) error {
	_, err := l.client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		_, err := l.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("wait for the default service account of namespace %s: %w", name, ended(ctx, err))
	}
	return nil
}
