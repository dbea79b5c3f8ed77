package escapes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tally counts attacks: a way tried by a route that the API has for it.
type tally struct {
	// Cases are all that were tried.
	Cases int `json:"attackCases"`
	// Refused are those that the API server refused, or that bought nothing.
	Refused int `json:"attacksRefused"`
}

// outcome is what came of an attack.
type outcome string

const (
	notTried outcome = "not tried" // the API has no such route
	repelled outcome = "refused"
	idle     outcome = "bought nothing"
	escaped  outcome = "escaped"
)

// count adds an outcome.
func (t *tally) count(o outcome) {
	if o != notTried {
		t.Cases++
	}
	if o == repelled || o == idle {
		t.Refused++
	}
}

// judge says what came of a way by a route. err is the API server's answer to it; wasRefused
// tells whether the way itself is refused, so that nothing of it may be there by the route.
func judge(ctx context.Context, reader client.Reader, r *routed, wasRefused bool, err error) (outcome, error) {
	switch {
	case errors.Is(err, errNoRoute):
		return notTried, nil
	case err != nil && r.wrote == nil:
		return notTried, nil // the way did not come as far as the route, and is no case of its own
	case refusal(err):
		return repelled, nil
	case errors.Is(err, errLeftOut):
		return idle, nil
	case err != nil:
		return escaped, fmt.Errorf("this is no refusal: %w", err)
	case r.wrote == nil:
		return notTried, nil
	case !wasRefused:
		return idle, nil // what was accepted as it is may be accepted; what is held decides
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(r.wrote.object.GroupVersionKind())
	if err := reader.Get(ctx, client.ObjectKeyFromObject(r.wrote.object), live); err != nil {
		if apierrors.IsNotFound(err) {
			return idle, nil
		}
		return escaped, fmt.Errorf("look at what was written: %w", err)
	}
	if holds(live.Object, r.wrote.change) {
		return escaped, fmt.Errorf("%s %s has what was refused as it is: %v", live.GetKind(), live.GetName(), r.wrote.change)
	}
	return idle, nil
}

// refusal: the API server understood, and said no.
func refusal(err error) bool {
	for _, is := range []func(error) bool{
		apierrors.IsForbidden, apierrors.IsInvalid, apierrors.IsNotFound, apierrors.IsMethodNotSupported, apierrors.IsBadRequest, apierrors.IsUnsupportedMediaType,
	} {
		if err != nil && is(err) {
			return true
		}
	}
	return false
}

// Law 9 by every verb: what is refused as it is, is refused, or has no effect, by update, by
// each kind of patch, by server-side apply and by the subresources as well: by one of them
// each, and by all with ATTACKS or LONG=1, which tries the ways that are accepted and buy
// nothing, too. The last line is JSON, and is written to the file that ATTACKS names.
func TestNoWayOutByAnyVerb(t *testing.T) {
	w := newTown(t)
	mallory, marvin := *w.mallory, *w.marvin
	var total tally
	long, file := os.Getenv("LONG") != "", os.Getenv("ATTACKS")
	by := routes
	for i, way := range ways() {
		*w.mallory, *w.marvin = mallory, marvin
		_, err := way.try(t.Context(), w)
		wasRefused := refusal(err)
		total.count(map[bool]outcome{true: repelled, false: idle}[wasRefused])
		w.restore(t)
		if !wasRefused && !long {
			continue
		}
		if !long && file == "" {
			by = routes[i%len(routes):][:1]
		}
		for _, by := range by {
			t.Run(way.name+" by "+string(by), func(t *testing.T) {
				defer w.restore(t)
				as := &routed{Client: mallory.Client, route: by}
				admin := &routed{Client: marvin.Client, route: by}
				w.mallory.Client, w.marvin.Client = as, admin
				_, err := way.try(t.Context(), w)
				if as.wrote == nil && admin.wrote != nil {
					as = admin
				}
				what, wrong := judge(t.Context(), w.admin, as, wasRefused, err)
				if held := w.overheld(t.Context()); len(held) > 0 {
					what, wrong = escaped, fmt.Errorf("%v", held)
				}
				total.count(what)
				if wrong != nil {
					t.Error(wrong)
				}
				if what == notTried {
					t.Skip("the API has no such route for it")
				}
			})
			if t.Failed() && w.Err() != nil {
				t.Fatal(w.Err())
			}
		}
	}
	line, err := json.Marshal(total)
	if err != nil {
		t.Fatal(err)
	}
	if file != "" {
		if err := os.WriteFile(file, append(line, '\n'), 0o644); err != nil {
			t.Error(err)
		}
	}
	if most := len(by) > 1; most && total.Cases < 3*len(ways()) || total.Refused != total.Cases {
		t.Errorf("%d of %d attacks were refused; of %d ways", total.Refused, total.Cases, len(ways()))
	}
	fmt.Println(string(line))
}
