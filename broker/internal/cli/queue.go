package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/view"
)

type queueOptions struct {
	*session
	out           *output
	allNamespaces bool

	queue string
	ns    string
	api   client.Reader
	ask   *access.Broker
}

// queued is one job of a queue, with all that is known of it.
type queued struct {
	job     *batchv1.Job
	row     view.QueuedJob
	message string
}

func newQueueCommand(s *session) *cobra.Command {
	o := &queueOptions{session: s, out: newOutput("wide")}
	cmd := &cobra.Command{
		Use:     "queue [QUEUE]",
		Aliases: []string{"queues"},
		Short:   "Show what waits and what runs in the queues of the namespace",
		Long: `Show what waits and what runs in the queues of the namespace.

Waiting jobs come first, in the order in which they are considered. REASON is
the broker's last verdict; "kubectl ebbtide explain JOB" says it in a sentence.
Finished jobs are not shown.`,
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
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "Queues of all namespaces")
	return cmd
}

func (o *queueOptions) complete(args []string) (err error) {
	if len(args) > 0 {
		o.queue = args[0]
	}
	if o.ns, _, err = o.namespace(); err != nil {
		return err
	}
	if o.api, err = o.cluster(); err != nil {
		return err
	}
	o.ask, err = o.broker()
	return err
}

func (o *queueOptions) validate() error {
	if o.queue != "" && o.allNamespaces {
		return errors.New("a queue's name and --all-namespaces exclude each other")
	}
	return o.out.validate()
}

func (o *queueOptions) run(ctx context.Context) error {
	queues, err := listQueues(ctx, o.api, o.ns, o.allNamespaces)
	if err != nil {
		return err
	}
	if names := queueNames(queues); o.queue != "" && !slices.Contains(names, o.queue) {
		return unknownQueue(o.queue, o.ns, names)
	}
	entries, err := o.gather(ctx, queues)
	if err != nil {
		return err
	}
	switch {
	case o.out.format() == "name":
		objects := make([]runtime.Object, len(entries))
		for i := range entries {
			objects[i] = entries[i].job
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
			namespaces = append(namespaces, e.job.Namespace)
		}
	}
	return o.out.table(view.Queue(rows, o.Clock.Now()), namespaces, o.Streams.Out)
}

// gather joins the jobs, their loans and what the broker says of them.
func (o *queueOptions) gather(ctx context.Context, queues []v1alpha1.TrainingQueue) ([]queued, error) {
	jobs, err := listJobs(ctx, o.api, o.ns, o.allNamespaces)
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
	for i := range jobs {
		job := &jobs[i]
		if isFinished(job) || (o.queue != "" && job.Labels[v1alpha1.LabelQueue] != o.queue) {
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
// events say if it cannot be reached.
func (o *queueOptions) whatIsSaid(ctx context.Context) (said map[string]access.QueuedJob, fromBroker bool, err error) {
	said = map[string]access.QueuedJob{}
	waiting, err := o.ask.Queue(ctx)
	if err == nil {
		for _, j := range waiting {
			said[j.Job] = j
		}
		return said, true, nil
	}
	if !errors.Is(err, access.ErrUnreachable) {
		return nil, false, err
	}
	o.note("note: %v", err)
	o.note("note: positions are computed from the jobs, reasons are those of the last events")
	events, err := listEvents(ctx, o.api, scope(o.ns, o.allNamespaces)...)
	if err != nil {
		o.note("note: %v", err)
	}
	for _, e := range events {
		if e.InvolvedObject.Kind == "Job" {
			said[e.InvolvedObject.Namespace+"/"+e.InvolvedObject.Name] = access.QueuedJob{Reason: e.Reason, Message: e.Message}
		}
	}
	return said, false, nil
}

func newQueued(job *batchv1.Job, loan *v1alpha1.Loan, said map[string]access.QueuedJob) queued {
	g := gangOf(job)
	e := queued{job: job, row: view.QueuedJob{
		Name: job.Name, Queue: job.Labels[v1alpha1.LabelQueue], Created: job.CreationTimestamp.Time,
		Pods: g.Pods, Units: g.Pods * g.UnitsPerPod,
		State: view.StateWaiting, Reason: view.Unknown,
	}}
	if loan != nil {
		state, by := view.LoanState(viewConditions(loan.Status.Conditions))
		e.row.State, e.row.Reason = view.StateAdmitted, by.Reason
		if state == view.StateReclaiming {
			e.row.State = view.StateReclaiming
		}
		return e
	}
	if words, ok := said[job.Namespace+"/"+job.Name]; ok {
		e.row.Reason, e.message, e.row.Position = words.Reason, words.Message, words.Position
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
		rows[i].Queue = e.job.Namespace + "/" + e.row.Queue
		byKey[e.job.Namespace+"/"+e.job.Name] = e
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
			"metadata": map[string]any{"name": e.job.Name, "namespace": e.job.Namespace, "creationTimestamp": e.job.CreationTimestamp},
			"queue":    e.row.Queue, "pods": e.row.Pods, "units": e.row.Units,
			"state": e.row.State, "reason": e.row.Reason, "message": e.message,
		}
		if e.row.Position > 0 {
			item["position"] = e.row.Position
		}
		if e.row.Priority != nil {
			item["priority"] = *e.row.Priority
		}
		items[i] = item
	}
	list, err := answer("QueueEntryList", map[string]any{"items": items})
	if err != nil {
		return err
	}
	return o.out.object(list, o.Streams.Out)
}

func listQueues(ctx context.Context, api client.Reader, ns string, everywhere bool) ([]v1alpha1.TrainingQueue, error) {
	list := &v1alpha1.TrainingQueueList{}
	if err := api.List(ctx, list, scope(ns, everywhere)...); err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.TrainingQueue) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// listJobs are the jobs that name a queue.
func listJobs(ctx context.Context, api client.Reader, ns string, everywhere bool) ([]batchv1.Job, error) {
	list := &batchv1.JobList{}
	options := append(scope(ns, everywhere), client.HasLabels{v1alpha1.LabelQueue})
	if err := api.List(ctx, list, options...); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("Job"))
	}
	return list.Items, nil
}

func isFinished(job *batchv1.Job) bool { return finish(job) != nil }

// finish is the condition that ended a job, if one did.
func finish(job *batchv1.Job) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// openLoan is the newest loan of a job that is not returned yet.
func openLoan(loans []v1alpha1.Loan, job *batchv1.Job) *v1alpha1.Loan {
	for i := len(loans) - 1; i >= 0; i-- {
		l := &loans[i]
		if l.Namespace != job.Namespace || l.Spec.Job.UID != job.UID {
			continue
		}
		if state, _ := view.LoanState(viewConditions(l.Status.Conditions)); state != view.StateReturned {
			return l
		}
	}
	return nil
}

func isFIFO(queues []v1alpha1.TrainingQueue, job *batchv1.Job) bool {
	for _, q := range queues {
		if q.Namespace == job.Namespace && q.Name == job.Labels[v1alpha1.LabelQueue] {
			return q.Spec.Order == v1alpha1.OrderFIFO
		}
	}
	return false
}

// priorities of the cluster's PriorityClasses; nil if they may not be read.
type priorities map[string]int32

// readPriorities leaves them unknown where the user may not list them.
func readPriorities(ctx context.Context, api client.Reader) priorities {
	list := &schedulingv1.PriorityClassList{}
	if err := api.List(ctx, list); err != nil {
		return nil
	}
	p := priorities{"": 0}
	for _, c := range list.Items {
		p[c.Name] = c.Value
		if c.GlobalDefault {
			p[""] = c.Value
		}
	}
	return p
}

func (p priorities) of(job *batchv1.Job) *int32 {
	if value, ok := p[job.Spec.Template.Spec.PriorityClassName]; ok {
		return &value
	}
	return nil
}
