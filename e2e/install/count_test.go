package install_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/install"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
)

func TestTally(t *testing.T) {
	now := time.Now()
	write := func(verb, resource, subresource string, code int) auditlog.Write {
		w := auditlog.Write{Verb: verb, Resource: resource, Subresource: subresource, Asked: now, Code: code}
		if code > 0 {
			w.Answered = now
		}
		return w
	}
	got, refused := install.Tally([]auditlog.Write{
		write("patch", "clusterroles", "", 201), write("create", "namespaces", "", 201), write("update", "services", "", 200),
		write("patch", "roles", "", 403), write("create", "apiservices", "", 503), write("patch", "deployments", "", 0),
		write("create", "secrets", "", 201), write("delete", "roles", "", 200), write("patch", "deployments", "scale", 200),
	})
	if want := (install.Count{Applied: 3, Rejected: 3}); got != want || len(refused) != 3 || refused[0].Resource != "roles" {
		t.Errorf("got %+v, and refused were %v; want %+v", got, refused, want)
	}
}
