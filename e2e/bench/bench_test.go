package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// On a small cluster the whole of it works: both schedulers place all pods, every
// round is printed, and the last line can be read.
func TestRun(t *testing.T) {
	var out, log bytes.Buffer
	c := Config{Nodes: 10, Pods: 60, Rounds: 2, Out: &out, Log: &log}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // it may have to build
	defer cancel()
	if err := Run(ctx, c); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var got struct{ StockPodsPerSecond, EbbtidePodsPerSecond, Ratio float64 }
	decoder := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("read the last line: %v\n%s", err, out.String())
	}
	if got.StockPodsPerSecond <= 0 || got.EbbtidePodsPerSecond <= 0 {
		t.Errorf("the last line is %+v", got)
	}
	want := got.EbbtidePodsPerSecond / got.StockPodsPerSecond
	if diff := want - got.Ratio; diff > 0.01 || diff < -0.01 {
		t.Errorf("ratio %v, but the two rates give %v", got.Ratio, want)
	}
	for _, s := range []scheduler{stock, ebbtide} {
		if n := strings.Count(out.String(), " "+s.title()+"    60 "); n != c.Rounds {
			t.Errorf("%d rounds of %s are printed, want %d\n%s", n, s, c.Rounds, out.String())
		}
	}
}

func TestValidate(t *testing.T) {
	small := Config{Nodes: 1, Pods: 9, Rounds: 1}
	if err := small.Validate(); err == nil || !strings.Contains(err.Error(), "--pods is 9, must be 2 to 8") {
		t.Errorf("error %v", err)
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Nodes: 0, Pods: 0, Rounds: 0}
	for _, want := range []string{"--nodes is 0", "--pods is 0", "--rounds is 0"} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// Neither scheduler always goes first.
func TestOrder(t *testing.T) {
	want := []scheduler{stock, ebbtide, ebbtide, stock, stock, ebbtide}
	if diff := cmp.Diff(want, order(3)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestSummarize(t *testing.T) {
	at := func(s scheduler, seconds int) round {
		return round{scheduler: s, pods: 101, took: time.Duration(seconds) * time.Second}
	}
	rounds := []round{at(stock, 1), at(ebbtide, 2), at(ebbtide, 4), at(stock, 4), at(stock, 2)} // 100, 50, 25; 50 and 25
	if got, want := summarize(rounds, median), (summary{stock: 50, ebbtide: 37.5}); got != want || got.ratio() != 0.75 {
		t.Errorf("medians %+v, ratio %v; want %+v, 0.75", got, got.ratio(), want)
	}
	if got, want := summarize(rounds, slices.Max[[]float64]), (summary{stock: 100, ebbtide: 50}); got != want {
		t.Errorf("best %+v, want %+v", got, want)
	}
}

func TestWrite(t *testing.T) {
	var out bytes.Buffer
	rounds := []round{
		{scheduler: stock, pods: 11, nodes: 3, took: 2 * time.Second, cpu: 30 * time.Millisecond},
		{scheduler: ebbtide, pods: 11, nodes: 2, took: 3 * time.Second, cpu: 40 * time.Millisecond},
	}
	if err := write(&out, Config{Nodes: 3, Pods: 11}, rounds); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if want := "\n{\"stockPodsPerSecond\":5.00,\"ebbtidePodsPerSecond\":3.33,\"ratio\":0.667}\n"; !strings.HasSuffix(text, want) {
		t.Errorf("the last line is not %s:\n%s", want, text)
	}
	for _, want := range []string{"3 nodes with 8 GPUs, 11 pods", "5.0         0.03        3.00", "3.3         0.04        4.00", "kube-scheduler    11           3", "ebbtide-scheduler    11           2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
}

// The manifests keep the definitions and the priority classes, and lose what
// refuses a pod of the stock scheduler.
func TestWithoutPolicies(t *testing.T) {
	stream, err := WithoutPolicies()
	if err != nil {
		t.Fatal(err)
	}
	for want, kept := range map[string]bool{
		"kind: CustomResourceDefinition": true, "kind: PriorityClass": true, "kind: ClusterRoleBinding": true,
		"AdmissionPolicy": false,
	} {
		if bytes.Contains(stream, []byte("\n"+want)) != kept && bytes.Contains(stream, []byte(want)) != kept {
			t.Errorf("the manifests hold %q: %v, want %v", want, !kept, kept)
		}
	}
}

func TestCPUTime(t *testing.T) {
	got, err := parseStat("17 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 8 0 100")
	if err != nil || got != 1750*time.Millisecond {
		t.Errorf("got %v, %v; want 1.75s", got, err)
	}
	for _, text := range []string{"", "17 (x) S 1 2", "17 (x) S 1 2 3 4 5 6 7 8 9 10 many 25 0"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
}

// A profile folder that does not exist is found before anything is measured.
func TestProfilesFolder(t *testing.T) {
	c := Default()
	c.Profiles = filepath.Join(t.TempDir(), "none")
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "--profiles") {
		t.Errorf("error %v", err)
	}
}
