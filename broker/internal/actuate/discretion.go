package actuate

import (
	"github.com/ebbtide/ebbtide/broker/internal/discreet"
	"github.com/ebbtide/ebbtide/broker/internal/jobs"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// ofTenants says whose lenders and queues are.
type ofTenants struct{ lenders, queues map[string]string }

func tenantsOf(s *lend.Snapshot) ofTenants {
	of := ofTenants{lenders: map[string]string{}, queues: map[string]string{}}
	for i := range s.Lenders {
		of.lenders[s.Lenders[i].Name] = s.Lenders[i].Tenant
	}
	for i := range s.Queues {
		of.queues[s.Queues[i].Name] = s.Queues[i].Tenant
	}
	return of
}

// discreetly is a text as the people of a tenant may read it: without the names of others'
// services.
func (r *round) discreetly(tenant, message string) (said string, changed bool) {
	return discreet.Text(message, func(name string) bool {
		of, known := r.tenant.lenders[name]
		return known && (of != tenant || tenant == "")
	})
}

// toBorrower is what a borrower may read of why something was done with its loan. What is
// said of others' services when units are taken back, their load above all, is said by the
// rule instead.
func (r *round) toBorrower(tenant, reason, message string) string {
	said, changed := r.discreetly(tenant, message)
	if words := rules[reason]; changed && words != "" {
		return words
	}
	return said
}

// toOwner is a verdict on a job that waits as the job's people may read it.
func (r *round) toOwner(v *lend.Verdict) *lend.Verdict {
	job := r.waiting(v.UID)
	tenant := ""
	if job != nil {
		tenant = r.tenant.queues[job.Queue]
	}
	said := *v
	said.Message, _ = r.discreetly(tenant, v.Message)
	return &said
}

// admission is such a verdict as a condition.
func (r *round) admission(v *lend.Verdict) jobs.Admission {
	return jobs.Admission{Reason: v.Reason, Message: r.toOwner(v).Message}
}
