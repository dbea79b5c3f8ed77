package book

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Watches keep the loans, quotas and GPUs of one cluster.
type Watches struct {
	// Loans has LoanIndexers.
	Loans cache.SharedIndexInformer
	// Quotas are the TenantQuotas.
	Quotas cache.SharedIndexInformer
	// GPUNodes say which slices there are, and which of them are not for loans.
	GPUNodes cache.SharedIndexInformer
	// Policies are the LendingPolicies, with PolicyIndexers. They say what online pods
	// prefer and nothing else, so that nobody waits for them.
	Policies cache.SharedIndexInformer

	live *rest.RESTClient
}

// NewWatches prepares the informers. Nothing runs before Start, so that event
// handlers can be added first.
func NewWatches(config *rest.Config) (*Watches, error) {
	client, err := newClient(config)
	if err != nil {
		return nil, err
	}
	// What a bind waits for waits for no list of ours besides: the API server itself sees to
	// it that nobody asks too much.
	unlimited := rest.CopyConfig(config)
	unlimited.QPS, unlimited.RateLimiter = -1, nil
	live, err := newClient(unlimited)
	if err != nil {
		return nil, err
	}
	watch := func(plural string, example runtime.Object, indexers cache.Indexers) cache.SharedIndexInformer {
		lw := cache.NewListWatchFromClient(client, plural, metav1.NamespaceAll, fields.Everything())
		return cache.NewSharedIndexInformer(lw, example, 0, indexers)
	}
	return &Watches{
		live:     live,
		Loans:    watch("loans", &v1alpha1.Loan{}, LoanIndexers()),
		Quotas:   watch("tenantquotas", &v1alpha1.TenantQuota{}, cache.Indexers{}),
		GPUNodes: watch("gpunodes", &v1alpha1.GPUNode{}, cache.Indexers{}),
		Policies: watch("lendingpolicies", &v1alpha1.LendingPolicy{}, PolicyIndexers()),
	}, nil
}

// Start runs the informers until ctx ends, and returns when all but the policies have
// been read once; after patience it gives up with an error.
func (w *Watches) Start(ctx context.Context, patience time.Duration) error {
	go w.Loans.RunWithContext(ctx)
	go w.Quotas.RunWithContext(ctx)
	go w.GPUNodes.RunWithContext(ctx)
	go w.Policies.RunWithContext(ctx)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !cache.WaitForCacheSync(waiting.Done(), w.Loans.HasSynced, w.Quotas.HasSynced, w.GPUNodes.HasSynced) {
		return fmt.Errorf("read all Loans, TenantQuotas and GPUNodes: not done within %s; are Ebbtide's CustomResourceDefinitions installed, and may this scheduler list and watch them?", patience)
	}
	return nil
}

// Loan reads a Loan from the API server, around the cache.
func (w *Watches) Loan(ctx context.Context, namespace, name string) (*v1alpha1.Loan, error) {
	loan := &v1alpha1.Loan{}
	if err := w.live.Get().Namespace(namespace).Resource("loans").Name(name).Do(ctx).Into(loan); err != nil {
		return nil, err
	}
	return loan, nil
}

// newClient returns a REST client for Ebbtide's group. The scheduler's own
// configuration may ask for protobuf, which custom resources do not speak.
func newClient(config *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register Ebbtide's kinds: %w", err)
	}
	own := rest.CopyConfig(config)
	own.GroupVersion = &v1alpha1.GroupVersion
	own.APIPath = "/apis"
	own.ContentType = runtime.ContentTypeJSON
	own.AcceptContentTypes = runtime.ContentTypeJSON
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", v1alpha1.GroupVersion, err)
	}
	return client, nil
}
