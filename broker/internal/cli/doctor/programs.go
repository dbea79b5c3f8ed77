package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
)

// program is the label that says which of Ebbtide's programs a pod runs.
const program = "app.kubernetes.io/name"

// versions of the programs in the cluster must be one.
func (c *Cluster) versions(context.Context) Finding {
	if c.seen.system.err != nil {
		return unread("pods in "+system, c.seen.system.err)
	}
	tags := map[string][]string{} // programs by tag
	for i := range c.seen.system.items {
		p := &c.seen.system.items[i]
		name := p.Labels[program]
		if !strings.HasPrefix(name, "ebbtide-") {
			continue
		}
		for _, container := range p.Spec.Containers {
			if _, rest, found := strings.Cut(container.Image, name); found {
				tags[strings.TrimLeft(rest, ":@")] = append(tags[strings.TrimLeft(rest, ":@")], name)
			}
		}
	}
	var said []string
	for tag, names := range tags {
		if tag == "" {
			tag = "no tag"
		}
		said = append(said, fmt.Sprintf("%s (%s)", tag, some(names)))
	}
	slices.Sort(said)
	switch len(said) {
	case 0:
		return warn("install them (docs/tasks/quickstart.md), or ignore this if they run elsewhere", "no pod of Ebbtide's runs in %s", system)
	case 1:
		return ok("%s", said[0])
	}
	return warn("upgrade all of them to one version; while an upgrade is under way this is as it should be", "%s", strings.Join(said, ", "))
}

// leads says who holds a lease now.
func (c *Cluster) leads(ctx context.Context, ns, name string) (holder string, fresh bool, err error) {
	lease := &coordinationv1.Lease{}
	if err := c.API.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, lease); err != nil {
		return "", false, err
	}
	holder, _, _ = strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if lease.Spec.RenewTime == nil || holder == "" {
		return holder, false, nil
	}
	length := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 15)) * time.Second
	return holder, c.now.Sub(lease.Spec.RenewTime.Time) <= length, nil
}

// ready counts a program's pods; bad are the ones that are not, and why.
func (w *world) ready(name string) (ready int, bad []string) {
	for i := range w.system.items {
		p := &w.system.items[i]
		if p.Labels[program] != name {
			continue
		}
		if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			ready++
			continue
		}
		bad = append(bad, p.Name+" "+trouble(p))
	}
	return ready, bad
}

// trouble is why a pod is not ready, in the words of its container.
func trouble(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Waiting != nil && s.State.Waiting.Reason != "":
			return "is in " + s.State.Waiting.Reason
		case s.LastTerminationState.Terminated != nil:
			return fmt.Sprintf("ended with %s and was started again %d times", s.LastTerminationState.Terminated.Reason, s.RestartCount)
		}
	}
	return "is " + string(p.Status.Phase) + " and not ready"
}

const schedulerName = "ebbtide-scheduler"

func (c *Cluster) scheduler(ctx context.Context) Finding {
	ready, bad := c.seen.ready(schedulerName)
	logs := "see kubectl logs -n " + system + " -l " + program + "=" + schedulerName
	holder, fresh, err := c.leads(ctx, system, schedulerName)
	if apierrors.IsNotFound(err) || err == nil && !fresh {
		// In the place of kube-scheduler it takes kube-scheduler's lease.
		if other, freshToo, errToo := c.leads(ctx, "kube-system", "kube-scheduler"); errToo == nil && freshToo && strings.HasPrefix(other, schedulerName) {
			holder, fresh, err = other, true, nil
		}
	}
	switch {
	case apierrors.IsNotFound(err) && !c.needsScheduler():
		return warn(toLend, "there is none, which is enough to advise")
	case apierrors.IsNotFound(err):
		return fail("install it: docs/tasks/install-the-scheduler.md", "no scheduler of Ebbtide's has ever led")
	case err != nil:
		return unread("leases in "+system, err)
	case !fresh:
		return fail(logs, "nobody leads: the lease of %s has run out%s", or(holder, "nobody"), besides(bad))
	case len(bad) > 0:
		return warn(logs, "%s leads, %d ready%s", holder, ready, besides(bad))
	}
	return ok("%s leads", holder)
}

const brokerName = "ebbtide-broker"

func (c *Cluster) broker(ctx context.Context) Finding {
	ready, bad := c.seen.ready(brokerName)
	logs := "see kubectl logs -n " + system + " -l " + program + "=" + brokerName
	holder, fresh, err := c.leads(ctx, system, brokerName)
	switch {
	case apierrors.IsNotFound(err):
		return fail("install it: docs/tasks/quickstart.md", "no broker has ever led")
	case err != nil:
		return unread("leases in "+system, err)
	case !fresh:
		return fail(logs+"; what is lent stays lent, and services take their units back through the scheduler", "nobody leads: the lease of %s has run out%s", or(holder, "nobody"), besides(bad))
	case len(bad) > 0:
		return warn(logs, "%s leads, %d ready%s", holder, ready, besides(bad))
	}
	return ok("%s leads", holder)
}

// young is how old the last decision may be: sources are read every 15 seconds at the least.
const young = time.Minute

// decisions are asked of the broker itself.
func (c *Cluster) decisions(ctx context.Context) Finding {
	_, at, err := c.Broker.Lenders(ctx)
	switch {
	case errors.Is(err, access.ErrRefused):
		return unknown("log in as somebody whom the broker can know: docs/security/access.md", "%v", err)
	case err != nil && strings.Contains(err.Error(), "forbidden"):
		return unknown("ask an administrator to bind you the Role ebbtide-broker-reader in "+system+": docs/reference/cli.md", "%v", err)
	case err != nil:
		return fail("if the check broker is ok, you need the Role ebbtide-broker-reader in "+system+" (docs/reference/cli.md), or a --broker URL", "%v", err)
	}
	age := c.now.Sub(at).Round(time.Second)
	if age > young {
		return fail("see the broker's log; if its clock and the API server's differ, mend that", "the last decision is %s old", age)
	}
	return ok("the last decision is %s old", max(age, 0))
}

func besides(bad []string) string {
	if len(bad) == 0 {
		return ""
	}
	return "; " + some(bad)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
