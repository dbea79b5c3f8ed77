package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ebbtide/ebbtide/broker/counterfactual"
	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/view"
)

// grounds are what lies behind an explanation: the chain of verdicts, what would change it,
// and when it will change by itself.
type grounds struct {
	// title of the chain; Why if it is empty.
	title    string
	chain    []access.Link
	nearest  []counterfactual.Change
	complete bool
	when     *access.When
	// whenUnknown says why there is no when.
	whenUnknown string
}

// grounds of a waiting job. Without them the sentence is as true, so that they cannot be had
// is no error: it is a note, unless the broker is older.
func (o *explainOptions) grounds(ctx context.Context, job *jobs.Job) *grounds {
	c, err := o.ask.Counterfactual(ctx, job.Key.String(), string(job.UID))
	if err != nil {
		if !errors.Is(err, access.ErrOlder) && !errors.Is(err, access.ErrUnknownSubject) {
			o.note("note: what would admit it cannot be said: %v", err)
		}
		return nil
	}
	return &grounds{chain: c.Chain, nearest: c.Nearest, complete: c.Complete, when: c.When, whenUnknown: c.WhenUnknown}
}

// text is below the sentence.
func (g *grounds) text(o *explainOptions) string {
	if g == nil {
		return ""
	}
	var b strings.Builder
	if len(g.chain) > 0 {
		b.WriteString("\n" + cmp.Or(g.title, "Why") + ":\n")
	}
	for _, l := range g.chain {
		a := view.Answer{Subject: l.Kind + " " + l.Subject, Message: l.Message, Reason: l.Reason, Since: l.Since}
		b.WriteString("  " + a.Sentence(o.Clock.Now()) + "\n")
	}
	if g.when != nil || g.whenUnknown != "" || len(g.nearest) > 0 {
		b.WriteString("\nWhat would admit it:\n")
		for _, c := range g.nearest {
			b.WriteString("  " + c.Text + "\n")
		}
		if len(g.nearest) == 0 {
			b.WriteString("  No single change that was tried would, now.\n")
		}
		if !g.complete {
			b.WriteString("  Not all changes were tried: that would take too many decisions.\n")
		}
	}
	switch {
	case g.when != nil:
		b.WriteString("\nWhen, as things are: " + g.when.Message + ".\n")
	case g.whenUnknown != "":
		b.WriteString("\nWhen cannot be said: " + g.whenUnknown + ".\n")
	}
	return b.String()
}

// fields are those of the object.
func (g *grounds) fields(value map[string]any) {
	if g == nil {
		return
	}
	value["chain"] = g.chain
	if g.nearest != nil {
		value["nearest"], value["complete"] = g.nearest, g.complete
	}
	if g.when != nil {
		value["when"] = g.when
	}
	if g.whenUnknown != "" {
		value["whenUnknown"] = g.whenUnknown
	}
}

// pod explains a pod by its job, or by itself if it is of none.
func (o *explainOptions) pod(ctx context.Context) (explanation, error) {
	key := o.key
	pod := &corev1.Pod{}
	err := o.api.Get(ctx, key, pod)
	if err != nil && !apierrors.IsNotFound(err) {
		return explanation{}, fmt.Errorf("read pod %s: %w", key, err)
	}
	gone := err != nil
	job, err := o.jobOfPod(ctx, o.api, key)
	switch {
	case !gone && (errors.Is(err, errJobless) || apierrors.IsForbidden(err)):
		return o.service(pod), nil
	case err != nil:
		return explanation{}, err
	case job.Kind == kindPod:
		return o.job(ctx)
	}
	o.key, o.jobKind = job.Key, job.Kind
	e, err := o.job(ctx)
	if !gone {
		e.Subject = fmt.Sprintf("Pod %s %s, and its %s", key, podState(pod), e.Subject)
	}
	return e, err
}

// service explains a pod that is of no queue's job.
func (o *explainOptions) service(pod *corev1.Pod) explanation {
	e := explanation{source: fromAPIServer, Answer: view.Answer{Subject: "Pod " + o.key.String(), State: podState(pod) + ", and is of no queue's job"}}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			e.Message, e.Reason, e.Since = c.Message, c.Reason, c.LastTransitionTime.Time
		}
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			e.Message, e.Reason, e.Since = c.Message, c.Reason, c.LastTransitionTime.Time
		}
	}
	return e
}

func podState(pod *corev1.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "is going"
	case pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed:
		return "has ended as " + string(pod.Status.Phase)
	case pod.Spec.NodeName == "":
		return "waits for a node"
	}
	return "is on node " + pod.Spec.NodeName
}

// node explains who has a node's units.
func (o *explainOptions) node(ctx context.Context) (explanation, error) {
	nodes, _, err := o.ask.Nodes(ctx, o.key.Name)
	switch {
	case errors.Is(err, access.ErrUnknownSubject), err == nil && len(nodes) == 0:
		return explanation{}, fmt.Errorf("node %q has no units that Ebbtide counts, or none of which you may see who has them", o.key.Name)
	case err != nil:
		return explanation{}, err
	}
	n := &nodes[0]
	e := explanation{source: fromBroker, Answer: view.Answer{Subject: "Node " + n.Name, State: nodeState(n), Message: n.Unlendable}}
	loans, _, err := o.ask.Loans(ctx, url.Values{})
	if err != nil {
		return explanation{}, err
	}
	g := &grounds{title: "On it", complete: true}
	for _, l := range loans {
		units := int64(0)
		for _, grant := range l.Grants {
			if grant.Node == n.Name {
				units += grant.Count
			}
		}
		if units > 0 {
			g.chain = append(g.chain, access.Link{Kind: "Loan", Subject: l.Name, Reason: l.State, Message: fmt.Sprintf("has %s there for job %s", counted(units, "unit"), l.Job), Since: l.Since})
		}
	}
	for _, r := range n.Reshapes {
		g.chain = append(g.chain, access.Link{Kind: "GPU", Subject: r.GPU, Reason: string(r.State), Message: fmt.Sprintf("%d of %s are made into %s", r.Count, r.From, r.To)})
	}
	e.grounds = g
	return e, nil
}

func nodeState(n *view.NodeRow) string {
	var parts []string
	for _, u := range n.Units {
		if n.Part {
			parts = append(parts, fmt.Sprintf("has %d of %s on loan, as far as you may see", u.Lent+u.Borrowed, u.Flavor))
			continue
		}
		parts = append(parts, fmt.Sprintf("has %d of %s: %d with services, %d training on their own quota, %d other, %d lent, %d free, %d broken",
			u.Capacity, u.Flavor, u.Services, u.Training, u.Other, u.Lent, u.Free, u.Broken))
	}
	text := strings.Join(parts, "; ")
	if !n.Schedulable && !n.Part {
		text += "; it takes no new pods"
	}
	if n.Silent {
		text += "; nobody confirms there that pods have ended"
	}
	return text
}

// lending is what lies behind a lender's verdict.
func (o *explainOptions) lending(ctx context.Context) *grounds {
	rows, _, err := o.ask.Lenders(ctx)
	if err != nil {
		return nil // the sentence has said that the broker cannot be asked
	}
	now := o.Clock.Now()
	for i := range rows {
		l := &rows[i]
		if l.Name != o.key.String() {
			continue
		}
		g := &grounds{complete: true}
		add := func(kind, message string) {
			g.chain = append(g.chain, access.Link{Kind: kind, Subject: l.Name, Message: message})
		}
		if l.NeedBy != "" {
			add("Need of", fmt.Sprintf("%s, by %s", counted(l.Need, "unit"), l.NeedBy))
		}
		if l.HighWater > 0 {
			text := fmt.Sprintf("lends below %s for %s, takes back above %s", view.Percent(l.LowWater), view.Span(seconds(l.DwellSeconds)), view.Percent(l.HighWater))
			if !l.LowSince.IsZero() {
				text += fmt.Sprintf("; low for %s", view.Age(now, l.LowSince))
			}
			add("Water marks of", text)
		}
		if wait := l.LastReclaim.Add(seconds(l.CooldownSeconds)); !l.LastReclaim.IsZero() && wait.After(now) {
			add("Cooldown of", fmt.Sprintf("took back %s ago, lends again in %s at the earliest", view.Age(now, l.LastReclaim), view.Span(wait.Sub(now))))
		}
		if l.Paused {
			add("Pause of", fmt.Sprintf("by hand; \"kubectl ebbtide resume lender/%s\" ends it", o.key.Name))
		}
		if l.Recall != nil {
			add("Recall of", fmt.Sprintf("by hand: keeps %s until %s", counted(l.Recall.Keep, "unit"), clockTime(l.Recall.Until)))
		}
		return g
	}
	return nil
}
