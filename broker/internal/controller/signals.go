package controller

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/internal/signal/backlog"
)

// SignalsConfig says how signals are read, and how far they are believed.
type SignalsConfig struct {
	// YoungReplica is how long a replica must have been ready before it is believed
	// that it has no requests: an engine says 0 until it has counted its first ones.
	// Until then, one that says 0 counts as busy. 0s: every 0 is believed.
	YoungReplica metav1.Duration `json:"youngReplica"`
	// StableWindow and PanicWindow are what the load is the mean of.
	StableWindow metav1.Duration `json:"stableWindow"`
	PanicWindow  metav1.Duration `json:"panicWindow"`
	// ScrapeInterval between two readings of pods that are read directly.
	ScrapeInterval metav1.Duration `json:"scrapeInterval"`
	// Forecast: what is known of a load's past may keep units from being lent.
	Forecast bool `json:"forecast"`
	// Backends are the Redis and Kafka servers that policies may name.
	Backends backlog.Backends `json:"backends"`
}

func defaultSignals() SignalsConfig {
	return SignalsConfig{
		YoungReplica: duration(30 * time.Second),
		StableWindow: duration(time.Minute), PanicWindow: duration(6 * time.Second),
		ScrapeInterval: duration(5 * time.Second), Forecast: true, Backends: backlog.Backends{},
	}
}

func (s *SignalsConfig) validate() field.ErrorList {
	c := checker{at: field.NewPath("signals")}
	c.notNegative("youngReplica", s.YoungReplica)
	c.positive("stableWindow", s.StableWindow)
	c.positive("panicWindow", s.PanicWindow)
	c.want(s.PanicWindow.Duration <= s.StableWindow.Duration, "panicWindow", s.PanicWindow.Duration.String(), "must not exceed stableWindow")
	c.want(s.ScrapeInterval.Duration >= time.Second, "scrapeInterval", s.ScrapeInterval.Duration.String(), "must be at least 1s")
	return append(c.errs, s.Backends.Validate(c.at.Child("backends"))...)
}

// HooksConfig says what LendingPolicies may have created for them.
type HooksConfig struct {
	// Kinds of which hooks may create objects, with the broker's rights. Empty: none.
	Kinds []prewarm.Kind `json:"kinds"`
}

func (h *HooksConfig) validate() field.ErrorList {
	var errs field.ErrorList
	for i, kind := range h.Kinds {
		at := field.NewPath("hooks", "kinds").Index(i)
		gv, err := schema.ParseGroupVersion(kind.APIVersion)
		if err != nil || gv.Version == "" {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), kind.APIVersion, "must be a group and a version, as in data.fluid.io/v1alpha1"))
		}
		if gv.Group == v1alpha1.GroupVersion.Group {
			errs = append(errs, field.Forbidden(at.Child("apiVersion"), "objects of "+gv.Group+" that the broker creates are believed to be its own"))
		}
		if kind.Kind == "" {
			errs = append(errs, field.Required(at.Child("kind"), "must be a kind, as in DataLoad"))
		}
		if slices.Contains(h.Kinds[:i], kind) {
			errs = append(errs, field.Duplicate(at, kind.String()))
		}
	}
	return errs
}
