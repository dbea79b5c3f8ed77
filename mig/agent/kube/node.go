package kube

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// FieldOwner is who owns the status of GPUNodes.
const FieldOwner = "ebbtide-agent"

// Node is one node of a cluster, as its agent sees it.
type Node struct {
	name    string
	cache   cache.Cache
	reader  client.Reader // the cache
	client  client.Client
	changed chan struct{}

	mu sync.Mutex
	// last is the newest GPUNode that was read: a cache may begin with an older one.
	last *v1alpha1.GPUNode
}

// NewNode prepares to read a node. Start must run for as long as it is used.
func NewNode(config *rest.Config, name string) (*Node, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	named := fields.OneTermEqualSelector("metadata.name", name)
	c, err := cache.New(config, cache.Options{Scheme: scheme, ByObject: map[client.Object]cache.ByObject{
		&v1alpha1.GPUNode{}: {Field: named},
		&corev1.Node{}:      {Field: named},
		&corev1.Pod{}:       {Field: fields.OneTermEqualSelector("spec.nodeName", name), Transform: slim},
	}})
	if err != nil {
		return nil, fmt.Errorf("prepare to watch node %s: %w", name, err)
	}
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return &Node{name: name, cache: c, reader: c, client: direct, changed: make(chan struct{}, 1)}, nil
}

// Start watches until ctx ends. It returns at once with an error, or when the first
// reading is done; err has what ended the watching.
func (n *Node) Start(ctx context.Context) (err <-chan error, _ error) {
	informer, e := n.cache.GetInformer(ctx, &v1alpha1.GPUNode{}, cache.BlockUntilSynced(false))
	if e != nil {
		return nil, fmt.Errorf("watch the GPUNode: %w", e)
	}
	if _, e := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { n.tell() },
		UpdateFunc: func(old, now any) {
			if old.(*v1alpha1.GPUNode).Generation != now.(*v1alpha1.GPUNode).Generation {
				n.tell()
			}
		},
		DeleteFunc: func(any) { n.tell() },
	}); e != nil {
		return nil, fmt.Errorf("watch the GPUNode: %w", e)
	}
	for _, kind := range []client.Object{&corev1.Node{}, &corev1.Pod{}} {
		if _, e := n.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); e != nil {
			return nil, fmt.Errorf("watch %T: %w", kind, e)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- n.cache.Start(ctx) }()
	if !n.cache.WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("read node %s: %w", n.name, context.Cause(ctx))
	}
	return ended, nil
}

func (n *Node) tell() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// Changed has something to receive after the GPUNode's spec has changed.
func (n *Node) Changed() <-chan struct{} { return n.changed }

// Get returns the node's GPUNode, and makes one that goes with the node where there is
// none. It never goes back to an older spec.
func (n *Node) Get(ctx context.Context) (*v1alpha1.GPUNode, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := &v1alpha1.GPUNode{}
	err := n.reader.Get(ctx, client.ObjectKey{Name: n.name}, found)
	if err == nil && n.last != nil && n.last.UID == found.UID && n.last.ResourceVersion == found.ResourceVersion {
		return n.last, nil
	}
	if err == nil && n.last != nil && n.last.UID == found.UID && n.last.Generation <= found.Generation {
		n.last = found
		return found, nil
	}
	// The first reading, another object than before, none, or one from before what was
	// read already: ask the API server itself.
	found = &v1alpha1.GPUNode{}
	err = n.client.Get(ctx, client.ObjectKey{Name: n.name}, found)
	if apierrors.IsNotFound(err) {
		found, err = n.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	n.last = found
	return found, nil
}

func (n *Node) create(ctx context.Context) (*v1alpha1.GPUNode, error) {
	node := &corev1.Node{}
	if err := n.client.Get(ctx, client.ObjectKey{Name: n.name}, node); err != nil {
		return nil, fmt.Errorf("read node %s: %w", n.name, err)
	}
	fresh := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{
		Name:   n.name,
		Labels: map[string]string{"app.kubernetes.io/part-of": "ebbtide"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID,
		}},
	}}
	if err := n.client.Create(ctx, fresh); err != nil {
		return nil, fmt.Errorf("create GPUNode %s: %w", n.name, err)
	}
	return fresh, nil
}

// Publish makes status that of the GPUNode, whatever it was, and takes notice of what is
// asked for by now.
func (n *Node) Publish(ctx context.Context, status v1alpha1.GPUNodeStatus) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v1alpha1.GPUNode{Status: status})
	if err != nil {
		return fmt.Errorf("encode the status: %w", err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"status": content["status"]}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("GPUNode"))
	object.SetName(n.name)
	err = n.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.ForceOwnership, client.FieldOwner(FieldOwner))
	if err != nil {
		return fmt.Errorf("apply the status of GPUNode %s: %w", n.name, err)
	}
	answer := &v1alpha1.GPUNode{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, answer); err != nil {
		return fmt.Errorf("read what the API server made of GPUNode %s: %w", n.name, err)
	}
	n.notice(answer)
	return nil
}

// notice takes over a newer spec than was read: the watch may be late. After an outage of
// the API server it can take a minute until it is there again.
func (n *Node) notice(answer *v1alpha1.GPUNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last != nil && n.last.UID == answer.UID && n.last.Generation < answer.Generation {
		n.last = answer
		n.tell()
	}
}

// pods on the node that have not ended.
func (n *Node) pods(ctx context.Context) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := n.reader.List(ctx, list); err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", n.name, err)
	}
	var live []corev1.Pod
	for _, p := range list.Items {
		if !ended(&p) {
			live = append(live, p)
		}
	}
	return live, nil
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func (n *Node) node(ctx context.Context) (*corev1.Node, error) {
	node := &corev1.Node{}
	if err := n.reader.Get(ctx, client.ObjectKey{Name: n.name}, node); err != nil {
		return nil, fmt.Errorf("read node %s: %w", n.name, err)
	}
	return node, nil
}

// slim keeps of a pod what is asked of it here.
func slim(object any) (any, error) {
	if p, ok := object.(*corev1.Pod); ok {
		p.ManagedFields = nil
		p.Spec.Volumes = nil
	}
	return object, nil
}
