package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/view"
)

type queueOptions struct {
	listing
	ask *access.Broker
}

// queued is one job of a queue, with all that is known of it.
type queued struct {
	job     *jobs.Job
	row     view.QueuedJob
	message string
}

func newQueueCommand(s *session) *cobra.Command {
	o := &queueOptions{listing: newListing(s)}
	cmd := &cobra.Command{
		Use:     "queue [QUEUE]",
		Aliases: []string{"queues"},
		Short:   "Show what waits and what runs in the queues of the namespace",
		Long: `Show what waits and what runs in the queues of the namespace.

Waiting jobs come first, in the order in which they are considered. REASON is
the broker's last verdict; "kubectl ebbtide explain JOB" says it in a sentence.
START is in how long the job would start if units kept coming free as they did in
the last hour. Finished jobs are not shown. The name of a job that is no batch/v1
Job has its kind before it, as in rayjob/train.`,
		Example: `  # All queues of the namespace
  kubectl ebbtide queue -n research

  # One queue
  kubectl ebbtide queue nightly -n research`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFirst(s, completeQueues),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd, "Queues")
	return cmd
}

func (o *queueOptions) complete(args []string) (err error) {
	if err := o.listing.complete(args, "queue"); err != nil {
		return err
	}
	o.ask, err = o.broker()
	return err
}

func (o *queueOptions) run(ctx context.Context) error {
	queues, err := listQueues(ctx, o.api, o.ns, o.allNamespaces)
	if err != nil {
		return err
	}
	if names := namesOf(queues); o.name != "" && !slices.Contains(names, o.name) {
		return unknownQueue(o.name, o.ns, names)
	}
	entries, err := o.gather(ctx, queues)
	if err != nil {
		return err
	}
	switch {
	case o.out.format() == "name":
		objects := make([]runtime.Object, len(entries))
		for i := range entries {
			objects[i] = objectOf(entries[i].job)
		}
		return o.out.names(objects, o.Streams.Out)
	case !o.out.isText():
		return o.printObject(entries)
	case len(entries) == 0:
		o.note("No jobs found in the queues%s.", inNamespace(o.ns, o.allNamespaces))
		return nil
	}
	rows := make([]view.QueuedJob, len(entries))
	var namespaces []string
	for i, e := range entries {
		rows[i] = e.row
		if o.allNamespaces {
			namespaces = append(namespaces, e.job.Key.Namespace)
		}
	}
	return o.out.table(view.Queue(rows, o.Clock.Now()), namespaces, o.Streams.Out)
}

// gather joins the jobs, their loans and what the broker says of them.
func (o *queueOptions) gather(ctx context.Context, queues []v1alpha1.TrainingQueue) ([]queued, error) {
	list, err := o.jobs(ctx, o.api, o.ns, o.allNamespaces)
	if err != nil {
		return nil, err
	}
	loans, err := listLoans(ctx, o.api, o.ns, o.allNamespaces)
	if err != nil {
		return nil, err
	}
	said, fromBroker, err := o.whatIsSaid(ctx)
	if err != nil {
		return nil, err
	}
	priorities := readPriorities(ctx, o.api)
	if priorities == nil && !fromBroker {
		o.note("note: PriorityClasses cannot be read, so jobs are placed by age alone")
	}
	var entries []queued
	for i := range list {
		job := &list[i]
		if job.Finished || (o.name != "" && job.Queue != o.name) {
			continue
		}
		e := newQueued(job, openLoan(loans.Items, job), said)
		if e.row.Priority == nil {
			e.row.Priority = priorities.of(job)
		}
		e.row.FIFO = isFIFO(queues, job)
		entries = append(entries, e)
	}
	place(entries)
	return entries, nil
}

// whatIsSaid is what the broker says of waiting jobs, by namespace/name, or what
// events say if it cannot be reached or refuses.
func (o *queueOptions) whatIsSaid(ctx context.Context) (said map[string]access.QueuedJob, fromBroker bool, err error) {
	said = map[string]access.QueuedJob{}
	waiting, err := o.ask.Queue(ctx)
	if err == nil {
		for _, j := range waiting {
			said[j.Job] = j
		}
		return said, true, nil
	}
	if !errors.Is(err, access.ErrUnreachable) && !errors.Is(err, access.ErrRefused) {
		return nil, false, err
	}
	o.note("note: %v", err)
	o.note("note: positions are computed from the jobs, reasons are those of the last events")
	events, err := listEvents(ctx, o.api, scope(o.ns, o.allNamespaces)...)
	if err != nil {
		o.note("note: %v", err)
	}
	for _, e := range events {
		if isJobKind(e.InvolvedObject.Kind) {
			said[e.InvolvedObject.Namespace+"/"+e.InvolvedObject.Name] = access.QueuedJob{Reason: e.Reason, Message: e.Message}
		}
	}
	return said, false, nil
}

func newQueued(job *jobs.Job, loan *v1alpha1.Loan, said map[string]access.QueuedJob) queued {
	g := gangOf(job)
	e := queued{job: job, row: view.QueuedJob{
		Name: shownName(job), Queue: job.Queue, Created: job.Created,
		Pods: g.Pods, Units: g.Pods * g.UnitsPerPod,
		State: view.StateWaiting, Reason: view.Unknown,
	}}
	if loan != nil {
		state, by := view.LoanState(viewConditions(loan.Status.Conditions))
		e.row.State, e.row.Reason = view.StateAdmitted, by.Reason
		if state == view.StateReclaiming || state == view.StateQuarantined {
			e.row.State = view.StateReclaiming
		}
		return e
	}
	if words, ok := said[job.Key.String()]; ok {
		e.row.Reason, e.message, e.row.Position = words.Reason, words.Message, words.Position
		e.row.Start = words.EstimatedStart
		if words.Position > 0 {
			e.row.Priority = ptr.To(words.Priority)
			e.row.Pods, e.row.Units = words.Pods, words.Pods*words.UnitsPerPod
		}
	}
	return e
}

// place sorts the entries and numbers those that wait.
func place(entries []queued) {
	byKey := map[string]queued{}
	rows := make([]view.QueuedJob, len(entries))
	for i, e := range entries {
		// Queues of different namespaces are different queues.
		rows[i] = e.row
		rows[i].Queue = e.job.Key.Namespace + "/" + e.row.Queue
		byKey[e.job.Key.Namespace+"/"+e.row.Name] = e
	}
	view.PlaceInQueues(rows)
	for i, row := range rows {
		ns, queue := splitKey(row.Queue)
		e := byKey[ns+"/"+row.Name]
		e.row = row
		e.row.Queue = queue
		entries[i] = e
	}
}

func (o *queueOptions) printObject(entries []queued) error {
	items := make([]any, len(entries))
	for i, e := range entries {
		item := map[string]any{
			"apiVersion": answersVersion, "kind": "QueueEntry",
			"metadata": map[string]any{"name": e.job.Key.Name, "namespace": e.job.Key.Namespace, "creationTimestamp": e.job.Created},
			"job":      map[string]any{"apiVersion": e.job.Kind.GroupVersion().String(), "kind": e.job.Kind.Kind},
			"queue":    e.row.Queue, "pods": e.row.Pods, "units": e.row.Units,
			"state": e.row.State, "reason": e.row.Reason, "message": e.message,
		}
		if e.row.Position > 0 {
			item["position"] = e.row.Position
		}
		if e.row.Priority != nil {
			item["priority"] = *e.row.Priority
		}
		if !e.row.Start.IsZero() {
			item["estimatedStart"] = e.row.Start.UTC().Format(time.RFC3339)
		}
		items[i] = item
	}
	list, err := answer("QueueEntryList", map[string]any{"items": items})
	if err != nil {
		return err
	}
	return o.out.object(list, o.Streams.Out)
}
