package kubemetrics

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"k8s.io/metrics/pkg/apis/external_metrics"
)

// api is one of the metrics APIs.
type api struct{ name, group string }

var (
	custom   = api{"custom metrics API", custom_metrics.GroupName}
	external = api{"external metrics API", external_metrics.GroupName}
)

// apis knows which groups the API server serves.
type apis struct {
	groups interface {
		ServerGroups() (*metav1.APIGroupList, error)
	}
	versions interface{ Invalidate() }
}

// explain says why an answer is missing, for the policy's owner: without addresses,
// which errors of transports have in them. What was known of versions is forgotten:
// the adapter may have been replaced by one of another version.
func (a *apis) explain(of api, metric string, err error) error {
	a.versions.Invalidate()
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fmt.Errorf("metric %q: the broker may not read the %s", metric, of.name)
	case apierrors.IsBadRequest(err), apierrors.IsInvalid(err):
		return fmt.Errorf("metric %q: the %s refuses the question: %s", metric, of.name, message(err))
	}
	listed, fresh, known := a.served(of)
	switch {
	case known && !listed:
		return fmt.Errorf("metric %q: the %s is not served: no metrics adapter is installed", metric, of.name)
	case known && !fresh:
		return down(of, metric)
	case apierrors.IsNotFound(err):
		return noValues(of, metric)
	}
	return down(of, metric)
}

// served asks for the group. known is false if the API server itself does not answer;
// fresh, if the adapter behind the group is reached.
func (a *apis) served(of api) (listed, fresh, known bool) {
	list, err := a.groups.ServerGroups()
	if err != nil {
		return false, false, false
	}
	for i := range list.Groups {
		if list.Groups[i].Name == of.group {
			return true, len(list.Groups[i].Versions) > 0, true
		}
	}
	return false, false, true
}

func down(of api, metric string) error {
	return fmt.Errorf("metric %q: the %s does not answer", metric, of.name)
}

func noValues(of api, metric string) error {
	return fmt.Errorf("metric %q: the %s has no value of it", metric, of.name)
}

// message is what the API said, without the request.
func message(err error) string {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return status.Status().Message
	}
	return "invalid"
}
