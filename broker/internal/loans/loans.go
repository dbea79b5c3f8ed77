// Package loans reads all Loans from the cache, whose cost does not grow with the time
// that the API server needs for thousands of them.
//
// It promises that what it reads is never older than what this process has written, and
// never older than what it has read before: else it reads the API server. Loans are
// written by the broker that leads alone, and so the cache, once it has caught up with
// this one's writes, has all there is. It refuses to guess: after a write of which
// nobody knows whether it was carried out, the API server is asked.
package loans

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Loans reads what the cache has, or the API server. Its methods may be called from any
// goroutine, but List not beside another or beside a write.
type Loans struct {
	// Cache has all Loans, as of some time ago. What it returns is not copied.
	Cache client.Reader
	// Live reads the API server.
	Live client.Reader
	// Shown is the latest resourceVersion of all that the cache has seen, empty if that is
	// not known.
	Shown func() string

	mu sync.Mutex
	// since is the latest of what was written, and of the first reading of the API server: a
	// cache that has not seen all until then is not believed. Empty: others may have
	// written, or nobody knows whether a write was carried out.
	since string
	// gone are Loans that were deleted. Nobody says at which resourceVersion, and so the
	// cache may show them still.
	gone map[types.UID]bool
}

// List reads all Loans. They are not to be changed.
func (l *Loans) List(ctx context.Context, into *v1alpha1.LoanList) error {
	shown := l.Shown() // before: the list may show more, and not less
	if err := l.Cache.List(ctx, into, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the cached loans: %w", err)
	}
	if l.caughtUp(into.Items, shown) {
		return nil
	}
	var live v1alpha1.LoanList
	if err := l.Live.List(ctx, &live); err != nil {
		return fmt.Errorf("list the loans: %w", err)
	}
	l.believe(live.ResourceVersion)
	*into = live
	return nil
}

// believe takes note of a reading of the API server. Only what is not known makes it the
// new beginning: else a cache that is a little late would never be believed.
func (l *Loans) believe(version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == "" {
		// Writes of which nobody knows were carried out before this, or never will be: who
		// writes waits for the answer.
		l.since, l.gone = version, nil
	}
}

// caughtUp tells whether a cache that has seen all until version shows all that is due.
func (l *Loans) caughtUp(cached []v1alpha1.Loan, version string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == "" || later(l.since, version) {
		return false
	}
	if len(l.gone) == 0 {
		return true
	}
	for i := range cached {
		if l.gone[cached[i].UID] {
			return false
		}
	}
	l.gone = nil // it has seen what was written to them before, and does not show them
	return true
}

// later tells whether one resourceVersion is later than another. Those that cannot be
// compared are.
func later(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order > 0
}

// note remembers a write and its outcome.
func (l *Loans) note(loan *v1alpha1.Loan, deleted bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil && refused(err):
	case err != nil || loan.UID == "" || loan.ResourceVersion == "":
		l.since = ""
	default:
		if l.since != "" && later(loan.ResourceVersion, l.since) {
			l.since = loan.ResourceVersion
		}
		if deleted {
			if l.gone == nil {
				l.gone = map[types.UID]bool{}
			}
			l.gone[loan.UID] = true
		}
	}
}

// refused tells whether the API server has answered that it did nothing.
func refused(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) ||
		apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}
