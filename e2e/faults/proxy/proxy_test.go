package proxy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const pods = "/api/v1/namespaces/a/pods"

func TestWithoutRulesNothingChanges(t *testing.T) {
	b := newBench(t, 1, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+pods+"?dryRun=All", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer mine")
	answer, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated || answer.Header.Get("X-Upstream") != "Bearer mine" {
		t.Errorf("the answer is %s with %v, want the API server's", answer.Status, answer.Header)
	}
	if answer.ProtoMajor != 1 {
		t.Errorf("the proxy speaks %s: a dropped reply would take others with it", answer.Proto)
	}
	if got, want := b.requests(), []string{"POST " + pods + "?dryRun=All body"}; !slices.Equal(got, want) {
		t.Errorf("the API server was asked %q, want %q", got, want)
	}
	if n := b.Calls()["broker create pods"]; n != 1 {
		t.Errorf("%d calls were counted, want 1: %v", n, b.Calls())
	}
	if len(b.Log()) > 0 {
		t.Errorf("struck: %v", b.Log())
	}
}

// What the dropped reply is about is done, once, and only the call that the rule names is
// struck.
func TestDropReply(t *testing.T) {
	for _, c := range []struct{ method, path, verb, resource, name string }{
		{http.MethodPost, pods, "create", "pods", "a"},
		{http.MethodPut, pods + "/x", "update", "pods", "a/x"},
		{http.MethodPut, pods + "/x/status", "update", "pods/status", "a/x"},
		{http.MethodPatch, pods + "/x", "patch", "pods", "a/x"},
		{http.MethodDelete, pods + "/x", "delete", "pods", "a/x"},
		{http.MethodPost, pods + "/x/binding", "create", "pods/binding", "a/x"},
		{http.MethodPut, "/apis/ebbtide.dev/v1alpha1/namespaces/a/loans/x/status", "update", "loans/status", "a/x"},
	} {
		t.Run(c.verb+" "+c.resource, func(t *testing.T) {
			b := newBench(t, 1, nil)
			b.set(t, Rule{Verbs: []string{Writes}, Resources: []string{c.resource}, Nth: 2, Fault: DropReply})
			for i, want := range []int{http.StatusCreated, 0, http.StatusCreated} {
				if got, text := b.do(t, c.method, c.path, "{}"); got != want {
					t.Errorf("call %d was answered with %d: %s, want %d", i+1, got, text, want)
				}
			}
			if n := len(b.requests()); n != 3 {
				t.Errorf("the API server has done %d calls, want all 3", n)
			}
			log := b.Log()
			if len(log) != 1 {
				t.Fatalf("struck: %v, want one", log)
			}
			e := log[0]
			if e.Verb != c.verb || e.Resource != c.resource || e.Call != 2 || e.Answer != http.StatusCreated || e.Client != "broker" {
				t.Errorf("the log says %+v", e)
			}
			if c.name != "a" && e.Name != c.name {
				t.Errorf("the log names %q, want %q", e.Name, c.name)
			}
		})
	}
}

// What the proxy answers is to client-go what the API server would have said.
func TestStatusIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		code int
		is   func(error) bool
	}{
		{http.StatusConflict, apierrors.IsConflict},
		{http.StatusInternalServerError, apierrors.IsInternalError},
		{http.StatusServiceUnavailable, apierrors.IsServiceUnavailable},
		{http.StatusGatewayTimeout, apierrors.IsTimeout},
	} {
		b := newBench(t, 1, nil)
		b.set(t, Rule{Verbs: []string{"create"}, Share: 1, Fault: Status, Status: c.code})
		_, err := b.api.CoreV1().Pods("a").Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{})
		if !c.is(err) {
			t.Errorf("%d came as %v", c.code, err)
		}
		if n := len(b.requests()); n != 0 {
			t.Errorf("%d: %d calls reached the API server", c.code, n)
		}
	}
}

// client-go waits as long as a 429 says, and tries again by itself.
func TestTooManyRequests(t *testing.T) {
	b := newBench(t, 1, nil)
	b.set(t, Rule{Verbs: []string{"create"}, Nth: 1, Fault: Status, Status: http.StatusTooManyRequests, For: time.Second})
	began := time.Now()
	if _, err := b.api.CoreV1().Pods("a").Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("it came back after %s, the answer had said 1s", took)
	}
	if n := len(b.requests()); n != 1 {
		t.Errorf("the API server has done %d calls, want 1", n)
	}
}

func TestDelayAndRefuse(t *testing.T) {
	b := newBench(t, 1, nil)
	b.set(t, Rule{Verbs: []string{"get"}, Share: 1, Fault: Delay, For: 200 * time.Millisecond}, Rule{Verbs: []string{"delete"}, Share: 1, Fault: Refuse})
	began := time.Now()
	if code, text := b.do(t, http.MethodGet, pods+"/x", ""); code != http.StatusCreated {
		t.Errorf("%d: %s", code, text)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("the delayed call took %s", took)
	}
	if code, _ := b.do(t, http.MethodDelete, pods+"/x", ""); code != 0 {
		t.Errorf("the refused call was answered with %d", code)
	}
	if got := b.requests(); len(got) != 1 {
		t.Errorf("the API server was asked %q", got)
	}
}

// Rules are for whom they say.
func TestMatching(t *testing.T) {
	binding := call{client: "scheduler", verb: "create", resource: "pods/binding", name: "a/x"}
	for _, c := range []struct {
		name string
		rule Rule
		want bool
	}{
		{"all", Rule{}, true},
		{"its client", Rule{Client: "scheduler"}, true},
		{"another's", Rule{Client: "broker"}, false},
		{"its verb", Rule{Verbs: []string{"get", "create"}}, true},
		{"another verb", Rule{Verbs: []string{"get"}}, false},
		{"writes", Rule{Verbs: []string{Writes}}, true},
		{"its resource", Rule{Resources: []string{"pods/binding"}}, true},
		{"the resource without its subresource", Rule{Resources: []string{"pods"}}, false},
		{"excepted", Rule{Except: []string{"pods/binding"}}, false},
		{"watches only", Rule{Fault: CutWatch}, false},
		{"lists only", Rule{Fault: OldList}, false},
	} {
		if got := c.rule.matches(binding); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// A seed strikes the same calls in each run; another strikes others; and the log repeats
// what happened, call by call.
func TestSeedAndRepeat(t *testing.T) {
	struck := func(seed uint64, rules ...Rule) ([]int, []Entry) {
		b := newBench(t, seed, nil)
		b.set(t, rules...)
		var calls []int
		for i := range 40 {
			if code, _ := b.do(t, http.MethodGet, pods+"/x", ""); code == http.StatusInternalServerError {
				calls = append(calls, i+1)
			}
		}
		return calls, b.Log()
	}
	rule := Rule{Share: 0.3, Fault: Status, Status: http.StatusInternalServerError}
	first, log := struck(7, rule)
	again, _ := struck(7, rule)
	other, _ := struck(8, rule)
	if len(first) < 4 || len(first) > 24 {
		t.Errorf("%d of 40 calls were struck, at a share of 0.3", len(first))
	}
	if !slices.Equal(first, again) {
		t.Errorf("one seed struck %v and %v", first, again)
	}
	if slices.Equal(first, other) {
		t.Errorf("two seeds struck the same calls: %v", first)
	}
	repeated, _ := struck(99, Repeat(log, 1)...)
	if !slices.Equal(first, repeated) {
		t.Errorf("%v were struck, the log repeats %v", first, repeated)
	}
	if rules := Repeat(log, 2); len(rules) != 0 {
		t.Errorf("the log has rules of a set that never was: %v", rules)
	}
}

// The log that is written is the log that is kept.
func TestLogIsWritten(t *testing.T) {
	var out bytes.Buffer
	b := newBench(t, 1, &out)
	b.set(t, Rule{Verbs: []string{"get"}, Share: 1, Fault: Status, Status: 500})
	b.do(t, http.MethodGet, pods+"/x", "")
	b.do(t, http.MethodGet, pods+"/y", "")
	var read []Entry
	for line := range strings.Lines(out.String()) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		read = append(read, e)
	}
	if diff := cmp.Diff(b.Log(), read); diff != "" || len(read) != 2 {
		t.Errorf("%d entries were written; kept and written differ by:\n%s", len(read), diff)
	}
	if text := read[1].String(); !strings.Contains(text, "broker get pods: Status of a/y 500") {
		t.Errorf("for people: %q", text)
	}
}

func TestWrongRulesAreRefused(t *testing.T) {
	for field, rule := range map[string]Rule{
		"nth, share": {Fault: Refuse},
		"for":        {Share: 1, Fault: Delay},
		"status":     {Share: 1, Fault: Status, Status: 200},
		"revision":   {Share: 1, Fault: OldList},
		"fault":      {Share: 1, Fault: "Cut"},
	} {
		err := NewRig(1, nil).Set(rule)
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%+v: %v, want one about %s", rule, err, field)
		}
	}
	if err := NewRig(1, nil).Set(Rule{Nth: 1, Share: 0.5, Fault: Refuse}); err == nil {
		t.Error("a rule for one call and for a share of them was taken")
	}
}
