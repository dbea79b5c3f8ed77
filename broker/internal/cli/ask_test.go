package cli

import (
	"bytes"
	"context"
	"errors"
	neturl "net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/internal/cli/term/termtest"
)

func TestAsk(t *testing.T) {
	playAll(t, map[string]scene{
		"lenders":                 {invocation: invocation{args: "lenders -n serving"}},
		"lenders-all-wide":        {invocation: invocation{args: "lenders -A -o wide"}},
		"lenders-wide-offline":    {invocation: invocation{args: "lenders -n serving -o wide"}, brokerGone: true},
		"lenders-one":             {invocation: invocation{args: "lenders lender/chat -n serving --no-headers"}},
		"lenders-paused":          {invocation: invocation{args: "lenders chat -n serving"}, change: set("LendingPolicy", "chat", true, "spec", "paused")},
		"lenders-name":            {invocation: invocation{args: "lenders -n serving -o name"}},
		"lenders-json":            {invocation: invocation{args: "lenders embed -n serving -o json"}},
		"lenders-none":            {invocation: invocation{args: "lenders -n research"}},
		"lenders-unknown":         {invocation: invocation{args: "lenders chta -n serving"}},
		"lenders-forbidden":       {invocation: invocation{args: "lenders -n serving"}, forbidden: []string{"lendingpolicies"}},
		"quota":                   {invocation: invocation{args: "quota"}},
		"quota-one":               {invocation: invocation{args: "quota research"}},
		"quota-json":              {invocation: invocation{args: "quota research -o json"}},
		"quota-name":              {invocation: invocation{args: "quota -o name"}},
		"quota-unknown":           {invocation: invocation{args: "quota nobody"}},
		"quota-offline":           {invocation: invocation{args: "quota"}, brokerGone: true},
		"quota-older":             {invocation: invocation{args: "quota"}, older: true},
		"when":                    {invocation: invocation{args: "when bert-large -n research"}},
		"when-json":               {invocation: invocation{args: "when bert-large -n research -o json"}},
		"when-cannot-be-said":     {invocation: invocation{args: "when jobset/pretrain -n vision"}},
		"when-runs":               {invocation: invocation{args: "when gpt-mini -n research"}},
		"when-unknown":            {invocation: invocation{args: "when nope -n research"}},
		"when-no-kind":            {invocation: invocation{args: "when lender/chat -n serving"}},
		"when-offline":            {invocation: invocation{args: "when bert-large -n research"}, brokerGone: true},
		"when-nothing":            {invocation: invocation{args: "when"}},
		"explain-lender-short":    {invocation: invocation{args: "explain lender/serving/chat"}},
		"explain-lender-held":     {invocation: invocation{args: "explain lender/embed -n serving"}},
		"explain-lender-unknown":  {invocation: invocation{args: "explain lender/chta -n serving"}},
		"explain-job-older":       {invocation: invocation{args: "explain bert-large -n research"}, older: true},
		"explain-node":            {invocation: invocation{args: "explain node/gpu-7"}},
		"explain-node-json":       {invocation: invocation{args: "explain node/gpu-7 -o json"}},
		"explain-node-unknown":    {invocation: invocation{args: "explain node/gpu-9"}},
		"explain-node-offline":    {invocation: invocation{args: "explain node/gpu-7"}, brokerGone: true},
		"explain-pod":             {invocation: invocation{args: "explain pod/gpt-mini-0 -n research"}},
		"explain-pod-gone":        {invocation: invocation{args: "explain pod/bert-large-2-x7k2p -n research"}},
		"explain-pod-service":     {invocation: invocation{args: "explain pod/chat-0 -n serving"}},
		"explain-pod-unknown":     {invocation: invocation{args: "explain pod/nope-0 -n research"}},
		"why-evicted":             {invocation: invocation{args: "why-evicted resnet -n research"}},
		"why-evicted-pod":         {invocation: invocation{args: "why-evicted pod/resnet-0-x7k2p -n research"}},
		"why-evicted-json":        {invocation: invocation{args: "why-evicted resnet -n research -o json"}},
		"why-evicted-tenant":      {invocation: invocation{args: "why-evicted resnet -n research"}, within: "research"},
		"why-evicted-tenant-json": {invocation: invocation{args: "why-evicted resnet -n research -o jsonpath={.reclaim.reason}:{.message}"}, within: "research"},
		"why-evicted-anew":        {invocation: invocation{args: "why-evicted resnet -n research"}, change: set("Job", "resnet", "11111111-0000-0000-0000-000000000044", "metadata", "uid")},
		"why-evicted-never":       {invocation: invocation{args: "why-evicted gpt-mini -n research"}},
		"why-evicted-unknown":     {invocation: invocation{args: "why-evicted nope -n research"}},
		"why-evicted-no-job":      {invocation: invocation{args: "why-evicted pod/chat-0 -n serving"}},
		"why-evicted-offline":     {invocation: invocation{args: "why-evicted resnet -n research"}, brokerGone: true},
		"why-evicted-forbidden":   {invocation: invocation{args: "why-evicted resnet -n research"}, forbidden: []string{"jobs"}},
		"timeline":                {invocation: invocation{args: "timeline"}},
		"timeline-wide":           {invocation: invocation{args: "timeline --width 110 --from 2026-03-01"}},
		"timeline-json":           {invocation: invocation{args: "timeline -o jsonpath={.spans[0].loan}"}},
		"timeline-none":           {invocation: invocation{args: "timeline --lender serving/embed"}},
		"timeline-bad-from":       {invocation: invocation{args: "timeline --from yesterday"}},
		"timeline-bad-order":      {invocation: invocation{args: "timeline --from 1h --to 2h"}},
		"timeline-bad-loan":       {invocation: invocation{args: "timeline --loan bert-1"}},
		"timeline-narrow":         {invocation: invocation{args: "timeline --width 20"}},
		"timeline-offline":        {invocation: invocation{args: "timeline"}, brokerGone: true},
		"top":                     {invocation: invocation{args: "top"}},
		"top-namespace":           {invocation: invocation{args: "top -n vision"}},
		"top-few":                 {invocation: invocation{args: "top --rows 1"}},
		"top-offline":             {invocation: invocation{args: "top"}, brokerGone: true},
		"top-bad-every":           {invocation: invocation{args: "top --every 1ms"}},
		"top-namespaces":          {invocation: invocation{args: "top -A -n vision"}},
	})
}

// Completion offers what the commands take.
func TestCompletionOfNames(t *testing.T) {
	l, _ := newLedger(t)
	server := newFakeAPIServer(t, &fakeBroker{ledger: l})
	for args, want := range map[string]string{
		"__complete reclaim -n serving":           "lender/chat\nlender/embed\n",
		"__complete pause -n research":            "queue/default\nqueue/nightly\n",
		"__complete lenders -n serving":           "chat\nembed\n",
		"__complete why-evicted -n solo":          "finetune\n",
		"__complete explain -n serving":           "lender/chat\nlender/embed\n",
		"__complete timeline -n serving --lender": "serving/chat\nserving/embed\n",
	} {
		stdout, _, _ := invokeWith(t, server.URL, args)
		got, _, _ := strings.Cut(stdout, ":4\n")
		if got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

// On a terminal the screen is drawn again until somebody leaves; without colours, if asked.
func TestTopOnTerminal(t *testing.T) {
	l, _ := newLedger(t)
	server := newFakeAPIServer(t, &fakeBroker{ledger: l})
	config := kubeconfig(t, "")
	for _, plain := range []bool{false, true} {
		out := termtest.NewScreen("LOANS")
		clock := clocktesting.NewFakeClock(testNow)
		ctx, leave := context.WithCancel(t.Context())
		code := make(chan int, 1)
		go func() {
			code <- Run(ctx, Env{
				Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: &bytes.Buffer{}}, Clock: clock,
				Getenv: func(name string) string {
					return map[string]string{"NO_COLOR": map[bool]string{true: "1"}[plain]}[name]
				},
			}, []string{"top", "--kubeconfig=" + config, "--server=" + server.URL})
		}()
		<-out.Wrote
		clock.Step(2 * time.Second)
		<-out.Wrote
		leave()
		if got := <-code; got != ExitOK {
			t.Errorf("exit %d after Ctrl-C", got)
		}
		text := out.Text()
		if n := strings.Count(text, "\x1b[H\x1b[2J"); n != 2 {
			t.Errorf("the screen was drawn %d times", n)
		}
		if painted := strings.Contains(text, "\x1b[1m"); painted == plain {
			t.Errorf("painted: %v, with NO_COLOR: %v", painted, plain)
		}
	}
}

// lines is a pipe that tells of every line.
type lines struct{ wrote chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.wrote <- string(p)
	return len(p), nil
}

// What was submitted is followed until it has units.
func TestSubmitWatch(t *testing.T) {
	ledger, _ := newLedger(t)
	server := newFakeAPIServer(t, &fakeBroker{ledger: ledger})
	config := kubeconfig(t, "")
	out := &lines{wrote: make(chan string, 10)}
	clock := clocktesting.NewFakeClock(testNow)
	code := make(chan int, 1)
	job := `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"tune"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"a","resources":{"limits":{"nvidia.com/gpu":"8"}}}]}}}}`
	go func() {
		code <- Run(t.Context(), Env{
			Streams: genericiooptions.IOStreams{In: strings.NewReader(job), Out: out, ErrOut: &bytes.Buffer{}}, Clock: clock, Getenv: func(string) string { return "" },
		}, []string{"submit", "-f", "-", "--watch", "-n", "solo", "--kubeconfig=" + config, "--server=" + server.URL})
	}()
	said := func(want string) {
		t.Helper()
		select {
		case got := <-out.wrote:
			if !strings.Contains(got, want) {
				t.Fatalf("said %q, want %q", got, want)
			}
		case exit := <-code:
			t.Fatalf("ended with %d before it said %q", exit, want)
		}
	}
	said("job.batch/tune submitted to queue only")
	said("Job solo/tune waits in queue only")
	server.mu.Lock()
	for _, o := range server.objects {
		if o.GetKind() == "Loan" && o.GetName() == "eval-1" {
			if err := unstructured.SetNestedField(o.Object, "made-tune", "spec", "job", "uid"); err != nil {
				t.Error(err)
			}
		}
	}
	server.mu.Unlock()
	clock.Step(followEvery)
	said("Job solo/tune holds 1 unit on loan eval-1")
	if got := <-code; got != ExitOK {
		t.Errorf("exit %d", got)
	}
}

func TestSubmitWatchAlone(t *testing.T) {
	playAll(t, map[string]scene{
		"submit-watch-dry-run": {invocation: invocation{args: "submit -f - --watch --dry-run=client -n solo"}},
	})
}

// What the broker itself answers is read as it is meant, not only what lies in files here.
func TestRealAnswers(t *testing.T) {
	l, _ := newLedger(t)
	url := newBrokerServer(t, &fakeBroker{ledger: l, real: true})
	broker, err := access.NewBrokerAt(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	c, err := broker.Counterfactual(ctx, "research/bert-large", "11111111-0000-0000-0000-000000000001")
	if err != nil || c.Job != "research/bert-large" || len(c.Chain) < 2 || c.Chain[0].Kind != "Job" || c.Chain[0].Reason != "NoLendableUnits" || (c.When == nil) == (c.WhenUnknown == "") {
		t.Errorf("counterfactual: %+v, %v", c, err)
	}
	if _, err := broker.Counterfactual(ctx, "research/nope", ""); !errors.Is(err, access.ErrUnknownSubject) {
		t.Errorf("of a job that does not wait: %v", err)
	}
	if _, err := broker.Recall(ctx, "serving/nope", nil); !errors.Is(err, access.ErrUnknownSubject) {
		t.Errorf("of no lender: %v", err)
	}
	if _, at, err := broker.Lenders(ctx); err != nil || !at.Equal(testNow) {
		t.Errorf("lenders decided at %s, %v", at, err)
	}
	if _, at, err := broker.Loans(ctx, nil); err != nil || !at.Equal(testNow) {
		t.Errorf("loans decided at %s, %v", at, err)
	}
	if _, _, err := broker.Nodes(ctx, ""); err != nil {
		t.Errorf("nodes: %v", err)
	}
	if _, err := broker.Quota(ctx); err != nil {
		t.Errorf("quota: %v", err)
	}
	line, err := broker.Timeline(ctx, neturl.Values{"from": {testNow.Add(-12 * time.Hour).Format(time.RFC3339)}, "to": {testNow.Format(time.RFC3339)}})
	if err != nil || len(line.Spans) != 2 || line.Spans[0].Name != "research/resnet-1" || line.Spans[0].End != 'x' || line.Spans[0].ReclaimAt.IsZero() || !line.Spans[1].To.IsZero() {
		t.Errorf("timeline: %+v, %v", line, err)
	}
	gained, err := broker.Gained(ctx)
	if err != nil || gained.Loans != 2 || gained.Reclaims != 1 || gained.LentGPUHours < 4 {
		t.Errorf("gained: %+v, %v", gained, err)
	}
}
