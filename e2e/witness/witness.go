package witness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
	"github.com/ebbtide/ebbtide/e2e/witness/history"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
	"github.com/ebbtide/ebbtide/e2e/witness/linear"
	"github.com/ebbtide/ebbtide/e2e/witness/match"
)

// Options say what is watched.
type Options struct {
	// Config reaches the API server with the right to list and watch everything.
	Config *rest.Config
	// AuditLog is the path of the API server's audit log.
	AuditLog string
	// Books returns the paths of the ledger files that count now, a ledger's segments in any
	// order; nil: none is judged. One that is missing is one that was lost.
	Books func() []string
	// Actors are the users whose writes are to end when everything is as it should be: the
	// broker's and the scheduler's.
	Actors []string
	// Alive says whether the programs are there whose silence is looked for: of the dead
	// there is nothing to be learned. Nil: the caller knows.
	Alive func(context.Context) error
	// Folder is where histories are drawn that cannot have been; empty: the audit log's.
	Folder string
}

// hold is how long changes are held back to be put in order. One that comes later than that
// has its place when it is judged.
const hold = time.Second

// Witness watches. Its methods may be called from any goroutine.
type Witness struct {
	opts    Options
	client  kubernetes.Interface
	watcher *history.Watcher
	tail    *auditlog.Tail
	// patience with the API server, until it is thought dead.
	patience time.Duration

	mu sync.Mutex
	// world is the cluster as it was handed on, which may be in another order than it was.
	world   *laws.World
	seen    *match.Seen
	initial []linear.Initial
	events  []history.Event
	moved   string
}

// Start begins to watch, and returns when it has seen everything that exists. It goes on until
// Close, whatever becomes of ctx.
func Start(ctx context.Context, opts Options) (*Witness, error) {
	if opts.Folder == "" {
		opts.Folder = filepath.Dir(opts.AuditLog)
	}
	w := &Witness{opts: opts, patience: answerWithin, world: laws.NewWorld(), seen: match.NewSeen()}
	var err error
	if w.client, err = kubernetes.NewForConfig(opts.Config); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	if w.tail, err = auditlog.Follow(opts.AuditLog, false); err != nil {
		return nil, err
	}
	if w.watcher, err = history.Start(ctx, opts.Config, hold, w.see); err != nil {
		return nil, errors.Join(fmt.Errorf("begin to watch: %w", err), w.tail.Close())
	}
	return w, nil
}

func (w *Witness) see(e history.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	w.world.Apply(e)
	w.seen.Apply(e)
	if o, is := e.Object.(*v1alpha1.Loan); is && e.Initial && !meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.LoanReturned) {
		w.initial = append(w.initial, linear.Initial{
			Name: o.Namespace + "/" + o.Name, Spec: o.Spec, Grants: laws.Left(o.Spec.Grants, o.Status.Shed), By: e.At,
		})
	}
}

// Show tells the witness of an entry that somebody was shown by other ways than the API server:
// its number and hash, in hex, the ledger's ID, and who showed it.
func (w *Witness) Show(ledger string, seq uint64, hash, by string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Show(match.Acked{Seq: seq, Hash: hash, Ledger: ledger, By: by})
}

// Close stops watching.
func (w *Witness) Close() {
	w.watcher.Close()
	_ = w.tail.Close() // it was only read
}
