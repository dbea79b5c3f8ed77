package labtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// admissionLag is longer than an API server may not know a new kind's schema, on a busy
// machine too: it looks for them every five seconds.
const admissionLag = 2 * time.Minute

// Create creates the object. An object of a kind whose definition is new is refused as
// unavailable, to be tried again, until the API server's mutating policies know the
// kind; Create tries again.
func Create(t testing.TB, api client.Client, object client.Object) {
	t.Helper()
	Eventually(t, admissionLag, func(ctx context.Context) (bool, string) {
		err := api.Create(ctx, object)
		if err != nil && !apierrors.IsServiceUnavailable(err) {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
		return err == nil, fmt.Sprintf("create %T %s: %v", object, object.GetName(), err)
	})
}
