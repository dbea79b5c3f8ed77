package history

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// However late an event is received, it happened after the last question whose answer does not
// cover it, and before the first answer that does.
func TestClock(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	c := clock{began: at(-50)}
	c.answer(5, at(0), at(10))
	c.answer(5, at(100), at(110))
	c.answer(9, at(200), at(290))
	c.answer(9, at(300), at(310))
	c.answer(7, at(320), at(330)) // an answer that came too late says nothing new
	// Then the API server is away.
	c.answer(30, at(5000), at(5010))
	for _, tc := range []struct {
		name      string
		e         Event
		since, at int // -1: before the watching
	}{
		{"received at once", Event{Revision: 7, At: at(150)}, 100, 150},
		{"received late", Event{Revision: 7, At: at(2000)}, 100, 290},
		{"the last that is covered", Event{Revision: 9, At: at(2000)}, 100, 290},
		{"around an absence", Event{Revision: 10, At: at(6000)}, 300, 5010},
		{"not covered yet", Event{Revision: 31, At: at(6000)}, 5000, 6000},
		{"before the watching", Event{Revision: 5, At: at(5), Initial: true}, -1, 5},
		{"before the first question", Event{Revision: 5, At: at(5)}, -50, 5},
		{"found by a list", Event{Revision: 30, after: 6, Until: 31, Unseen: true, At: at(6000)}, 100, 5010},
		{"found gone by a list", Event{Revision: 9, after: 9, Until: 30, Unseen: true, Deleted: true, At: at(6000)}, 300, 5010},
	} {
		c.set(&tc.e)
		if since := at(tc.since); tc.since == -1 && !tc.e.Since.IsZero() || tc.since != -1 && !tc.e.Since.Equal(since) {
			t.Errorf("%s: since %s, want %d ms", tc.name, tc.e.Since.Sub(began), tc.since)
		}
		if !tc.e.At.Equal(at(tc.at)) {
			t.Errorf("%s: at %s, want %d ms", tc.name, tc.e.At.Sub(began), tc.at)
		}
	}
}

// A question that is not answered with a revision tells nothing.
func TestClockAsks(t *testing.T) {
	answers := []string{`{"metadata":{"resourceVersion":"12"}}`, `{"metadata":{}}`, ``, `{"metadata":{"resourceVersion":"13"}}`}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces" || len(answers) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.URL.Query().Has("resourceVersion") {
			t.Error("a list of any age is asked for")
		}
		_, _ = w.Write([]byte(answers[0]))
		answers = answers[1:]
	}))
	defer web.Close()
	client, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: web.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	var c clock
	for range 5 {
		c.ask(t.Context(), client.RESTClient())
	}
	if len(c.reads) != 2 || c.reads[0].revision != 12 || c.reads[1].revision != 13 || c.reads[0].asked.After(c.reads[0].answered) {
		t.Errorf("read %+v", c.reads)
	}
}
