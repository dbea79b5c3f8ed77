package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

type submitOptions struct {
	*session
	out       *output
	files     []string
	recursive bool
	// job is described by flags, where there is no file.
	job    jobFlags
	queue  string
	dryRun string
	watch  bool

	ns         string
	nsExplicit bool
	api        client.Client

	// queues of the namespaces that have been looked at.
	queues map[string][]v1alpha1.TrainingQueue
}

// submission is a job that has passed all checks.
type submission struct {
	object client.Object
	kind   schema.GroupVersionKind
	queue  string
	// pod is what its pods look like; nil if that is not known.
	pod *corev1.PodSpec
}

// String is the object's kind and name, or what is known of a name that is not made yet.
func (s *submission) String() string {
	return typedName(s.kind, cmp.Or(s.object.GetName(), s.object.GetGenerateName()+"*"))
}

func newSubmitCommand(s *session) *cobra.Command {
	o := &submitOptions{session: s, out: newOutput(), queues: map[string][]v1alpha1.TrainingQueue{}}
	cmd := &cobra.Command{
		Use:   "submit (-f FILE | --name NAME --image IMAGE [-- COMMAND]) [--queue QUEUE]",
		Short: "Submit training jobs to a queue",
		Long: `Submit training jobs to a queue.

Creates the jobs of a manifest, suspended and labelled with the queue; Ebbtide
admits each one when its whole gang has units. A job is a batch/v1 Job, a JobSet,
TrainJob, PyTorchJob, MPIJob, RayJob or RayCluster. Pods, and those of a
Deployment, StatefulSet or LeaderWorkerSet, wait without being suspended. The
queue is that of --queue, or else of the label ebbtide.dev/queue, or else the
only TrainingQueue of the namespace. All jobs are checked before any is sent.

Without a manifest, --name and --image make a batch/v1 Job of --pods pods with
--gpus units each, which run side by side and are numbered. They run the image's
own command, or the one after "--".`,
		Example: `  # Submit to the only queue of the namespace
  kubectl ebbtide submit -f job.yaml

  # Two pods with eight GPUs each, without a manifest
  kubectl ebbtide submit --name train --image registry.example/train:1 --pods 2 --gpus 8 -- python train.py

  # Submit to a queue, from another tool's output
  render-job | kubectl ebbtide submit -f - --queue nightly -n research

  # Say what becomes of it, until it is admitted
  kubectl ebbtide submit -f job.yaml --watch

  # See what would be created
  kubectl ebbtide submit -f job.yaml --dry-run=client -o yaml`,
		Args: commandOnly,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.job.complete(cmd.Flags(), args)
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
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Say what becomes of the jobs, until all are admitted")
	o.job.add(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("queue", completeFirst(s, completeQueues)) // fails only for a flag that is not there
	return cmd
}

func (o *submitOptions) validate() error {
	by, described := o.job.asked()
	switch {
	case len(o.files) > 0 && described:
		return fmt.Errorf("--filename and %s exclude each other: a job is from a manifest or from flags", by)
	case len(o.files) == 0 && !described:
		return errors.New("say which job: a manifest with --filename (-f job.yaml), or --name and --image")
	case described && o.recursive:
		return fmt.Errorf("--recursive and %s exclude each other: a job is from a manifest or from flags", by)
	case described:
		if err := o.job.validate(); err != nil {
			return err
		}
	}
	if !slices.Contains([]string{"none", "client", "server"}, o.dryRun) {
		return fmt.Errorf(`--dry-run: %q is not one of none, client, server`, o.dryRun)
	}
	if o.watch && (o.dryRun != "none" || !o.out.isText()) {
		return errors.New("--watch goes with neither --dry-run nor --output")
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
			if info.Source != "" {
				err = fmt.Errorf("%s: %w", info.Source, err)
			}
			problems = append(problems, err)
			continue
		}
		submissions = append(submissions, sub)
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	o.warn(ctx, submissions)
	var sent []submission
	for _, sub := range submissions {
		if err := o.send(ctx, sub); err != nil {
			problems = append(problems, err)
			continue
		}
		sent = append(sent, sub)
	}
	if o.watch {
		problems = append(problems, o.follow(ctx, sent))
	}
	return errors.Join(problems...)
}

// read gets the objects of the manifests, or the one that flags describe, without asking the
// server anything.
func (o *submitOptions) read() ([]*resource.Info, error) {
	if len(o.files) == 0 {
		object, err := o.job.object()
		if err != nil {
			return nil, err
		}
		return []*resource.Info{{Object: object}}, nil
	}
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
	sub, err := decode(info.Object)
	if err != nil {
		return submission{}, err
	}
	object := sub.object
	switch {
	case object.GetNamespace() == "":
		object.SetNamespace(o.ns)
	case o.nsExplicit && object.GetNamespace() != o.ns:
		return submission{}, fmt.Errorf("%s: metadata.namespace is %q, but --namespace says %q", &sub, object.GetNamespace(), o.ns)
	}
	if errs := sub.check(); len(errs) > 0 {
		return submission{}, fmt.Errorf("%s: %w", &sub, errs.ToAggregate())
	}
	if err := o.chooseQueue(ctx, &sub); err != nil {
		return submission{}, fmt.Errorf("%s: %w", &sub, err)
	}
	if err := sub.enqueue(); err != nil {
		return submission{}, fmt.Errorf("%s: %w", &sub, err)
	}
	return sub, nil
}

// chooseQueue finds the queue of a job, which must exist.
func (o *submitOptions) chooseQueue(ctx context.Context, sub *submission) error {
	ns := sub.object.GetNamespace()
	queues, ok := o.queues[ns]
	if !ok {
		var err error
		if queues, err = listQueues(ctx, o.api, ns, false); err != nil {
			return err
		}
		o.queues[ns] = queues
	}
	names := namesOf(queues)
	label := sub.label()
	sub.queue = cmp.Or(o.queue, label)
	switch {
	case sub.queue == "" && len(names) == 1:
		sub.queue = names[0]
		return nil
	case sub.queue == "" && len(names) > 1:
		return fmt.Errorf("namespace %q has %d queues (%s): say which one with --queue or the label %s",
			ns, len(names), strings.Join(names, ", "), v1alpha1.LabelQueue)
	case len(names) == 0:
		return fmt.Errorf("namespace %q has no TrainingQueue: create one first", ns)
	case !slices.Contains(names, sub.queue):
		return unknownQueue(sub.queue, ns, names)
	}
	if o.queue != "" && label != "" && o.queue != label {
		o.note("warning: %s: --queue %s replaces the label %s=%s", sub, o.queue, v1alpha1.LabelQueue, label)
	}
	return nil
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
	for i := range submissions {
		sub := &submissions[i]
		for _, q := range o.queues[sub.object.GetNamespace()] {
			if q.Name == sub.queue && q.Spec.Paused {
				o.note("warning: %s: queue %s is paused; the job waits until it is not", sub, sub.queue)
			}
		}
		if sub.pod == nil {
			continue
		}
		if text := graceWarning(sub.pod, policies); text != "" {
			o.note("warning: %s: %s", sub, text)
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
	// Strict: a misspelt field must not vanish on the way.
	strict := client.FieldValidation(metav1.FieldValidationStrict)
	switch o.dryRun {
	case "client":
		suffix = " (dry run)"
	case "server":
		suffix = " (server dry run)"
		err = o.api.Create(ctx, sub.object, client.DryRunAll, strict)
	default:
		err = o.api.Create(ctx, sub.object, strict)
	}
	ns := sub.object.GetNamespace()
	switch {
	case apierrors.IsAlreadyExists(err):
		other := "metadata.generateName"
		if len(o.files) == 0 {
			other = "another --name"
		}
		return fmt.Errorf("%s already exists in namespace %q: delete it first, or use %s", &sub, ns, other)
	case apierrors.IsNotFound(err) && sub.kind != kindJob:
		return fmt.Errorf("create %s in namespace %q: the cluster has no kind %s of %s, or no such namespace: %w",
			&sub, ns, sub.kind.Kind, sub.kind.GroupVersion(), err)
	case err != nil:
		return fmt.Errorf("create %s in namespace %q: %w", &sub, ns, err)
	}
	if !o.out.isText() {
		return o.out.object(sub.object, o.Streams.Out)
	}
	_, err = fmt.Fprintf(o.Streams.Out, "%s submitted to queue %s%s\n", &sub, sub.queue, suffix)
	return err
}
