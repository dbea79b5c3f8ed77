package auditlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
)

// event is a line as kube-apiserver writes it.
func event(id, stage, verb, name string, code int) string {
	status := ""
	if code != 0 {
		status = fmt.Sprintf(`"responseStatus":{"metadata":{},"code":%d},`, code)
	}
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":%q,"stage":%q,"requestURI":"/apis/ebbtide.dev/v1alpha1/namespaces/research/loans/%s/status","verb":%q,"user":{"username":"system:serviceaccount:ebbtide-system:ebbtide-broker","uid":"1","groups":["system:authenticated"]},"sourceIPs":["127.0.0.1"],"objectRef":{"resource":"loans","namespace":"research","name":%q,"apiGroup":"ebbtide.dev","apiVersion":"v1alpha1","subresource":"status"},%s"requestObject":{"spec":{"borrower":"research"}},"requestReceivedTimestamp":"2026-03-01T12:00:00.000001Z","stageTimestamp":"2026-03-01T12:00:00.500000Z"}`,
		id, stage, name, verb, name, status) + "\n"
}

func all(*auditlog.Write) bool { return true }

func TestOutcomes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	text := event("1", "RequestReceived", "update", "a", 0) + event("1", "ResponseComplete", "update", "a", 200) +
		event("2", "RequestReceived", "update", "b", 0) + event("2", "ResponseComplete", "update", "b", 409) +
		event("3", "RequestReceived", "update", "c", 0) + event("3", "ResponseComplete", "update", "c", 504) +
		event("4", "RequestReceived", "update", "d", 0) +
		event("5", "RequestReceived", "update", "e", 0) + event("5", "Panic", "update", "e", 500) +
		`{"kind":"Event","stage":"RequestReceived","auditID":"6","verb":"create","requestURI":"/healthz"}` + "\n" +
		`{"kind":"Event","st` + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tail, err := auditlog.Follow(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	writes, err := tail.Writes(all)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range writes {
		got = append(got, writes[i].Name+" "+writes[i].Outcome().String())
	}
	if want := "a done, b refused, c unknown, d unknown, e unknown"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, ", "), want)
	}
	w := writes[0]
	if w.Asked.Equal(w.Answered) || !strings.Contains(string(w.Body), "research") || w.String() != "system:serviceaccount:ebbtide-system:ebbtide-broker update loans/status research/a: done (200)" {
		t.Errorf("%s, asked %s, answered %s, body %s", w.String(), w.Asked, w.Answered, w.Body)
	}
	if tail.Torn() != 1 {
		t.Errorf("%d torn lines, want 1", tail.Torn())
	}
}

// A log that is renamed while it is followed is read to its end, and its successor from its
// beginning; a line is read when all of it is there.
func TestFollowsRenames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	tail, err := auditlog.Follow(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	count := func(want int) {
		t.Helper()
		writes, err := tail.Writes(all)
		if err != nil || len(writes) != want {
			t.Fatalf("%d writes (%v), want %d", len(writes), err, want)
		}
	}
	count(0) // there is no log yet
	first, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	line := event("1", "RequestReceived", "update", "a", 0)
	write := func(f *os.File, text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write(first, line[:40])
	count(0)
	write(first, line[40:])
	count(1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(first, event("2", "RequestReceived", "update", "b", 0))
	second, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	write(second, event("3", "RequestReceived", "update", "c", 0)+event("1", "ResponseComplete", "update", "a", 200))
	count(3)
	writes, _ := tail.Writes(func(w *auditlog.Write) bool { return w.Outcome() == auditlog.Done })
	if len(writes) != 1 || writes[0].Name != "a" || writes[0].Answered.Sub(writes[0].Asked) > time.Second {
		t.Errorf("done: %v, want the one that was answered in the second file", writes)
	}
	first.Close()
	second.Close()
}
