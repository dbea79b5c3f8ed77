package escapes

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/deploy/rbac"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

const (
	brokerUser    = "system:serviceaccount:ebbtide-system:ebbtide-broker"
	schedulerUser = "system:serviceaccount:ebbtide-system:ebbtide-scheduler"
)

// exercised are the resources that a day of the town makes a role's holder use. What else it
// may do is for kinds, autoscalers and slices that the town has not; those verbs are the
// scenarios' to need, which docs/security/roles.md names.
var exercised = []struct {
	role, user string
	resources  []string
}{
	{"ClusterRole ebbtide-broker", brokerUser, []string{
		"namespaces", "nodes", "resourcequotas", "limitranges", "priorityclasses.scheduling.k8s.io", "jobs.batch", "jobs.batch/status",
		"loans.ebbtide.dev", "loans.ebbtide.dev/status", "lendingpolicies.ebbtide.dev",
		"tenantquotas.ebbtide.dev", "tenantquotas.ebbtide.dev/status", "trainingqueues.ebbtide.dev", "trainingqueues.ebbtide.dev/status",
		"validatingadmissionpolicies.admissionregistration.k8s.io", "mutatingadmissionpolicies.admissionregistration.k8s.io",
	}},
	{"ClusterRole ebbtide-scheduler", schedulerUser, []string{"loans.ebbtide.dev", "tenantquotas.ebbtide.dev", "namespaces", "priorityclasses.scheduling.k8s.io"}},
}

// asked is what the API server was asked for: "user verb resource".
type asked map[string]bool

// Each verb is needed: a program asks for it while a job is admitted, runs and is taken back.
// One that nothing asks for is one to take away. Where something is watched, get and list go
// with it: a client asks for a list where the server cannot stream one.
func TestEachVerbIsNeeded(t *testing.T) {
	stream, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := rbac.Rules(stream)
	if err != nil {
		t.Fatal(err)
	}
	w := newTown(t)
	if err := w.course(t.Context()); err != nil {
		t.Fatal(err)
	}
	tried := 0
	var unasked []string
	// What a program does in the end, and the log's last lines, come a little later.
	labtest.Eventually(t, patience, func(context.Context) (bool, string) {
		seen, err := askedFor(w.AuditLog())
		if err != nil {
			t.Fatal(err)
		}
		tried, unasked = seen.lacks(rules)
		return len(unasked) == 0, fmt.Sprintf("nothing asked for it: take away %v", unasked)
	})
	if tried < 20 {
		t.Errorf("only %d verbs were looked at", tried)
	}
	fmt.Printf("{\"verbs\":%d,\"unasked\":%d}\n", tried, len(unasked))
}

// lacks says of how many verbs of the roles it was looked whether they were asked for, and
// which were not.
func (seen asked) lacks(rules []rbac.Rule) (tried int, unasked []string) {
	for _, of := range exercised {
		for _, rule := range rules {
			if rule.Role != of.role || !slices.Contains(of.resources, rule.Resource) {
				continue
			}
			for _, verb := range rule.Verbs {
				if slices.Contains([]string{"get", "list"}, verb) && slices.Contains(rule.Verbs, "watch") {
					continue
				}
				tried++
				if !seen[of.user+" "+verb+" "+rule.Resource] {
					unasked = append(unasked, fmt.Sprintf("%s on %s from %s", verb, rule.Resource, rule.Role))
				}
			}
		}
	}
	return tried, unasked
}

// course has a job of red's admitted, run, taken back and end.
func (w *town) course(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	job := queued(red, "try", "default", 1, 1)
	if err := w.mallory.Create(bounded, job); err != nil {
		return fmt.Errorf("submit the job: %w", err)
	}
	if err := w.until(bounded, func(loan, pods bool) bool { return loan && pods }); err != nil {
		return fmt.Errorf("wait until the job runs: %w", err)
	}
	if err := w.mallory.Delete(bounded, job, client.PropagationPolicy("Background")); err != nil {
		return fmt.Errorf("delete the job: %w", err)
	}
	if err := w.until(bounded, func(loan, _ bool) bool { return !loan }); err != nil {
		return fmt.Errorf("wait until the loan is given back: %w", err)
	}
	return nil
}

// until waits until what there is of the job is as it should be.
func (w *town) until(ctx context.Context, as func(loan, pods bool) bool) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		loan, err := w.loanOf(ctx, red, "try")
		pods, podErr := w.podsOf(ctx, red, "try")
		if err == nil && podErr == nil && as(loan != nil, pods > 0) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// askedFor reads an audit log. What was refused was asked for, too.
func askedFor(path string) (asked, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	seen := asked{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	var torn error // the last line may be in the middle of being written
	for lines.Scan() {
		if torn != nil {
			return nil, torn
		}
		var event struct {
			Verb string                    `json:"verb"`
			User struct{ Username string } `json:"user"`
			Ref  struct {
				Resource, Subresource, APIGroup string
			} `json:"objectRef"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			torn = fmt.Errorf("read a line of the audit log: %w", err)
			continue
		}
		resource := event.Ref.Resource
		if event.Ref.APIGroup != "" {
			resource += "." + event.Ref.APIGroup
		}
		if event.Ref.Subresource != "" {
			resource += "/" + event.Ref.Subresource
		}
		seen[event.User.Username+" "+event.Verb+" "+resource] = true
	}
	return seen, lines.Err()
}
