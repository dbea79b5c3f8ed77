package access

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Everywhere is for MayList all namespaces, now and later.
const Everywhere = ""

// Caller is who asks. It is one request's, and remembers what it was told. A nil Caller
// may nothing.
type Caller struct {
	user       user.Info
	authorizer authorizer.Authorizer
	// again asks whether he is still known by what his request showed.
	again func(ctx context.Context) error

	mu    sync.Mutex
	lists map[string]bool
}

type callerKey struct{}

func with(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is who asks; nil for a request that did not pass a Guard, or by a Probe.
func CallerOf(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}

// Name is the user's.
func (c *Caller) Name() string {
	if c == nil {
		return ""
	}
	return c.user.GetName()
}

// Again is the same caller once more, for an answer that takes long: he is asked for as at the
// beginning, and what he may is not remembered. An error says that he is not known any more,
// or that the API server gave no answer.
func (c *Caller) Again(ctx context.Context) (*Caller, error) {
	if c == nil || c.again == nil {
		return nil, errors.New("nobody is asking")
	}
	if err := c.again(ctx); err != nil {
		return nil, err
	}
	return &Caller{user: c.user, authorizer: c.authorizer, again: c.again}, nil
}

// MayList reports whether the caller may list Loans in a namespace, or Everywhere. Whoever
// may do so everywhere may do so in each. An error says that the API server gave no answer.
func (c *Caller) MayList(ctx context.Context, namespace string) (bool, error) {
	if c == nil {
		return false, nil
	}
	c.mu.Lock()
	may, known := c.lists[namespace]
	everywhere := c.lists[Everywhere]
	c.mu.Unlock()
	if known || everywhere {
		return may || everywhere, nil
	}
	may, err := c.may(ctx, authorizer.AttributesRecord{
		User: c.user, Verb: "list", Namespace: namespace, ResourceRequest: true,
		APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version, Resource: "loans",
	})
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lists == nil {
		c.lists = map[string]bool{}
	}
	c.lists[namespace] = may
	return may, nil
}

func (c *Caller) mayPath(ctx context.Context, verb, path string) (bool, error) {
	if c == nil {
		return false, nil
	}
	return c.may(ctx, authorizer.AttributesRecord{User: c.user, Verb: verb, Path: path})
}

func (c *Caller) may(ctx context.Context, a authorizer.AttributesRecord) (bool, error) {
	decision, _, err := c.authorizer.Authorize(ctx, a)
	if err != nil {
		return false, fmt.Errorf("ask the API server what %s may: %w", c.Name(), err)
	}
	return decision == authorizer.DecisionAllow, nil
}
