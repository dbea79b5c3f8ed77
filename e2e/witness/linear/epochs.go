package linear

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
)

// Stale returns the requests about Loans that were accepted although, when they were asked, one
// of a leader with a higher epoch had been accepted and answered already, of whatever Loan.
func Stale(writes []auditlog.Write) []string {
	type accepted struct {
		w     *auditlog.Write
		epoch int64
	}
	var all []accepted
	for i := range writes {
		w := &writes[i]
		if w.Group != v1alpha1.GroupVersion.Group || w.Resource != "loans" || w.Outcome() != auditlog.Done {
			continue
		}
		var body v1alpha1.Loan
		if w.Verb != "create" && w.Subresource != "status" || json.Unmarshal(w.Body, &body) != nil {
			continue
		}
		epoch := body.Status.Epoch
		if w.Verb == "create" {
			epoch = body.Spec.Epoch
		}
		if epoch > 0 {
			all = append(all, accepted{w, epoch})
		}
	}
	// By when they were asked, with the highest epoch that was answered before.
	answered := slices.Clone(all)
	slices.SortStableFunc(answered, func(a, b accepted) int { return a.w.Answered.Compare(b.w.Answered) })
	slices.SortStableFunc(all, func(a, b accepted) int { return a.w.Asked.Compare(b.w.Asked) })
	var found []string
	var highest accepted
	for _, a := range all {
		for len(answered) > 0 && answered[0].w.Answered.Before(a.w.Asked) {
			if answered[0].epoch > highest.epoch {
				highest = answered[0]
			}
			answered = answered[1:]
		}
		if a.epoch < highest.epoch {
			found = append(found, fmt.Sprintf("at %s %s was accepted with epoch %d, and %s had been with %d",
				a.w.Asked.UTC().Format(time.TimeOnly), a.w, a.epoch, highest.w, highest.epoch))
		}
	}
	return found
}
