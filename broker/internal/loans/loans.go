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
	"maps"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Loans reads what the cache has, or the API server. Its methods may be called from any
// goroutine; List from one at a time.
type Loans struct {
	// Cache has all Loans, as of some time ago. What it returns is not copied.
	Cache client.Reader
	// Live reads the API server.
	Live client.Reader
	// Shown is the latest resourceVersion of all that the cache has seen, empty if that is
	// not known.
	Shown func() string

	mu sync.Mutex
	// since is when the API server was read in order to know what there is: a cache that
	// has not seen all until then is not believed. Empty: it was not yet, and others may
	// have written.
	since string
	// due is what the cache is to show of what was written after that.
	due map[types.NamespacedName]mark
}

// mark is a state of a Loan that was written. The one of an unknown state is of a write
// that may or may not have been carried out.
type mark struct {
	uid     types.UID
	version string
	gone    bool
	unknown bool
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

// believe takes note of a reading of the API server. What was written since the one
// before is due already, and so only what is not known makes it the new beginning: else a
// cache that is a little late would never be believed.
func (l *Loans) believe(version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	unclear := l.since == ""
	for _, m := range l.due {
		unclear = unclear || m.unknown
	}
	if !unclear {
		return
	}
	// Writes of which nobody knows were carried out before this, or never will be: who
	// writes waits for the answer.
	l.since = version
	maps.DeleteFunc(l.due, func(_ types.NamespacedName, m mark) bool { return m.unknown || !later(m.version, version) })
}

// caughtUp tells whether the cache shows all that is due, and forgets what it shows.
func (l *Loans) caughtUp(cached []v1alpha1.Loan, version string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == "" || later(l.since, version) {
		return false
	}
	if len(l.due) == 0 {
		return true
	}
	shown := make(map[types.NamespacedName]*v1alpha1.Loan, len(cached))
	for i := range cached {
		shown[client.ObjectKeyFromObject(&cached[i])] = &cached[i]
	}
	for key, m := range l.due {
		if m.shownBy(shown[key], version) {
			delete(l.due, key)
		}
	}
	return len(l.due) == 0
}

// shownBy tells whether a Loan, nil if there is none, is as the mark says or newer, where
// a cache shows it that has seen all until version.
func (m mark) shownBy(loan *v1alpha1.Loan, version string) bool {
	switch {
	case m.unknown:
		return false
	case m.gone:
		// A cache that has not seen the Loan's last writes may not have seen it at all, and
		// show it yet, or still show another that had its name before.
		return (loan == nil || loan.UID != m.uid) && !later(m.version, version)
	case loan == nil:
		return false
	case loan.UID != m.uid:
		// Either it has not seen this one yet, or one that came after it.
		return later(loan.ResourceVersion, m.version)
	}
	return !later(m.version, loan.ResourceVersion)
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
	if l.due == nil {
		l.due = map[types.NamespacedName]mark{}
	}
	key := client.ObjectKeyFromObject(loan)
	switch {
	case err != nil && refused(err):
	case err != nil || loan.UID == "" || loan.ResourceVersion == "":
		l.due[key] = mark{unknown: true}
	default:
		l.due[key] = mark{uid: loan.UID, version: loan.ResourceVersion, gone: deleted}
	}
}

// refused tells whether the API server has answered that it did nothing.
func refused(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) ||
		apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}
