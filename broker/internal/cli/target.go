package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Kinds of Ebbtide's own that people name.
const (
	kindLender = "lender"
	kindQueue  = "queue"
	kindLoan   = "loan"
)

// ownKinds are the words for them, without groups and plurals.
var ownKinds = map[string]string{
	"lender": kindLender, "lendingpolicy": kindLender, "lp": kindLender,
	"queue": kindQueue, "trainingqueue": kindQueue, "tq": kindQueue,
	"loan": kindLoan, "ln": kindLoan,
}

// ownKind finds the kind of a word such as lendingpolicies.ebbtide.dev; empty if it is none.
func ownKind(word string) string {
	word = strings.TrimSuffix(strings.ToLower(word), ".ebbtide.dev")
	if strings.HasSuffix(word, "policies") {
		word = strings.TrimSuffix(word, "ies") + "y"
	}
	if kind, known := ownKinds[word]; known {
		return kind
	}
	return ownKinds[strings.TrimSuffix(word, "s")]
}

// target is an object that somebody names: KIND/NAME, or KIND/NAMESPACE/NAME as tables show
// lenders.
type target struct {
	kind string // as typed; empty if only a name was
	key  client.ObjectKey
}

// named reads a target. The namespace is the user's unless the name has one.
func (s *session) named(arg string) (target, error) {
	ns, explicit, err := s.namespace()
	if err != nil {
		return target{}, err
	}
	kind, name, found := strings.Cut(arg, "/")
	if !found {
		kind, name = "", arg
	}
	if within, rest, found := strings.Cut(name, "/"); found {
		if explicit && within != ns {
			return target{}, fmt.Errorf("%s is in namespace %q, but --namespace says %q", arg, within, ns)
		}
		ns, name = within, rest
	}
	if ns == "" || name == "" || strings.Contains(name, "/") {
		return target{}, fmt.Errorf("%q names nothing: use KIND/NAME, or KIND/NAMESPACE/NAME", arg)
	}
	return target{kind, client.ObjectKey{Namespace: ns, Name: name}}, nil
}

// own reads a target whose kind must be one of some of Ebbtide's own. A name alone is of the
// only one.
func (s *session) own(arg string, kinds ...string) (target, error) {
	t, err := s.named(arg)
	if err != nil {
		return target{}, err
	}
	kind := ownKind(t.kind)
	if t.kind == "" && len(kinds) == 1 {
		kind = kinds[0]
	}
	if !slices.Contains(kinds, kind) {
		return target{}, fmt.Errorf("%q: say which one as %s/NAME", arg, strings.Join(kinds, "/NAME or "))
	}
	t.kind = kind
	return t, nil
}

// missing says that a target does not exist, and what there is instead.
func missing(ctx context.Context, api client.Reader, t target) error {
	names, err := lists[t.kind](ctx, api, t.key.Namespace)
	if err != nil || len(names) == 0 {
		word := map[string]string{kindLender: "LendingPolicy", kindQueue: "TrainingQueue"}[t.kind]
		return fmt.Errorf("%s %q not found: namespace %q has no %s (another namespace: -n)", t.kind, t.key.Name, t.key.Namespace, word)
	}
	slices.Sort(names)
	return fmt.Errorf("%s %q not found in namespace %q, which has: %s", t.kind, t.key.Name, t.key.Namespace, strings.Join(names, ", "))
}

// noRight says what takes a right that somebody has not, and who gives it.
func noRight(err error, verb string, t target) error {
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("%s %s %s: %w", verb, t.kind, t.key, err)
	}
	resource := map[string]string{kindLender: "lendingpolicies", kindQueue: "trainingqueues"}[t.kind]
	return fmt.Errorf("you may not %s %s %s: it takes the verb %s on %s.ebbtide.dev in namespace %q, which Kubernetes' roles edit and admin have",
		verb, t.kind, t.key.Name, verb, resource, t.key.Namespace)
}

// completeOwn completes the first argument with KIND/NAME of some of Ebbtide's own kinds.
func completeOwn(kinds ...string) lister {
	return func(ctx context.Context, api client.Reader, ns string) ([]string, error) {
		var names []string
		for _, kind := range slices.Sorted(maps.Keys(lists)) {
			if !slices.Contains(kinds, kind) {
				continue
			}
			some, err := lists[kind](ctx, api, ns)
			if err != nil {
				return nil, err
			}
			for _, name := range some {
				names = append(names, kind+"/"+name)
			}
		}
		return names, nil
	}
}

// lists are the names of each kind in a namespace.
var lists = map[string]lister{
	kindLender: completeLenders, kindQueue: completeQueues, kindLoan: completeLoans,
}

func completeLenders(ctx context.Context, api client.Reader, ns string) ([]string, error) {
	list := &v1alpha1.LendingPolicyList{}
	if err := api.List(ctx, list, client.InNamespace(ns)); err != nil {
		return nil, err
	}
	return namesOf(list.Items), nil
}
