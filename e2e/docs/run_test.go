package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/e2e/docs"
)

// runner has a kubectl that keeps what is applied, and lists it.
func runner(t *testing.T) *docs.Runner {
	t.Helper()
	dir := t.TempDir()
	const kubectl = `#!/bin/bash
case "$1" in
apply) cat > applied.yaml; echo applied;;
get) echo x >> calls; echo "NAME    AGE"; [ "$2" = late ] && [ $(wc -l < calls) -lt 3 ] || echo "chat    $(($RANDOM % 50 + 10))s";;
*) echo "unknown command $1" >&2; exit 1;;
esac
`
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(kubectl), 0o755); err != nil {
		t.Fatal(err)
	}
	return &docs.Runner{
		Dir: dir, Environ: []string{"PATH=" + bin + ":" + os.Getenv("PATH")},
		Limit: time.Minute, Again: time.Millisecond,
	}
}

func TestText(t *testing.T) {
	const page = "# A page\n\nA job, in `jobs/job.yaml`:\n\n```yaml\nkind: Job\n```\n\n```sh\n# look\ngrep kind \\\n  jobs/job.yaml\n```\n\n" +
		"Then:\n\n```yaml\nkind: Queue\n```\n\n```console\n$ kubectl get queues\nNAME   AGE\nchat   3m\n$ cat applied.yaml\nkind: …\n```\n\n" +
		"```sh skip: needs a registry\nfalse\n```\n\n<!-- skip: takes minutes -->\n```console\n$ false\n```\n\n```text\nfalse\n```\n"
	tests := map[string]struct {
		old, new string
		want     docs.Result
		why      string
	}{
		"as it is":         {want: docs.Result{Run: 5, Skipped: 2}},
		"a wrong command":  {old: "kubectl get queues", new: "kubectl gte queues", want: docs.Result{Run: 4, Failed: 1, Skipped: 0}, why: "unknown command gte"},
		"a wrong script":   {old: "grep kind", new: "grep kindly", want: docs.Result{Run: 2, Failed: 1}, why: "exit status 1"},
		"another output":   {old: "chat   3m", new: "code   3m", want: docs.Result{Run: 4, Failed: 1}, why: `line 2 of what is shown, "code 3m"`},
		"a line is gone":   {old: "chat   3m\n", want: docs.Result{Run: 4, Failed: 1}, why: "more was printed than is shown"},
		"a line too many":  {old: "chat   3m\n", new: "chat   3m\ncode   3m\n", want: docs.Result{Run: 4, Failed: 1}, why: `line 3 of what is shown, "code 3m"`},
		"a wrong object":   {old: "kind: …", new: "kind: Job", want: docs.Result{Run: 5, Failed: 1}, why: "kind: Queue"},
		"a file not named": {old: "`jobs/job.yaml`", new: "a file", want: docs.Result{Run: 2, Failed: 1}, why: "exit status 2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(page, test.old, test.new, 1)
			if test.old != "" && text == page {
				t.Fatalf("the page does not have %q", test.old)
			}
			got, err := runner(t).Text(t.Context(), "page.md", text)
			if err != nil {
				t.Fatal(err)
			}
			failures := got.Failures
			got.Failures = nil
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s%v", diff, failures)
			}
			if test.why != "" && (len(failures) != 1 || !strings.Contains(failures[0].String(), test.why)) {
				t.Errorf("got %v, want one failure with %q", failures, test.why)
			}
		})
	}
}

func TestPagesThatCannotBeRead(t *testing.T) {
	for name, page := range map[string]string{
		"a mark without a reason": "```sh skip:\nfalse\n```\n",
		"another mark":            "```sh later\nfalse\n```\n",
		"a block without an end":  "```sh\nfalse\n",
		"a file elsewhere":        "In `../job.yaml`:\n\n```yaml\nkind: Job\n```\n",
		"a folder left behind":    "```sh\ncd deploy\n```\n",
		"after something else":    "```sh\ngit clone x && cd x\n```\n",
		"a variable":              "```sh\nexport A=b\n```\n",
		"another variable":        "```sh\nA=\"b c\"\n```\n",
		"a result kept":           "```console\n$ LOAN=$(kubectl get loans -o name)\n```\n",
		"a shell's setting":       "```console\n$ set -e\n```\n",
		"a loop in three lines":   "```sh\nfor i in 1 2; do\n  echo $i\ndone\n```\n",
		"a branch":                "```sh\nif true; then\n  echo\nfi\n```\n",
		"a function":              "```sh\nsay() { echo; }\n```\n",
		"a text in the shell":     "```sh\ncat > a.yaml <<EOF\n  a: b\nEOF\n```\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := runner(t).Text(t.Context(), "page.md", page); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

// What lasts for one command is none of the refused ones, and neither is what is skipped.
func TestShellsOfTheirOwn(t *testing.T) {
	const page = "```sh\ncd / && pwd\nA=b env\n(cd /; pwd)\nfor i in 1 2; do echo $i; done\n# cd later\n```\n\n" +
		"```sh skip: takes minutes\ncd deploy\n```\n\n```text\ncd deploy\n```\n"
	got, err := runner(t).Text(t.Context(), "page.md", page)
	if want := (docs.Result{Run: 4, Skipped: 1}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// A command that reads is run until it says what is shown; one that changes is run once.
func TestAgain(t *testing.T) {
	r := runner(t)
	r.Again = time.Minute
	got, err := r.Text(t.Context(), "page.md", "```console\n$ kubectl get late\nNAME AGE\nchat 1s\n```\n")
	if err != nil || got.Failed != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	calls, err := os.ReadFile(filepath.Join(r.Dir, "calls"))
	if err != nil || strings.Count(string(calls), "x") != 3 {
		t.Errorf("it was run %q, want three times: %v", calls, err)
	}
	for command, want := range map[string]bool{
		"kubectl get loans -A": true, "kubectl ebbtide loans": true, "kubectl -n serving get pods": true,
		"kubectl delete loans --all": false, "kubectl get loans; rm x": false, "kubectl ebbtide submit -f job.yaml": false, "kubectl getaway": false,
	} {
		if docs.Reads(command) != want {
			t.Errorf("%q reads: %v, want %v", command, !want, want)
		}
	}
}
