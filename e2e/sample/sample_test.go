package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab/host"
)

// uninterrupted is the file that a run without any stop writes.
func uninterrupted(t *testing.T, seed uint64, steps int64) []byte {
	t.Helper()
	m := NewModel(seed)
	m.Train(steps)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

func config(t *testing.T, steps int64) Config {
	dir := t.TempDir()
	return Config{
		Seed: 7, Steps: steps, Checkpoint: filepath.Join(dir, "runs", "checkpoint.json"),
		Model: filepath.Join(dir, "model.json"), Journal: filepath.Join(dir, "journal.jsonl"),
		Warn: func(err error) { t.Errorf("warning: %v", err) },
	}
}

func journalOf(t *testing.T, c Config) []Entry {
	t.Helper()
	entries, err := ReadJournal(c.Journal)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// begin runs the program beside the test; end sends SIGTERM and returns how it ended.
func begin(t *testing.T, c Config) (end func() (int, error)) {
	t.Helper()
	stop := make(chan os.Signal, 1)
	type result struct {
		status int
		err    error
	}
	done := make(chan result, 1)
	go func() {
		status, err := Run(t.Context(), c, stop)
		done <- result{status, err}
	}()
	return func() (int, error) {
		stop <- syscall.SIGTERM
		r := <-done
		return r.status, r.err
	}
}

func TestLearns(t *testing.T) {
	m := NewModel(3)
	before := m.Loss()
	m.Train(2000)
	if after := m.Loss(); after > 0.6*before {
		t.Errorf("the loss fell from %.3f to %.3f only", before, after)
	}
}

// However often it is stopped, a run ends with the model of one that was not, and no
// step is done twice.
func TestResumesExactly(t *testing.T) {
	c := config(t, 200)
	c.StepTime = 10 * time.Millisecond // so slow that a busy machine does not miss most of the steps
	stops := 0
	for status := ExitStopped; status != ExitDone; stops++ {
		if stops > 100 {
			t.Fatal("it does not come to an end")
		}
		known := 0
		if stops > 0 {
			known = len(journalOf(t, c))
		}
		end := begin(t, c)
		// A few lines beyond the one that it has begun, or the last of all.
		await(t, "some steps", func() bool {
			entries, err := ReadJournal(c.Journal)
			return err == nil && (len(entries) > known+10 || len(entries) > 0 && entries[len(entries)-1].Event == EventDone)
		})
		var err error
		if status, err = end(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(c.Model); err != nil || !bytes.Equal(got, uninterrupted(t, 7, 200)) {
		t.Errorf("after %d stops the model is %s, want that of an uninterrupted run (%v)", stops, got, err)
	}
	var done []int64
	entries := journalOf(t, c)
	for i, e := range entries {
		if e.Event == EventStep {
			done = append(done, e.Step)
		}
		if e.Event == EventTerminated && (entries[i+1].Event != EventSaved || entries[i+1].Step != e.Step || entries[i+2].Event != EventStopped) {
			t.Errorf("after SIGTERM at step %d: %+v", e.Step, entries[i+1:i+3])
		}
	}
	for i, step := range done {
		if step != int64(i)+1 {
			t.Fatalf("the steps done are %v, want each once", done)
		}
	}
	if stops < 3 {
		t.Errorf("it was stopped %d times only", stops)
	}
}

// A run that is killed goes on from its last checkpoint, which is as old as the time
// between two of them.
func TestKilledLosesAnInterval(t *testing.T) {
	c := config(t, 100)
	m := NewModel(7)
	m.Train(40)
	if err := writeWhole(c.Checkpoint, Checkpoint{*m, time.Now()}); err != nil {
		t.Fatal(err)
	}
	// What a kill in the middle of a save leaves behind is no checkpoint.
	if err := os.WriteFile(c.Checkpoint+".partial", []byte(`{"seed":7,"st`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.CheckpointEvery, c.StepTime = 10*time.Millisecond, time.Millisecond
	if status, err := Run(t.Context(), c, nil); status != ExitDone || err != nil {
		t.Fatal(status, err)
	}
	if got, err := os.ReadFile(c.Model); err != nil || !bytes.Equal(got, uninterrupted(t, 7, 100)) {
		t.Errorf("the model is another than that of an uninterrupted run (%v)", err)
	}
	entries := journalOf(t, c)
	if entries[0].Event != EventStarted || entries[0].Step != 40 {
		t.Errorf("it began with %+v, want step 40", entries[0])
	}
	saved, byInterval := entries[0].At, 0
	for i, e := range entries {
		if e.Event == EventSaved {
			if e.Source == "interval" {
				byInterval++
			}
			saved = e.At
		}
		if late := e.At.Sub(saved); e.Event == EventStep && late >= c.CheckpointEvery && entries[i+1].Event != EventSaved {
			t.Errorf("the last checkpoint at %s is %s old, and %+v follows", e.At, late, entries[i+1])
		}
	}
	if byInterval < 2 {
		t.Errorf("%d checkpoints were made by the interval, want at least 2", byInterval)
	}
}

func TestNoticeByAnnotation(t *testing.T) {
	c := config(t, 1e6)
	c.StepTime, c.Poll = time.Millisecond, time.Millisecond
	c.Annotations = filepath.Join(t.TempDir(), "annotations")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(c.Annotations+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(c.Annotations+".new", c.Annotations); err != nil {
			t.Fatal(err)
		}
	}
	write("a=\"1\"\nkubernetes.io/config.seen=\"x\"")
	end := begin(t, c)
	await(t, "some steps", func() bool { return count(c, EventStep) > 5 })
	if n := count(c, EventSaved); n != 0 {
		t.Errorf("%d checkpoints before anybody asked for one", n)
	}
	write("a=\"1\"\nebbtide.dev/reclaim-by=\"2026-01-02T15:04:05Z\"")
	await(t, "a checkpoint", func() bool { return count(c, EventSaved) == 1 })
	steps := count(c, EventStep)
	await(t, "more steps, since nobody has stopped it", func() bool { return count(c, EventStep) > steps+5 })
	write("ebbtide.dev/reclaim-by=\"2026-01-02T15:04:30Z\"")
	await(t, "a checkpoint for the new deadline", func() bool { return count(c, EventSaved) == 2 })
	if status, err := end(); status != ExitStopped || err != nil {
		t.Fatal(status, err)
	}
	entries := journalOf(t, c)
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Event == EventTerminated })
	if want := time.Date(2026, 1, 2, 15, 4, 30, 0, time.UTC); !entries[i].By.Equal(want) {
		t.Errorf("at SIGTERM the deadline is %s, want %s", entries[i].By, want)
	}
}

func count(c Config, event string) (n int) {
	entries, err := ReadJournal(c.Journal)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if e.Event == event {
			n++
		}
	}
	return n
}

func TestNoticeByHook(t *testing.T) {
	ports := &host.Ports{}
	t.Cleanup(func() { _ = ports.Close() })
	address, err := ports.Next()
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, 1e6)
	c.StepTime, c.Hook = time.Millisecond, address
	end := begin(t, c)
	await(t, "some steps", func() bool { return count(c, EventStep) > 0 })
	call := func(method, body string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Hook+"/reclaim", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	const body = `{"reclaimBy": "2026-01-02T15:04:05.25Z", "namespace": "research", "pod": "bert-0"}`
	for _, try := range []struct {
		method, body string
		want         int
	}{
		{http.MethodGet, "", http.StatusMethodNotAllowed},
		{http.MethodPost, "soon", http.StatusBadRequest},
		{http.MethodPost, "{}", http.StatusBadRequest},
		{http.MethodPost, body, http.StatusNoContent},
		{http.MethodPost, body, http.StatusNoContent},
	} {
		if got := call(try.method, try.body); got != try.want {
			t.Errorf("%s %s: status %d, want %d", try.method, try.body, got, try.want)
		}
	}
	await(t, "both notices", func() bool { return count(c, EventNotice) == 2 })
	if n := count(c, EventSaved); n != 1 {
		t.Errorf("%d checkpoints for one deadline, want 1", n)
	}
	if status, err := end(); status != ExitStopped || err != nil {
		t.Fatal(status, err)
	}
}

// The pod is told of each checkpoint, or at least of the newest, with the pod's own
// token, and on this very pod.
func TestTellsItsPod(t *testing.T) {
	var mu sync.Mutex
	var paths, bodies []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Content-Type"))
		bodies = append(bodies, string(body))
	}))
	defer server.Close()
	account := t.TempDir()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string][]byte{"ca.crt": authority, "token": []byte("secret\n")} {
		if err := os.WriteFile(filepath.Join(account, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config(t, 1e6)
	c.StepTime, c.CheckpointEvery = time.Millisecond, 5*time.Millisecond
	c.Pod = &Pod{Server: server.URL, Account: account, Namespace: "research", Name: "bert-0", UID: "uid-1"}
	end := begin(t, c)
	await(t, "the pod to be told", func() bool { return count(c, EventTold) > 1 })
	if status, err := end(); status != ExitStopped || err != nil {
		t.Fatal(status, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "PATCH /api/v1/namespaces/research/pods/bert-0 Bearer secret application/merge-patch+json"; paths[0] != want {
		t.Errorf("the API server was asked %s, want %s", paths[0], want)
	}
	var patch struct {
		Metadata struct {
			UID         string            `json:"uid"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(bodies[0]), &patch); err != nil || patch.Metadata.UID != "uid-1" {
		t.Fatalf("patch %s: %v", bodies[0], err)
	}
	said, err := time.Parse(time.RFC3339, patch.Metadata.Annotations["ebbtide.dev/last-checkpoint"])
	entries := journalOf(t, c)
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Event == EventTold })
	if err != nil || !said.Equal(entries[i].Saved) {
		t.Errorf("the pod says %s, the journal %s (%v)", said, entries[i].Saved, err)
	}
}

// That the API server is away, or refuses, harms nothing but the annotation.
func TestTrainsThoughItCannotTell(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	account := t.TempDir()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string][]byte{"ca.crt": authority, "token": []byte("secret")} {
		if err := os.WriteFile(filepath.Join(account, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config(t, 1e6)
	warned := make(chan error, 1)
	c.Warn = func(err error) {
		select {
		case warned <- err:
		default:
		}
	}
	c.StepTime, c.CheckpointEvery = time.Millisecond, time.Millisecond
	c.Pod = &Pod{Server: server.URL, Account: account, Namespace: "research", Name: "bert-0", UID: "uid-1"}
	end := begin(t, c)
	if err := <-warned; !strings.Contains(err.Error(), "404") {
		t.Errorf("warned of %v, want the API server's answer", err)
	}
	if status, err := end(); status != ExitStopped || err != nil {
		t.Fatal(status, err)
	}
}

func TestRefusesWhatIsNotItsOwn(t *testing.T) {
	c := config(t, 10)
	if err := writeWhole(c.Checkpoint, Checkpoint{*NewModel(8), time.Now()}); err != nil {
		t.Fatal(err)
	}
	if status, err := Run(t.Context(), c, nil); status != ExitFailed || err == nil || !strings.Contains(err.Error(), "seed 8") {
		t.Errorf("a checkpoint of another seed: %d, %v", status, err)
	}
	for _, text := range []string{"", "{", `{"seed":7,"step":3,"weights":[1]}`} {
		if err := os.WriteFile(c.Checkpoint, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, err := Run(t.Context(), c, nil); status != ExitFailed || err == nil || !strings.Contains(err.Error(), c.Checkpoint) {
			t.Errorf("checkpoint %q: %d, %v", text, status, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for flag, change := range map[string]func(*Config){
		"--steps":            func(c *Config) { c.Steps = 0 },
		"--step-time":        func(c *Config) { c.StepTime = -1 },
		"--checkpoint-every": func(c *Config) { c.CheckpointEvery = -1 },
		"--checkpoint:":      func(c *Config) { c.Checkpoint = "" },
		"--poll":             func(c *Config) { c.Annotations = "x" },
		"--tell":             func(c *Config) { c.Pod = &Pod{Server: "https://x"} },
	} {
		c := config(t, 10)
		change(&c)
		if _, err := Run(context.Background(), c, nil); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}
