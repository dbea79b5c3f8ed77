package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/guard"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// guarded has nothing new lent while an admission policy that lending relies on is gone or
// changed. What it returns waits until that is looked at no more.
func (b *broker) guarded(ctx context.Context, actuator *actuate.Actuator, book actuate.Ledger) (stop func()) {
	g := &guard.Guard{
		Live: b.mgr.GetAPIReader(), Clock: b.clock, Accept: b.config.AdmissionPolicies.Accept,
		Note: (&policyNotes{book: book, epoch: actuator.Epoch, events: b.mgr.GetEventRecorder("ebbtide-broker")}).note,
	}
	actuator.MayLend = both(actuator.MayLend, g.MayLend)
	b.metrics.policies.Store(g)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// policyNotes tells in the ledger and by events what became of admission policies.
type policyNotes struct {
	book interface {
		Append(e ledger.Entry) (ledger.Entry, error)
	}
	epoch  int64
	events events.EventRecorder
	times  int
}

// Reasons of entries and events.
const (
	reasonPolicyMissing = "PolicyMissing"
	reasonPolicyBack    = "PolicyBack"
)

// note is told what is missing; nothing: all is there again.
func (n *policyNotes) note(missing []guard.Missing) error {
	e := ledger.Entry{Kind: ledger.PolicyMissing, Epoch: n.epoch, Reason: reasonPolicyMissing, Message: guard.Words(missing) + ": nothing new is lent"}
	if len(missing) == 0 {
		e.Kind, e.Reason, e.Message = ledger.PolicyBack, reasonPolicyBack, "all admission policies are in place again"
	} else {
		e.Payload, _ = json.Marshal(map[string]any{"missing": missing}) // strings always have JSON
	}
	e.OpID = fmt.Sprintf("policies-%d-%d", n.epoch, n.times+1)
	if _, err := n.book.Append(e); err != nil {
		return fmt.Errorf("record %s: %w", e.Kind, err)
	}
	n.times++
	kind := corev1.EventTypeWarning
	if len(missing) == 0 {
		kind = corev1.EventTypeNormal
	}
	done := "Stopped lending: "
	if len(missing) == 0 {
		done = "Went on lending: "
	}
	text := done + e.Message
	n.events.Eventf(about(missing), nil, kind, e.Reason, "Guard", "%s", text[:min(len(text), 1024)])
	return nil
}

// about is the object that an event is about: the first that is missing, or the policy of
// Loans, which stands for all.
func about(missing []guard.Missing) runtime.Object {
	kind, name := "ValidatingAdmissionPolicy", "ebbtide-loans"
	if len(missing) > 0 {
		kind, name, _ = strings.Cut(missing[0].Name, " ")
	}
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: registration.SchemeGroupVersion.String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}
}

var (
	policiesMissing = prometheus.NewDesc(
		prometheus.BuildFQName(namespace, subsystem, "admission_policies_missing"),
		"Admission policies and bindings that are gone or changed; nothing new is lent while there are any. Absent while it is not known, when nothing new is lent either.", nil, nil)
)

// policyCollector shows what a guard has seen last.
type policyCollector struct {
	load func() *guard.Guard
}

func (policyCollector) Describe(out chan<- *prometheus.Desc) { out <- policiesMissing }

func (c policyCollector) Collect(out chan<- prometheus.Metric) {
	if g := c.load(); g != nil {
		if n, known := g.Count(); known {
			out <- prometheus.MustNewConstMetric(policiesMissing, prometheus.GaugeValue, float64(n))
		}
	}
}
