package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

// invocation is a command line and its surroundings.
type invocation struct {
	args  string // split at spaces
	stdin string
	env   map[string]string
}

// newBrokerServer serves a broker by itself and returns its URL.
func newBrokerServer(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// invoke runs a command line against a server, as a person would type it.
func invoke(t *testing.T, server string, in invocation) (stdout, stderr string, code int) {
	t.Helper()
	return run(t, server, strings.Fields(in.args), in)
}

// invokeWith is invoke with an empty last word, for completion.
func invokeWith(t *testing.T, server, args string) (stdout, stderr string, code int) {
	t.Helper()
	words := strings.Fields(args)
	return run(t, server, append(words, ""), invocation{})
}

// kubeconfig is the name of a file that has nothing but more.
func kubeconfig(t *testing.T, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\n"+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func run(t *testing.T, server string, words []string, in invocation) (stdout, stderr string, code int) {
	t.Helper()
	config := kubeconfig(t, "")
	var out, errOut bytes.Buffer
	// After the command's own name, where completion wants its last word last.
	args := append([]string{words[0], "--kubeconfig=" + config, "--server=" + server}, words[1:]...)
	if words[0] == "__complete" {
		args = append([]string{words[0], words[1], "--kubeconfig=" + config, "--server=" + server}, words[2:]...)
	}
	code = Run(context.Background(), Env{
		Streams: genericiooptions.IOStreams{In: strings.NewReader(in.stdin), Out: &out, ErrOut: &errOut},
		Clock:   clocktesting.NewFakePassiveClock(testNow),
		Getenv:  func(name string) string { return in.env[name] },
	}, args)
	return out.String(), errOut.String(), code
}

var (
	anyHash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	anyID   = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
)

// golden compares a whole session with a file of testdata.
func golden(t *testing.T, name string, in invocation, server, stdout, stderr string, code int) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "$ kubectl ebbtide %s\n%s", in.args, stdout)
	if stderr != "" {
		fmt.Fprintf(&b, "--- stderr ---\n%s", stderr)
	}
	fmt.Fprintf(&b, "--- exit %d ---\n", code)
	got := strings.ReplaceAll(b.String(), server, "http://SERVER")
	got = anyID.ReplaceAllString(anyHash.ReplaceAllString(got, "HASH"), "ID")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), -update writes it:\n%s", path, diff)
	}
}

func TestGolden(t *testing.T) {
	tests := map[string]scene{
		"help":                   {invocation: invocation{args: "--help"}},
		"unknown-command":        {invocation: invocation{args: "lend"}},
		"unknown-flag":           {invocation: invocation{args: "loans --all"}},
		"loans":                  {invocation: invocation{args: "loans -n research"}},
		"loans-all-wide":         {invocation: invocation{args: "loans -A -o wide"}},
		"loans-name":             {invocation: invocation{args: "loans -n research -o name"}},
		"loans-json":             {invocation: invocation{args: "loans -n solo -o json"}},
		"loans-yaml-one":         {invocation: invocation{args: "loans eval-1 -n solo -o yaml"}},
		"loans-none":             {invocation: invocation{args: "loans -n sandbox"}},
		"loans-unknown":          {invocation: invocation{args: "loans nope -n research"}},
		"loans-jobs-hidden":      {invocation: invocation{args: "loans -n research"}, forbidden: []string{"jobs"}},
		"loans-forbidden":        {invocation: invocation{args: "loans -n research"}, forbidden: []string{"loans"}},
		"loans-bad-output":       {invocation: invocation{args: "loans -o xml"}},
		"queue":                  {invocation: invocation{args: "queue -n research"}},
		"queue-one":              {invocation: invocation{args: "queue nightly -n research"}},
		"queue-all":              {invocation: invocation{args: "queue -A"}},
		"queue-json":             {invocation: invocation{args: "queue nightly -n research -o json"}},
		"queue-name":             {invocation: invocation{args: "queue -n research -o name"}},
		"queue-unknown":          {invocation: invocation{args: "queue nope -n research"}},
		"queue-no-broker":        {invocation: invocation{args: "queue -n research"}, brokerGone: true},
		"queue-forbidden-prio":   {invocation: invocation{args: "queue -n research"}, brokerGone: true, forbidden: []string{"priorityclasses"}},
		"explain-job":            {invocation: invocation{args: "explain bert-large -n research"}},
		"explain-job-by-kind":    {invocation: invocation{args: "explain job.batch/bert-large -n research"}},
		"explain-job-silent":     {invocation: invocation{args: "explain bert-large -n research"}, silent: true},
		"explain-job-refused":    {invocation: invocation{args: "explain bert-large -n research"}, refuses: true},
		"explain-job-no-lease":   {invocation: invocation{args: "explain bert-large -n research"}, forbidden: []string{"leases"}},
		"explain-job-yaml":       {invocation: invocation{args: "explain bert-large -n research -o yaml"}},
		"explain-job-no-broker":  {invocation: invocation{args: "explain bert-large -n research"}, brokerGone: true},
		"explain-job-forbidden":  {invocation: invocation{args: "explain bert-large -n research"}, forbidden: []string{"portforward"}},
		"explain-job-new":        {invocation: invocation{args: "explain finetune -n solo"}},
		"explain-job-admitted":   {invocation: invocation{args: "explain gpt-mini -n research"}},
		"explain-job-ended":      {invocation: invocation{args: "explain done -n research"}},
		"explain-job-plain":      {invocation: invocation{args: "explain plain -n research"}},
		"explain-job-unknown":    {invocation: invocation{args: "explain nope -n research"}},
		"explain-loan":           {invocation: invocation{args: "explain loan/resnet-2 -n research"}},
		"explain-loan-returned":  {invocation: invocation{args: "explain loan/bert-large-1 -n research"}},
		"explain-lender":         {invocation: invocation{args: "explain lendingpolicy/chat -n serving"}},
		"explain-lender-offline": {invocation: invocation{args: "explain lp/chat -n serving"}, brokerGone: true},
		"explain-lender-new":     {invocation: invocation{args: "explain lp/embed -n serving"}},
		"explain-bad-kind":       {invocation: invocation{args: "explain service/chat -n serving"}},
		"queue-kinds":            {invocation: invocation{args: "queue -n vision"}},
		"queue-kinds-json":       {invocation: invocation{args: "queue gangs -n vision -o json"}},
		"queue-kinds-name":       {invocation: invocation{args: "queue -n vision -o name"}},
		"queue-kinds-hidden":     {invocation: invocation{args: "queue -n vision"}, forbidden: []string{"rayjobs", "mpijobs"}},
		"explain-kind":           {invocation: invocation{args: "explain rayjob/segment -n vision"}},
		"explain-kind-by-name":   {invocation: invocation{args: "explain pretrain -n vision"}},
		"explain-kind-group":     {invocation: invocation{args: "explain jobsets.jobset.x-k8s.io/pretrain -n vision"}},
		"explain-kind-ended":     {invocation: invocation{args: "explain pytorchjob/imagenet -n vision"}},
		"explain-kind-unknown":   {invocation: invocation{args: "explain rayjob/pretrain -n vision"}},
		"explain-kind-hidden":    {invocation: invocation{args: "explain segment -n vision"}, forbidden: []string{"rayjobs", "mpijobs"}},
		"explain-pod-group":      {invocation: invocation{args: "explain pod/pair-1 -n vision"}, brokerGone: true},
		"gpus":                   {invocation: invocation{args: "gpus"}},
		"gpus-one-wide":          {invocation: invocation{args: "gpus gpu-7 -o wide"}},
		"gpus-name":              {invocation: invocation{args: "gpus -o name"}},
		"gpus-unknown":           {invocation: invocation{args: "gpus gpu-9"}},
		"gpus-hidden-pods":       {invocation: invocation{args: "gpus"}, forbidden: []string{"namespaces/serving/pods"}},
		"gpus-forbidden":         {invocation: invocation{args: "gpus"}, forbidden: []string{"gpunodes"}},
		"ledger-list":            {invocation: invocation{args: "ledger list"}},
		"ledger-list-last":       {invocation: invocation{args: "ledger list --limit 2 -o wide"}},
		"ledger-list-from":       {invocation: invocation{args: "ledger list --from 2 --limit 4"}},
		"ledger-list-tenant":     {invocation: invocation{args: "ledger list --tenant research --limit 0"}},
		"ledger-list-none":       {invocation: invocation{args: "ledger list --tenant nobody"}},
		"ledger-list-bad-loan":   {invocation: invocation{args: "ledger list --loan resnet-1"}},
		"ledger-list-json":       {invocation: invocation{args: "ledger list --limit 1 -o json"}},
		"ledger-show":            {invocation: invocation{args: "ledger show resnet-1 -n research"}},
		"ledger-show-open":       {invocation: invocation{args: "ledger show resnet-2 -n research"}},
		"ledger-show-unknown":    {invocation: invocation{args: "ledger show nope -n research"}},
		"ledger-reclaims":        {invocation: invocation{args: "ledger reclaims"}},
		"ledger-reclaims-wide":   {invocation: invocation{args: "ledger reclaims --tenant research -o wide"}},
		"ledger-reclaims-json":   {invocation: invocation{args: "ledger reclaims --loan research/resnet-1 -o json"}},
		"ledger-reclaims-none":   {invocation: invocation{args: "ledger reclaims --tenant nobody"}},
		"ledger-export":          {invocation: invocation{args: "ledger export --from 7"}},
		"ledger-export-to":       {invocation: invocation{args: "ledger export --from 2 --to 3 --tenant research"}},
		"ledger-export-csv":      {invocation: invocation{args: "ledger export --from 4 --to 8 --format csv"}},
		"ledger-export-bad":      {invocation: invocation{args: "ledger export --format xml"}},
		"ledger-export-bad-to":   {invocation: invocation{args: "ledger export --from 4 --to 3"}},
		"ledger-statement":       {invocation: invocation{args: "ledger statement --tenant research"}},
		"ledger-statement-money": {invocation: invocation{args: "ledger statement --tenant research --month 2026-03 --prices testdata/prices.yaml"}},
		"ledger-statement-wide":  {invocation: invocation{args: "ledger statement --tenant= -o wide"}},
		"ledger-statement-csv":   {invocation: invocation{args: "ledger statement --tenant research --prices testdata/prices.yaml -o csv"}},
		"ledger-statement-json":  {invocation: invocation{args: "ledger statement --tenant research --prices testdata/prices.yaml -o json"}},
		"ledger-statement-none":  {invocation: invocation{args: "ledger statement --tenant nobody --month 2026-02"}},
		"ledger-statement-whose": {invocation: invocation{args: "ledger statement"}},
		"ledger-statement-month": {invocation: invocation{args: "ledger statement --tenant research --month March"}},
		"ledger-statement-price": {invocation: invocation{args: "ledger statement --tenant research --prices testdata/prices-bad.yaml"}},
		"ledger-check-old":       {invocation: invocation{args: "ledger check --against 11:" + strings.Repeat("a", 64)}},
		"ledger-check-anew":      {invocation: invocation{args: "ledger check --against 3:" + strings.Repeat("b", 64)}},
		"ledger-check":           {invocation: invocation{args: "ledger check"}},
		"ledger-check-broken":    {invocation: invocation{args: "ledger check"}, broken: []string{"the hash of the previous entry differs"}},
		"ledger-no-broker":       {invocation: invocation{args: "ledger list"}, brokerGone: true},
		"broker-bad-url":         {invocation: invocation{args: "ledger list --broker localhost:8080"}},
	}
	playAll(t, tests)
}

// playAll plays scenes with one broker's ledger, which none of them changes.
func playAll(t *testing.T, scenes map[string]scene) {
	l, _ := newLedger(t)
	for name, tt := range scenes {
		tt.ledger = l
		t.Run(name, func(t *testing.T) { tt.play(t, name) })
	}
}

// scene is a command in the cluster of the tests, and what is wrong with that.
type scene struct {
	invocation
	brokerGone bool
	refuses    bool
	silent     bool
	older      bool
	forbidden  []string
	broken     []string
	// within is the only namespace that the broker shows; empty: all.
	within string
	// change is made to the cluster before.
	change func(*fakeAPIServer)
	// ledger is what the broker has; nil for one of its own.
	ledger *ledger.Ledger
	// patched is what changes are sent.
	patched []string
}

func (tt *scene) play(t *testing.T, name string) {
	var broker http.Handler
	if !tt.brokerGone {
		if tt.ledger == nil {
			tt.ledger, _ = newLedger(t)
		}
		broker = &fakeBroker{ledger: tt.ledger, silent: tt.silent, older: tt.older, problems: tt.broken, within: tt.within}
	}
	server := newFakeAPIServer(t, broker)
	server.forbidden, server.refuses = tt.forbidden, tt.refuses
	if tt.change != nil {
		tt.change(server)
	}
	stdout, stderr, code := invoke(t, server.URL, tt.invocation)
	golden(t, name, tt.invocation, server.URL, stdout, stderr, code)
	if diff := cmp.Diff(tt.patched, server.patched); diff != "" {
		t.Errorf("the changes that were sent differ (-want +got):\n%s", diff)
	}
}
