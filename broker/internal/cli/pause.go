package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// fieldManager is whose changes these are, in metadata.managedFields.
const fieldManager = client.FieldOwner("kubectl-ebbtide")

type pauseOptions struct {
	*session
	out   *output
	pause bool
	api   client.Client
}

func newPauseCommand(s *session) *cobra.Command {
	o := &pauseOptions{session: s, out: newOutput(), pause: true}
	return o.command(&cobra.Command{
		Use:   "pause (lender/NAME | queue/NAME)...",
		Short: "Lend nothing new from a service, or admit nothing from a queue, until it is resumed",
		Long: `Lend nothing new from a service, or admit nothing from a queue, until it is resumed.

What is lent stays lent, and what runs goes on: "kubectl ebbtide reclaim" asks units
back. It sets spec.paused of the LendingPolicy or the TrainingQueue, so that it is
authorized and audited as any change of it.`,
		Example: `  # Before a launch
  kubectl ebbtide pause lender/chat -n serving

  # A queue, and go on later
  kubectl ebbtide pause queue/nightly -n research
  kubectl ebbtide resume queue/nightly -n research`,
	})
}

func newResumeCommand(s *session) *cobra.Command {
	o := &pauseOptions{session: s, out: newOutput()}
	return o.command(&cobra.Command{
		Use:   "resume (lender/NAME | queue/NAME)...",
		Short: "Let a paused service lend again, or a paused queue admit again",
		Long: `Let a paused service lend again, or a paused queue admit again.

It takes spec.paused off the LendingPolicy or the TrainingQueue. Units that are asked
back by hand stay so: "kubectl ebbtide reclaim --cancel" ends that.`,
		Example: `  kubectl ebbtide resume lender/chat -n serving`,
	})
}

func (o *pauseOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("say which: lender/NAME or queue/NAME")
		}
		return nil
	}
	cmd.ValidArgsFunction = completeFirst(o.session, completeOwn(kindLender, kindQueue))
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) }
	o.out.addFlags(cmd)
	return cmd
}

func (o *pauseOptions) run(ctx context.Context, args []string) (err error) {
	if err := o.out.validate(); err != nil {
		return err
	}
	var targets []target
	for _, arg := range args {
		t, err := o.own(arg, kindLender, kindQueue)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	if o.api, err = o.cluster(); err != nil {
		return err
	}
	var problems []error
	for _, t := range targets {
		problems = append(problems, o.set(ctx, t))
	}
	return errors.Join(problems...)
}

// set pauses or resumes one.
func (o *pauseOptions) set(ctx context.Context, t target) error {
	object, is := paused(t.kind)
	kind := object.GetObjectKind().GroupVersionKind()
	err := o.api.Get(ctx, t.key, object)
	if apierrors.IsNotFound(err) {
		return missing(ctx, o.api, t)
	}
	if err != nil {
		return noRight(err, "get", t)
	}
	done := map[bool]string{true: "paused", false: "resumed"}[o.pause]
	if is() == o.pause {
		done = map[bool]string{true: "paused already", false: "not paused"}[o.pause]
	} else if err := o.patch(ctx, object); err != nil {
		return noRight(err, "patch", t)
	}
	object.GetObjectKind().SetGroupVersionKind(kind) // a typed client takes it off
	o.remark(object)
	if !o.out.isText() {
		return o.out.object(object, o.Streams.Out)
	}
	_, err = fmt.Fprintf(o.Streams.Out, "%s %s\n", typedName(kind, t.key.Name), done)
	return err
}

func (o *pauseOptions) patch(ctx context.Context, object client.Object) error {
	value := "null"
	if o.pause {
		value = "true"
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"paused":`+value+`}}`))
	return o.api.Patch(ctx, object, patch, fieldManager)
}

// remark says what somebody who resumes a lender may not expect.
func (o *pauseOptions) remark(object client.Object) {
	policy, ok := object.(*v1alpha1.LendingPolicy)
	if !ok || o.pause || policy.Spec.Recall == nil || !policy.Spec.Recall.Until.After(o.Clock.Now()) {
		return
	}
	o.note("note: until %s its units are still asked back by hand; \"kubectl ebbtide reclaim lender/%s --cancel\" ends that",
		clockTime(policy.Spec.Recall.Until.Time), policy.Name)
}

// paused is an empty object of a kind, and whether it is paused once it is read.
func paused(kind string) (client.Object, func() bool) {
	if kind == kindQueue {
		queue := &v1alpha1.TrainingQueue{}
		queue.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TrainingQueue"))
		return queue, func() bool { return queue.Spec.Paused }
	}
	policy := &v1alpha1.LendingPolicy{}
	policy.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("LendingPolicy"))
	return policy, func() bool { return policy.Spec.Paused }
}
