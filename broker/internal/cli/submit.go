package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

type submitOptions struct {
	*session
	out       *output
	files     []string
	recursive bool
	queue     string
	dryRun    string

	ns         string
	nsExplicit bool
	api        client.Client

	// queues of the namespaces that have been looked at.
	queues map[string][]v1alpha1.TrainingQueue
}

// submission is a job that has passed all checks.
type submission struct {
	job   *batchv1.Job
	queue string
}

func newSubmitCommand(s *session) *cobra.Command {
	o := &submitOptions{session: s, out: newOutput(), queues: map[string][]v1alpha1.TrainingQueue{}}
	cmd := &cobra.Command{
		Use:   "submit -f FILE [--queue QUEUE]",
		Short: "Submit training jobs to a queue",
		Long: `Submit training jobs to a queue.

Creates the batch/v1 Jobs of a manifest, suspended and labelled with the queue;
Ebbtide admits each one when its whole gang has units. The queue is that of
--queue, or else of the job's label ebbtide.dev/queue, or else the only
TrainingQueue of the namespace. All jobs are checked before any is sent.`,
		Example: `  # Submit to the only queue of the namespace
  kubectl ebbtide submit -f job.yaml

  # Submit to a queue, from another tool's output
  render-job | kubectl ebbtide submit -f - --queue nightly -n research

  # See what would be created
  kubectl ebbtide submit -f job.yaml --dry-run=client -o yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			if err := o.complete(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.out.addFlags(cmd)
	cmd.Flags().StringSliceVarP(&o.files, "filename", "f", nil, "Manifest with the jobs: a file, a directory, a URL, or - for standard input")
	cmd.Flags().BoolVarP(&o.recursive, "recursive", "R", false, "Go into the subdirectories of a directory")
	cmd.Flags().StringVar(&o.queue, "queue", "", "TrainingQueue to submit to")
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", `"none", "client" (check, send nothing) or "server" (the API server checks, nothing is stored)`)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
	_ = cmd.RegisterFlagCompletionFunc("queue", completeFirst(s, completeQueues)) // fails only for a flag that is not there
	return cmd
}

func (o *submitOptions) validate() error {
	if len(o.files) == 0 {
		return errors.New("--filename: say which manifest to submit, e.g. -f job.yaml")
	}
	if !slices.Contains([]string{"none", "client", "server"}, o.dryRun) {
		return fmt.Errorf(`--dry-run: %q is not one of none, client, server`, o.dryRun)
	}
	return o.out.validate()
}

func (o *submitOptions) complete() (err error) {
	if o.ns, o.nsExplicit, err = o.namespace(); err != nil {
		return err
	}
	o.api, err = o.cluster()
	return err
}

func (o *submitOptions) run(ctx context.Context) error {
	infos, err := o.read()
	if err != nil {
		return err
	}
	// Everything is checked before anything is sent.
	var submissions []submission
	var problems []error
	for _, info := range infos {
		sub, err := o.prepare(ctx, info)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", info.Source, err))
			continue
		}
		submissions = append(submissions, sub)
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	o.warn(ctx, submissions)
	for _, sub := range submissions {
		if err := o.send(ctx, sub); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// read gets the objects of the manifests, without asking the server anything.
func (o *submitOptions) read() ([]*resource.Info, error) {
	builder := resource.NewLocalBuilder().Unstructured().ContinueOnError()
	var files []string
	for _, f := range o.files {
		if f == "-" {
			builder = builder.Stream(o.Streams.In, "STDIN")
			continue
		}
		files = append(files, f)
	}
	if len(files) > 0 {
		builder = builder.FilenameParam(false, &resource.FilenameOptions{Filenames: files, Recursive: o.recursive})
	}
	infos, err := builder.Flatten().Do().Infos()
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("%s: no job in the manifest", strings.Join(o.files, ", "))
	}
	return infos, nil
}

// prepare checks one object and makes it what is sent.
func (o *submitOptions) prepare(ctx context.Context, info *resource.Info) (submission, error) {
	job, err := decodeJob(info.Object)
	if err != nil {
		return submission{}, err
	}
	name := jobName(job)
	switch {
	case job.Namespace == "":
		job.Namespace = o.ns
	case o.nsExplicit && job.Namespace != o.ns:
		return submission{}, fmt.Errorf("job.batch/%s: metadata.namespace is %q, but --namespace says %q", name, job.Namespace, o.ns)
	}
	if errs := checkJob(job); len(errs) > 0 {
		return submission{}, fmt.Errorf("job.batch/%s: %w", name, errs.ToAggregate())
	}
	queue, err := o.chooseQueue(ctx, job)
	if err != nil {
		return submission{}, fmt.Errorf("job.batch/%s: %w", name, err)
	}
	if job.Labels == nil {
		job.Labels = map[string]string{}
	}
	if job.Spec.Template.Labels == nil {
		job.Spec.Template.Labels = map[string]string{}
	}
	job.Labels[v1alpha1.LabelQueue] = queue
	job.Spec.Template.Labels[v1alpha1.LabelQueue] = queue
	job.Spec.Suspend = ptr.To(true)
	return submission{job: job, queue: queue}, nil
}

// jobName is the job's name, or what is known of a name that is not made yet.
func jobName(job *batchv1.Job) string { return cmp.Or(job.Name, job.GenerateName+"*") }

func decodeJob(obj runtime.Object) (*batchv1.Job, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk != batchv1.SchemeGroupVersion.WithKind("Job") {
		return nil, fmt.Errorf("%s of %s cannot be submitted; only Job of batch/v1 can", gvk.Kind, gvk.GroupVersion())
	}
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("read the job: unexpected form %T", obj)
	}
	job := &batchv1.Job{}
	// Strict: a misspelt field must not vanish on the way.
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, job, true); err != nil {
		return nil, fmt.Errorf("job.batch/%s: %w", u.GetName(), err)
	}
	job.SetGroupVersionKind(gvk)
	return job, nil
}

// chooseQueue names the queue of a job, which must exist.
func (o *submitOptions) chooseQueue(ctx context.Context, job *batchv1.Job) (string, error) {
	queues, ok := o.queues[job.Namespace]
	if !ok {
		var err error
		if queues, err = listQueues(ctx, o.api, job.Namespace, false); err != nil {
			return "", err
		}
		o.queues[job.Namespace] = queues
	}
	names := queueNames(queues)
	label := job.Labels[v1alpha1.LabelQueue]
	name := cmp.Or(o.queue, label)
	switch {
	case name == "" && len(names) == 1:
		return names[0], nil
	case name == "" && len(names) > 1:
		return "", fmt.Errorf("namespace %q has %d queues (%s): say which one with --queue or the label %s",
			job.Namespace, len(names), strings.Join(names, ", "), v1alpha1.LabelQueue)
	case len(names) == 0:
		return "", fmt.Errorf("namespace %q has no TrainingQueue: create one first", job.Namespace)
	case !slices.Contains(names, name):
		return "", unknownQueue(name, job.Namespace, names)
	}
	if o.queue != "" && label != "" && o.queue != label {
		o.note("warning: job.batch/%s: --queue %s replaces the label %s=%s", jobName(job), o.queue, v1alpha1.LabelQueue, label)
	}
	return name, nil
}

func unknownQueue(name, ns string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("queue %q not found: namespace %q has no TrainingQueue", name, ns)
	}
	return fmt.Errorf("queue %q not found in namespace %q; its queues: %s", name, ns, strings.Join(names, ", "))
}

// warn says what is allowed but probably not meant.
func (o *submitOptions) warn(ctx context.Context, submissions []submission) {
	policies := o.visiblePolicies(ctx)
	for _, sub := range submissions {
		for _, q := range o.queues[sub.job.Namespace] {
			if q.Name == sub.queue && q.Spec.Paused {
				o.note("warning: job.batch/%s: queue %s is paused; the job waits until it is not", jobName(sub.job), sub.queue)
			}
		}
		if text := graceWarning(sub.job, policies); text != "" {
			o.note("warning: job.batch/%s: %s", jobName(sub.job), text)
		}
	}
}

// visiblePolicies are those the user may see: everywhere, or else in the
// namespace, or else none. What may not be seen is no error: it only warns less.
func (o *submitOptions) visiblePolicies(ctx context.Context) []v1alpha1.LendingPolicy {
	list := &v1alpha1.LendingPolicyList{}
	if o.api.List(ctx, list) == nil || o.api.List(ctx, list, client.InNamespace(o.ns)) == nil {
		return list.Items
	}
	return nil
}

func (o *submitOptions) send(ctx context.Context, sub submission) error {
	suffix := ""
	var err error
	switch o.dryRun {
	case "client":
		suffix = " (dry run)"
	case "server":
		suffix = " (server dry run)"
		err = o.api.Create(ctx, sub.job, client.DryRunAll)
	default:
		err = o.api.Create(ctx, sub.job)
	}
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("job.batch/%s already exists in namespace %q: delete it first, or use metadata.generateName", sub.job.Name, sub.job.Namespace)
	}
	if err != nil {
		return fmt.Errorf("create job.batch/%s in namespace %q: %w", jobName(sub.job), sub.job.Namespace, err)
	}
	if !o.out.isText() {
		return o.out.object(sub.job, o.Streams.Out)
	}
	_, err = fmt.Fprintf(o.Streams.Out, "job.batch/%s submitted to queue %s%s\n",
		jobName(sub.job), sub.queue, suffix)
	return err
}
