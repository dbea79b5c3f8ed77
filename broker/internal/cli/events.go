package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// listEvents are Ebbtide's own events, the newest last.
func listEvents(ctx context.Context, api client.Reader, options ...client.ListOption) ([]corev1.Event, error) {
	list := &corev1.EventList{}
	if err := api.List(ctx, list, options...); err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	var own []corev1.Event
	for _, e := range list.Items {
		if strings.Contains(e.ReportingController, "ebbtide") || strings.Contains(e.Source.Component, "ebbtide") {
			own = append(own, e)
		}
	}
	slices.SortStableFunc(own, func(a, b corev1.Event) int { return eventTime(&a).Compare(eventTime(&b)) })
	return own, nil
}

// eventTime is when an event was last seen, whichever of its fields says so.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

// splitKey splits namespace/name.
func splitKey(key string) (ns, name string) {
	ns, name, _ = strings.Cut(key, "/")
	return ns, name
}
