package guard

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// Interval between looks.
	Interval = 2 * time.Second
	// Timeout of one look.
	Timeout = 3 * time.Second
	// Believe is how long a look counts, from its beginning. It allows for one that fails.
	Believe = 8 * time.Second
)

// Missing is a policy or a binding that is not as it must be.
type Missing struct {
	// Name is its kind and name.
	Name string `json:"name"`
	// Why is gone, going or changed.
	Why string `json:"why"`
	// Digest of what is there instead, if it is changed.
	Digest string `json:"digest,omitempty"`
}

// Guard looks at the policies. Its exported fields are set before Run.
type Guard struct {
	// Live reads around the caches: a watch that hangs would show what was.
	Live client.Reader
	// Accept are digests of policies that an administrator has changed and stands by, by
	// kind and name.
	Accept map[string]string
	Clock  clock.WithTicker
	// Note is told when something came to be missing, or else, and when all is back: then
	// it has no arguments. It is told again until it returns nil.
	Note func(missing []Missing) error

	mu      sync.Mutex
	looked  time.Time // when the last look began that came to an end
	missing []Missing
	told    []Missing
}

// Run looks until ctx ends. It ends no earlier.
func (g *Guard) Run(ctx context.Context) {
	log := logr.FromContextOrDiscard(ctx)
	tick := g.Clock.NewTicker(Interval)
	defer tick.Stop()
	for {
		if err := g.Look(ctx); err != nil && ctx.Err() == nil {
			log.Error(err, "The admission policies are looked at again")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
		}
	}
}

// Look looks once, and tells of changes.
func (g *Guard) Look(ctx context.Context) error {
	began := g.Clock.Now()
	bounded, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	found, err := g.list(bounded)
	if err != nil {
		return err
	}
	missing := compare(wanted(g.Accept), found)
	g.mu.Lock()
	g.looked, g.missing = began, missing
	told := g.told
	g.mu.Unlock()
	if slices.Equal(told, missing) {
		return nil
	}
	if g.Note != nil {
		if err := g.Note(missing); err != nil {
			return fmt.Errorf("say what became of the admission policies: %w", err)
		}
	}
	g.mu.Lock()
	g.told = missing
	g.mu.Unlock()
	return nil
}

// list reads all policies and bindings.
func (g *Guard) list(ctx context.Context) (found []client.Object, err error) {
	for _, list := range []client.ObjectList{
		&registration.ValidatingAdmissionPolicyList{}, &registration.ValidatingAdmissionPolicyBindingList{},
		&registration.MutatingAdmissionPolicyList{}, &registration.MutatingAdmissionPolicyBindingList{},
	} {
		if err := g.Live.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list the admission policies: %w", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			found = append(found, o.(client.Object))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read a %T: %w", list, err)
		}
	}
	return found, nil
}

// compare is what is missing, by name.
func compare(want map[string]string, found []client.Object) (missing []Missing) {
	have := map[string]client.Object{}
	for _, o := range found {
		have[name(o)] = o
	}
	for key, digest := range want {
		o := have[key]
		switch {
		case o == nil:
			missing = append(missing, Missing{Name: key, Why: "gone"})
		case o.GetDeletionTimestamp() != nil:
			missing = append(missing, Missing{Name: key, Why: "going"})
		case Digest(o) != digest:
			missing = append(missing, Missing{Name: key, Why: "changed", Digest: Digest(o)})
		}
	}
	slices.SortFunc(missing, func(a, b Missing) int { return strings.Compare(a.Name, b.Name) })
	return missing
}

// name is the kind and the name. Lists leave the kind out of their items.
func name(o client.Object) string {
	return reflect.TypeOf(o).Elem().Name() + " " + o.GetName()
}

// errUnknown: nobody has looked lately.
var errUnknown = errors.New("it is not known whether the admission policies are in place: nothing new is lent")

// MayLend is nil if all policies were in place a moment ago, and says why not otherwise.
func (g *Guard) MayLend() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.looked.IsZero() || g.Clock.Since(g.looked) > Believe:
		return errUnknown
	case len(g.missing) > 0:
		return fmt.Errorf("%s: nothing new is lent until it is as shipped", Words(g.missing))
	}
	return nil
}

// Words say what is missing.
func Words(missing []Missing) string {
	var words []string
	for _, m := range missing {
		text := m.Name + " is " + m.Why
		if m.Digest != "" {
			text += " (" + m.Digest + ")"
		}
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}

// Count is how many are missing; false: nobody has looked lately.
func (g *Guard) Count() (int, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.missing), !g.looked.IsZero() && g.Clock.Since(g.looked) <= Believe
}
