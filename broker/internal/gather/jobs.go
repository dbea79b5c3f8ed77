package gather

import (
	"context"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/jobs"
)

// Jobs is what gathering needs of the kinds of jobs; *jobs.Set is one.
type Jobs interface {
	// List and Find are those of jobs.Set.
	List(ctx context.Context, r client.Reader, known func(job types.UID, version string) bool) ([]jobs.Job, error)
	Find(ctx context.Context, r client.Reader, ref jobs.Ref) (jobs.Job, error)
}

// everywhere: every cluster has the kind. Of the others, one that cannot be read leaves
// its own jobs unread, and nothing else.
func everywhere(kind schema.GroupKind) bool {
	return kind.Group == "" || kind.Group == "batch"
}

// readJobs reads the queued jobs, and those that have a loan but no queue label any
// more: taking the label off must not make the job look gone.
func (g *Gatherer) readJobs(ctx context.Context, in *inputs, r *rules) error {
	m := &g.memory
	m.begin(r)
	list, err := g.Jobs.List(ctx, g.Cache, m.known)
	if err != nil {
		return err
	}
	for i := range list {
		m.see(&list[i])
	}
	for i := range in.loans.Items {
		ref := jobs.RefOf(&in.loans.Items[i])
		if e := m.jobs[ref.UID]; e != nil && e.round == m.round {
			continue
		}
		job, err := g.Jobs.Find(ctx, g.Cache, ref)
		if client.IgnoreNotFound(err) != nil && everywhere(ref.GroupKind) {
			return err
		}
		if err == nil && job.UID == ref.UID && !m.known(job.UID, job.Version) {
			m.see(&job)
		}
	}
	m.end()
	return nil
}

// finder looks for the jobs of open loans.
type finder struct {
	*Gatherer
	// failed are the kinds that could not be read.
	failed map[schema.GroupKind]bool
}

// jobOf returns the job of an open loan, nil if it is gone or cannot be read. Where the
// cache says that it is gone or suspended although nobody asked for its units, the API
// server is asked: the cache may not have seen the admission yet, and a loan must
// not end because of that. Neither must it because a kind cannot be read.
func (f *finder) jobOf(ctx context.Context, l *loan, cached *jobs.Job) (*jobs.Job, error) {
	if cached != nil && (!cached.Suspended || l.Reclaiming || cached.Finished) {
		return cached, nil
	}
	ref := jobs.RefOf(l.object)
	kind := ref.GroupKind
	if f.failed[kind] {
		l.unread = true
		return cached, nil
	}
	if !everywhere(kind) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, liveTimeout)
		defer cancel()
	}
	job, err := f.Jobs.Find(ctx, f.Live, ref)
	switch {
	case client.IgnoreNotFound(err) != nil && everywhere(kind):
		return nil, err
	case client.IgnoreNotFound(err) != nil:
		logr.FromContextOrDiscard(ctx).Error(err, "Jobs of a kind cannot be read; their loans stay as they are", "kind", kind.String())
		f.failed[kind], l.unread = true, true
		return cached, nil
	case err == nil && job.UID == ref.UID:
		return &job, nil
	default:
		return nil, nil
	}
}

// coverGroups adds the pod groups of the open loans, whichever of their pods stand for
// them now: a group that is made anew waits until the loan of the one before is over.
func (m *memory) coverGroups(covered map[types.UID]bool, open []*loan) {
	groups := map[types.NamespacedName]bool{}
	for _, l := range open {
		if name := l.object.Spec.Job.PodGroup; name != "" {
			groups[types.NamespacedName{Namespace: l.object.Namespace, Name: name}] = true
		}
	}
	if len(groups) == 0 {
		return
	}
	for _, e := range m.order {
		if e.job.PodGroup != "" && groups[types.NamespacedName{Namespace: e.job.Key.Namespace, Name: e.job.PodGroup}] {
			covered[e.job.UID] = true
		}
	}
}
