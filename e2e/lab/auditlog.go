package lab

import (
	"fmt"
	"strings"
)

// auditPolicy keeps what was written, by whom, when it was asked and when it was answered:
// with its body only where the body is what a history is made of. Reading, the simulators'
// news, elections and events are left out: they are most of the traffic and change nothing
// that is lent.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
%s- level: None
  verbs: [get, list, watch]
- level: None
  users: [lab-kwok, lab-kubelet]
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
  - {group: authentication.k8s.io}
  - {group: authorization.k8s.io}
- level: Request
  resources:
  - {group: ebbtide.dev, resources: [loans, loans/status, tenantquotas]}
- level: Metadata
`

// AuditLog returns the path of the API server's audit log: a line of JSON when a write is
// asked for and another when it was answered. When it has grown to 100 MB it is renamed and
// a new one is begun; two renamed ones are kept.
func (l *Lab) AuditLog() string { return l.folder.Join("logs", "audit.log") }

// auditArgs are the flags by which the API server writes it.
func (l *Lab) auditArgs() ([]string, error) {
	reads := ""
	if len(l.opts.AuditReads) > 0 {
		reads = fmt.Sprintf("- {level: Metadata, users: [%s], verbs: [get, list, watch]}\n", strings.Join(l.opts.AuditReads, ", "))
	}
	policy, err := l.folder.Write("config/audit-policy.yaml", fmt.Appendf(nil, auditPolicy, reads))
	if err != nil {
		return nil, err
	}
	return []string{
		"--audit-policy-file=" + policy, "--audit-log-path=" + l.AuditLog(),
		"--audit-log-maxsize=100", "--audit-log-maxbackup=2",
	}, nil
}
