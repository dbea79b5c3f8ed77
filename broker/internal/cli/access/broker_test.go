package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// answering serves the same answer to everything.
func answering(t *testing.T, code int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestOutcomesCanBeToldApart(t *testing.T) {
	tests := map[string]struct {
		code int
		body string
		is   error
		text string
	}{
		"a verdict":            {200, `{"verdicts":[{"kind":"Job","subject":"ns/a","reason":"Lent","message":"m"}]}`, nil, ""},
		"of another subject":   {200, `{"verdicts":[{"kind":"Job","subject":"ns/b","reason":"Lent","message":"m"}]}`, ErrUnknownSubject, "Job ns/a"},
		"the broker knows not": {404, `{"error":"no verdict about Job/ns/a"}`, ErrUnknownSubject, "no verdict about"},
		"a Status":             {404, `{"kind":"Status","message":"no such path"}`, ErrUnreachable, "no such path"},
		"no leader":            {503, `{"error":"this replica does not lead","leader":""}`, ErrUnreachable, "does not lead"},
		"another leads":        {503, `{"error":"this replica does not lead","leader":"b_7"}`, ErrUnreachable, "does not lead; b_7 leads"},
		"a page of a proxy":    {502, "<html>Bad Gateway</html>", ErrUnreachable, "Bad Gateway"},
		"somebody else":        {200, "<html>hello</html>", ErrUnreachable, "something else"},
		"who is that?":         {401, `{"error":"who asks is not known"}`, ErrRefused, "who asks is not known"},
		"not his":              {403, `{"error":"user \"ann\" may not"}`, ErrRefused, "the broker refused: user"},
		"a broken broker":      {500, `{"error":"read ledger: disk"}`, nil, "the broker refused: read ledger: disk"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := NewBrokerAt(answering(t, tt.code, tt.body), nil)
			if err != nil {
				t.Fatal(err)
			}
			v, err := b.Verdict(context.Background(), lend.SubjectJob, "ns/a", "")
			if tt.text == "" {
				if err != nil || v.Reason != "Lent" {
					t.Fatalf("got %+v, %v", v, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v does not say %q", err, tt.text)
			}
			for _, sentinel := range []error{ErrUnreachable, ErrRefused, ErrUnknownSubject} {
				if want := tt.is != nil && errors.Is(tt.is, sentinel); errors.Is(err, sentinel) != want {
					t.Errorf("errors.Is(%q, %q) is %v", err, sentinel, errors.Is(err, sentinel))
				}
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	b, err := NewBrokerAt("http://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Queue(context.Background()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Queue(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want the user's own cancellation", err)
	}
}

func TestBadURLs(t *testing.T) {
	for _, bad := range []string{"broker:8080", "ftp://x", "http://", "http://x?y=1", "http://user:pass@x", "http://[::1"} {
		if _, err := NewBrokerAt(bad, nil); err == nil || !strings.HasPrefix(err.Error(), "--broker: ") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
