package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	schedulingv1 "k8s.io/api/scheduling/v1"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/guard"
)

// leastMinor and testedMinor are versions 1.x of Kubernetes: mutating admission policies are
// stable from the first, and the scheduler is built from the second.
const leastMinor, testedMinor = 36, 36

// applyAgain is what to do about anything that is not as shipped.
const applyAgain = "apply this version's manifests again: kubectl apply --server-side -k deploy/kustomize/overlays/..., or helm upgrade ebbtide-crds and ebbtide"

func (c *Cluster) kubernetes(context.Context) Finding {
	v, err := c.Version()
	if err != nil {
		return fail("see kubectl cluster-info, and the flags --context and --kubeconfig", "the API server does not answer: %v", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	switch {
	case err != nil:
		return unknown("", "the API server says that its version is %s.%s", v.Major, v.Minor)
	case minor < leastMinor:
		return fail(fmt.Sprintf("upgrade to Kubernetes 1.%d: mutating admission policies are stable from there", leastMinor), "Kubernetes %s", v.GitVersion)
	case minor > testedMinor:
		return warn(fmt.Sprintf("the scheduler is built from 1.%d's: look for a version of Ebbtide for this one", testedMinor), "Kubernetes %s is not tested", v.GitVersion)
	}
	return ok("Kubernetes %s", v.GitVersion)
}

// definitions must be served, with the schemas that this program was shipped with.
func (c *Cluster) definitions(ctx context.Context) Finding {
	want := Shipped().Definitions
	var gone, changed, unserved []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		var crd extensionsv1.CustomResourceDefinition
		err := c.API.Get(ctx, client.ObjectKey{Name: name}, &crd)
		switch {
		case apierrors.IsNotFound(err):
			gone = append(gone, name)
		case apierrors.IsForbidden(err):
			return c.served(err)
		case err != nil:
			return unread("customresourcedefinitions", err)
		case !established(&crd):
			unserved = append(unserved, name)
		case Digest(&crd) != want[name]:
			changed = append(changed, name)
		}
	}
	switch {
	case len(gone) > 0:
		return fail("install the definitions: kubectl apply --server-side -k deploy/crds, or helm install ebbtide-crds", "missing: %s", some(gone))
	case len(unserved) > 0:
		return fail("kubectl describe crd says why", "not served: %s", some(unserved))
	case len(changed) > 0:
		return warn("bring kubectl-ebbtide and the definitions to the same version; kubectl apply --server-side -k deploy/crds, or helm upgrade ebbtide-crds", "not as this program was shipped with: %s", some(changed))
	}
	return ok("all %d served, as shipped", len(want))
}

// served is as much as somebody may know who may not read definitions.
func (c *Cluster) served(err error) Finding {
	w := &c.seen
	for what, err := range map[string]error{"lendingpolicies": w.policies.err, "trainingqueues": w.queues.err, "tenantquotas": w.quotas.err} {
		if apierrors.IsNotFound(err) {
			return fail("ask an administrator to install Ebbtide's definitions: helm install ebbtide-crds", "the API server serves no %s.ebbtide.dev", what)
		}
	}
	return unread("customresourcedefinitions", err)
}

func established(crd *extensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == extensionsv1.Established {
			return c.Status == extensionsv1.ConditionTrue
		}
	}
	return false
}

// policies must be there and say what they said when they were shipped; the broker lends
// nothing new otherwise.
func (c *Cluster) policies(ctx context.Context) Finding {
	var missing []guard.Missing
	g := guard.Guard{Live: c.API, Clock: clock.RealClock{}, Note: func(m []guard.Missing) error {
		missing = m
		return nil
	}}
	err := g.Look(ctx)
	switch {
	case err != nil:
		if cause := errors.Unwrap(err); cause != nil {
			err = cause
		}
		return unread("admission policies", err)
	case len(missing) == 0:
		return ok("all %d there, as shipped", len(guard.Shipped()))
	}
	changed := true
	for _, m := range missing {
		changed = changed && m.Digest != ""
	}
	if changed {
		return warn(applyAgain+"; one that you changed on purpose belongs under admissionPolicies.accept in the broker's configuration, or nothing new is lent", "%s", words(missing))
	}
	if c.seen.advises {
		return warn(toLend, "%d are not there, which is enough to advise", len(missing))
	}
	return fail(applyAgain+"; until then nothing new is lent", "%s", words(missing))
}

// words name the first few.
func words(missing []guard.Missing) string {
	const shown = 4
	if len(missing) <= shown {
		return guard.Words(missing)
	}
	return fmt.Sprintf("%s and %d more", guard.Words(missing[:shown]), len(missing)-shown)
}

func (c *Cluster) classes(ctx context.Context) Finding {
	want := Shipped().Classes
	list := &schedulingv1.PriorityClassList{}
	if err := c.API.List(ctx, list); err != nil {
		return unread("priorityclasses", err)
	}
	have := map[string]int32{}
	for i := range list.Items {
		have[list.Items[i].Name] = list.Items[i].Value
	}
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value, there := have[name]
		switch {
		case !there:
			wrong = append(wrong, name+" is missing")
		case value != want[name]:
			wrong = append(wrong, fmt.Sprintf("%s has the value %d, not %d", name, value, want[name]))
		}
	}
	if len(wrong) > 0 {
		return fail("delete what has another value, as a PriorityClass cannot be changed, then "+applyAgain, "%s", strings.Join(wrong, ", "))
	}
	return ok("%s", some(slices.Collect(maps.Keys(want))))
}
