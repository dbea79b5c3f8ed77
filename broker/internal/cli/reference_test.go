package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
)

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	sessionMarks = regexp.MustCompile(`(?m)^--- (stderr|exit \d+) ---\n`)
)

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
		for _, word := range []string{"submit", "queue", "loans", "explain", "gpus", "ledger"} {
			if strings.HasPrefix(command, "$ kubectl ebbtide "+word) {
				shown[word] = true
			}
		}
	}
	if len(shown) != 6 {
		t.Errorf("the reference shows sessions of %v only", shown)
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// Whatever the quick start tells people to apply must decode strictly.
func TestQuickstartManifestsAreValid(t *testing.T) {
	page, err := os.ReadFile("../../../docs/tasks/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(access.Scheme, serializer.EnableStrict).UniversalDeserializer()
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
