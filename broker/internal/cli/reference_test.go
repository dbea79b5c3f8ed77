package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	sessionMarks = regexp.MustCompile(`(?m)^--- (stderr|exit \d+) ---\n`)
)

// commands are those of which there must be a session. What simulate prints is its own
// reference's.
var commands = []string{
	"submit", "queue", "loans", "lenders", "quota", "gpus", "explain", "when", "why-evicted", "timeline", "top", "dashboard", "ledger",
	"reclaim", "pause", "resume", "doctor", "whatif", "replay",
}

// Every command has a section, or stands in one's title.
func TestReferenceHasEveryCommand(t *testing.T) {
	page, err := os.ReadFile("../../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var titles string
	for _, line := range strings.Split(string(page), "\n") {
		if strings.HasPrefix(line, "## ") {
			titles += " " + line + " "
		}
	}
	for _, c := range NewCommand(Env{Getenv: func(string) string { return "" }}).Commands() {
		if c.Example == "" && c.Name() != "ledger" {
			t.Errorf("%s has no example", c.Name())
		}
		if !strings.Contains(titles, " "+c.Name()+" ") {
			t.Errorf("the reference has no section about %s", c.Name())
		}
	}
}

// The sessions in the reference are the golden ones, so it cannot go stale.
func TestReferenceShowsRealSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	real := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		real[strings.TrimRight(sessionMarks.ReplaceAllString(string(data), ""), "\n")] = true
	}
	page, err := os.ReadFile("../../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, block := range consoleBlock.FindAllStringSubmatch(string(page), -1) {
		session := strings.TrimRight(block[1], "\n")
		command, _, _ := strings.Cut(session, "\n")
		if !real[session] {
			t.Errorf("no golden file has this session of docs/reference/cli.md:\n%s", session)
		}
		for _, word := range commands {
			if strings.HasPrefix(command, "$ kubectl ebbtide "+word) {
				shown[word] = true
			}
		}
	}
	for _, word := range commands {
		if !shown[word] {
			t.Errorf("the reference shows no session of %s", word)
		}
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// Whatever the quick start tells people to apply must decode strictly.
func TestQuickstartManifestsAreValid(t *testing.T) {
	page, err := os.ReadFile("../../../docs/tasks/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	kinds := map[string]bool{}
	for _, block := range yamlBlock.FindAllStringSubmatch(string(page), -1) {
		for _, document := range strings.Split(block[1], "\n---\n") {
			object, kind, err := decoder.Decode([]byte(document), nil, nil)
			if err != nil {
				t.Errorf("%v in:\n%s", err, document)
				continue
			}
			kinds[kind.Kind] = true
			if job, ok := object.(*batchv1.Job); ok {
				if errs := checkJob(job); len(errs) > 0 {
					t.Errorf("submit would refuse the job: %v", errs.ToAggregate())
				}
			}
		}
	}
	for _, want := range []string{"TenantQuota", "LendingPolicy", "TrainingQueue", "Job"} {
		if !kinds[want] {
			t.Errorf("the quick start has no %s", want)
		}
	}
}
