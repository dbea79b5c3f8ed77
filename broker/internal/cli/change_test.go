package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ebbtide/ebbtide/broker/lend"
)

const (
	chatPath    = "/apis/ebbtide.dev/v1alpha1/namespaces/serving/lendingpolicies/chat?fieldManager=kubectl-ebbtide "
	nightlyPath = "/apis/ebbtide.dev/v1alpha1/namespaces/research/trainingqueues/nightly?fieldManager=kubectl-ebbtide "
)

// set changes an object of the tests' cluster beforehand.
func set(kind, name string, value any, path ...string) func(*fakeAPIServer) {
	return func(f *fakeAPIServer) {
		for _, o := range f.objects {
			if o.GetKind() == kind && o.GetName() == name {
				if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
					panic(err)
				}
			}
		}
	}
}

func TestChangesByHand(t *testing.T) {
	tests := map[string]scene{
		"reclaim": {invocation: invocation{args: "reclaim lender/chat -n serving"},
			patched: []string{chatPath + `{"spec":{"recall":{"keep":null,"until":"2026-03-01T13:00:00Z"}}}`}},
		"reclaim-keep": {invocation: invocation{args: "reclaim lender/serving/chat --keep 48 --for 90m"},
			patched: []string{chatPath + `{"spec":{"recall":{"keep":48,"until":"2026-03-01T13:30:00Z"}}}`}},
		"reclaim-cancel": {invocation: invocation{args: "reclaim chat --cancel -n serving"},
			patched: []string{chatPath + `{"spec":{"recall":null}}`}},
		"reclaim-advise": {invocation: invocation{args: "reclaim lp/chat --keep 0 -n serving"},
			change:  set("LendingPolicy", "chat", "Advise", "spec", "mode"),
			patched: []string{chatPath + `{"spec":{"recall":{"keep":0,"until":"2026-03-01T13:00:00Z"}}}`}},
		"reclaim-json": {invocation: invocation{args: "reclaim lender/chat --for 2h -n serving -o jsonpath={.spec.recall}"},
			patched: []string{chatPath + `{"spec":{"recall":{"keep":null,"until":"2026-03-01T14:00:00Z"}}}`}},
		"reclaim-dry-run":          {invocation: invocation{args: "reclaim lender/chat --keep 48 --dry-run -n serving"}},
		"reclaim-dry-run-json":     {invocation: invocation{args: "reclaim lender/chat --keep 48 --dry-run -n serving -o json"}},
		"reclaim-dry-run-none":     {invocation: invocation{args: "reclaim lender/embed --dry-run -n serving"}},
		"reclaim-dry-run-offline":  {invocation: invocation{args: "reclaim lender/chat --dry-run -n serving"}, brokerGone: true},
		"reclaim-dry-run-older":    {invocation: invocation{args: "reclaim lender/chat --dry-run -n serving"}, older: true},
		"reclaim-unknown":          {invocation: invocation{args: "reclaim lender/chta -n serving"}},
		"reclaim-unknown-none":     {invocation: invocation{args: "reclaim lender/chat -n research"}},
		"reclaim-forbidden":        {invocation: invocation{args: "reclaim lender/chat -n serving"}, forbidden: []string{"lendingpolicies"}},
		"reclaim-no-name":          {invocation: invocation{args: "reclaim"}},
		"reclaim-bad-kind":         {invocation: invocation{args: "reclaim queue/nightly -n research"}},
		"reclaim-bad-keep":         {invocation: invocation{args: "reclaim lender/chat --keep -1"}},
		"reclaim-bad-for":          {invocation: invocation{args: "reclaim lender/chat --for 0s"}},
		"reclaim-cancel-keep":      {invocation: invocation{args: "reclaim lender/chat --cancel --keep 4"}},
		"reclaim-other-namespace":  {invocation: invocation{args: "reclaim lender/serving/chat -n research"}},
		"pause-lender":             {invocation: invocation{args: "pause lender/chat -n serving"}, patched: []string{chatPath + `{"spec":{"paused":true}}`}},
		"pause-already":            {invocation: invocation{args: "pause queue/nightly -n research"}},
		"pause-unknown":            {invocation: invocation{args: "pause queue/nightyl -n research"}},
		"pause-what":               {invocation: invocation{args: "pause nightly -n research"}},
		"pause-nothing":            {invocation: invocation{args: "pause"}},
		"pause-forbidden":          {invocation: invocation{args: "pause queue/default -n research"}, forbidden: []string{"trainingqueues"}},
		"resume-queue":             {invocation: invocation{args: "resume queue/nightly -n research"}, patched: []string{nightlyPath + `{"spec":{"paused":null}}`}},
		"resume-two":               {invocation: invocation{args: "resume queue/nightly queue/default -n research"}, patched: []string{nightlyPath + `{"spec":{"paused":null}}`}},
		"resume-name":              {invocation: invocation{args: "resume queues.ebbtide.dev/nightly -n research -o name"}, patched: []string{nightlyPath + `{"spec":{"paused":null}}`}},
		"resume-lender-asked-back": {invocation: invocation{args: "resume lender/chat -n serving"}, change: set("LendingPolicy", "chat", map[string]any{"until": "2026-03-01T12:30:00Z"}, "spec", "recall")},
	}
	playAll(t, tests)
}

// record is a decision that was made, as a broker records it.
func record(t *testing.T, now time.Time) []byte {
	t.Helper()
	r := lend.Record{Snapshot: lend.Snapshot{
		Now:     now,
		Tenants: []lend.Tenant{{Name: "research"}},
		Queues:  []lend.Queue{{Name: "research/default", Tenant: "research", Paused: true}},
		Jobs:    []lend.Job{{Name: "research/bert", UID: "u-1", Queue: "research/default", Tenant: "research", Flavor: "h100", Pods: 1, UnitsPerPod: 8, Created: now}},
	}}
	r.Plan = r.Replay()
	data, err := lend.MarshalRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReplay(t *testing.T) {
	same := string(record(t, testNow))
	changed := strings.Replace(same, "UnknownFlavor", "UnknownColour", 1)
	if same == changed {
		t.Fatalf("the record says nothing of the flavor: %s", same)
	}
	file := filepath.Join(t.TempDir(), "record.json")
	if err := os.WriteFile(file, []byte(same+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]scene{
		"replay":         {invocation: invocation{args: "replay -", stdin: same + "\n" + string(record(t, testNow.Add(time.Minute)))}},
		"replay-json":    {invocation: invocation{args: "replay - -o jsonpath={.items[0].identical}{.items[0].plan.verdicts[0].reason}", stdin: same}},
		"replay-unknown": {invocation: invocation{args: "replay -", stdin: strings.Replace(same, `"snapshot":{`, `"snapshot":{"Moon":1,`, 1)}},
		"replay-empty":   {invocation: invocation{args: "replay -"}},
		"replay-no-json": {invocation: invocation{args: "replay -", stdin: "snapshot"}},
		"replay-nothing": {invocation: invocation{args: "replay"}},
		"replay-no-file": {invocation: invocation{args: "replay testdata/none.json"}},
	}
	playAll(t, tests)
	if stdout, stderr, code := invoke(t, "", invocation{args: "replay " + file}); code != ExitOK || !strings.Contains(stdout, "identical") {
		t.Errorf("of a file: exit %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code := invoke(t, "", invocation{args: "replay -", stdin: changed})
	if code != ExitBroken || !strings.Contains(stdout, "differs") || !strings.Contains(stderr, "-recorded +decided again") {
		t.Errorf("of another plan: exit %d\n%s%s", code, stdout, stderr)
	}
	var list struct{ Items []struct{ Identical bool } }
	stdout, _, code = invoke(t, "", invocation{args: "replay - -o json", stdin: changed})
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != ExitBroken || len(list.Items) != 1 || list.Items[0].Identical {
		t.Errorf("of another plan as JSON: exit %d, %v\n%s", code, err, stdout)
	}
}
