package controller

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/internal/replica"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// readingManager has a reader, and nothing else of a manager.
type readingManager struct {
	manager.Manager
	reader client.Reader
}

func (m readingManager) GetAPIReader() client.Reader { return m.reader }

// TestPromoteNeedsWhatWasPublished: while the API server does not say what was published, no
// file is put aside; when it does, the one that has it is the ledger.
func TestPromoteNeedsWhatWasPublished(t *testing.T) {
	api := fake.NewClientBuilder().WithScheme(Scheme()).Build()
	silent := errors.New("the API server does not answer")
	reader := interceptor.NewClient(api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if silent != nil {
				return silent
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	b := &broker{mgr: readingManager{reader: reader}, config: DefaultConfig(), namespace: "ebbtide-system", clock: clock.RealClock{}}
	b.config.Ledger.Path = filepath.Join(t.TempDir(), "ledger.db")
	files := replica.FilesOf(b.config.Ledger.Path)
	var head published.Head
	for path, epoch := range map[string]int64{files.Own: 1, files.Copy: 2} { // the copy is of a later leader
		book, err := ledger.Open(path, ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = book.Append(ledger.Entry{Kind: ledger.EpochStart, OpID: "epoch", Epoch: epoch})
		if path == files.Own {
			var e error
			head, e = published.HeadOf(book)
			err = errors.Join(err, e)
		}
		if err = errors.Join(err, book.Close()); err != nil {
			t.Fatal(err)
		}
	}
	lease := &published.Lease{Client: api, Live: api, Namespace: b.namespace, Clock: clock.RealClock{}}
	if err := lease.Publish(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(files.Own)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := b.promote(t.Context())
		if (err != nil) != (silent != nil) {
			t.Errorf("promote: %v, while the API server says %v", err, silent)
		}
		if now, err := os.Stat(files.Own); err != nil || !os.SameFile(before, now) {
			t.Fatalf("the ledger was put aside that has what was published: %v", err)
		}
		silent = nil
	}
}
