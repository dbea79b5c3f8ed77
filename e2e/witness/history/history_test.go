package history

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// server is an API server with nodes and nothing else. Each list and each watch that is asked
// for gets the next of what was prepared; when nothing is left, a watch stays open.
type server struct {
	mu      sync.Mutex
	lists   []string
	watches []string
	from    []string // the revisions from which was watched
}

func node(name, uid, revision string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"uid":%q,"resourceVersion":%q}}`, name, uid, revision)
}

func list(revision string, nodes ...string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"NodeList","metadata":{"resourceVersion":%q},"items":[%s]}`, revision, strings.Join(nodes, ","))
}

func change(kind, object string) string {
	return fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object) + "\n"
}

const expiredStatus = `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"Expired","code":410}`

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/api/v1/nodes" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
		return
	}
	s.mu.Lock()
	var text string
	watching := r.URL.Query().Get("watch") != ""
	if watching {
		s.from = append(s.from, r.URL.Query().Get("resourceVersion"))
		if len(s.watches) > 0 {
			text, s.watches = s.watches[0], s.watches[1:]
		}
	} else if text = s.lists[0]; len(s.lists) > 1 {
		s.lists = s.lists[1:]
	}
	s.mu.Unlock()
	fmt.Fprint(w, text)
	if watching && text == "" {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// follow collects what is handed on until there are as many events, and as many watches were
// asked for.
func follow(t *testing.T, s *server, want, watches int) []string {
	t.Helper()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	var mu sync.Mutex
	var got []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := Start(ctx, &rest.Config{Host: web.URL}, 0, func(e Event) {
		n := e.Object.(*corev1.Node)
		text := fmt.Sprintf("%d %s/%s", e.Revision, n.Name, n.UID)
		if e.Initial {
			text += " initial"
		}
		if e.Deleted {
			text += " deleted"
		}
		if e.Unseen {
			text += " unseen"
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, text)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for {
		mu.Lock()
		n := len(got)
		mu.Unlock()
		s.mu.Lock()
		watched := len(s.from)
		s.mu.Unlock()
		if n >= want && watched >= watches && w.Blind() == "" {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d events in %d watches, want %d in %d; blind: %q", n, watched, want, watches, w.Blind())
		case <-time.After(5 * time.Millisecond):
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return got
}

// A watch that is cut goes on where it was, and each change is handed on once.
func TestCutWatch(t *testing.T) {
	s := &server{
		lists: []string{list("5", node("n1", "a", "4"))},
		watches: []string{
			change("MODIFIED", node("n1", "a", "7")) + change("BOOKMARK", node("", "", "8")),
			change("ADDED", node("n2", "b", "9")) + change("DELETED", node("n1", "a", "10")),
		},
	}
	got := follow(t, s, 4, 3)
	if want := []string{"4 n1/a initial", "7 n1/a", "9 n2/b", "10 n1/a deleted"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := []string{"5", "8", "10"}; !slices.Equal(s.from, want) {
		t.Errorf("watched from %q, want %q", s.from, want)
	}
}

// After a time in which nothing could be seen, what is gone is said to be, also where another
// has its name, as soon as it may have been: who acted upon its end is not to be suspected.
func TestExpired(t *testing.T) {
	s := &server{
		lists: []string{
			list("5", node("n1", "a", "4"), node("n2", "b", "4"), node("n3", "c", "4")),
			list("20", node("n2", "other", "18"), node("n3", "c", "4")),
		},
		watches: []string{change("ERROR", expiredStatus)},
	}
	got := follow(t, s, 6, 2)
	if got[5] != "18 n2/other unseen" {
		t.Errorf("%q is not the last", "18 n2/other")
	}
	slices.Sort(got[3:])
	want := []string{"4 n1/a initial", "4 n2/b initial", "4 n3/c initial", "18 n2/other unseen", "5 n1/a deleted unseen", "5 n2/b deleted unseen"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What several watches bring is handed on by revision, and what came too lately not yet.
func TestOrder(t *testing.T) {
	began := time.Unix(1000, 0)
	o := order{hold: time.Second}
	for _, e := range []Event{{Revision: 9, At: began}, {Revision: 7, At: began.Add(500 * time.Millisecond)}, {Revision: 12, At: began.Add(900 * time.Millisecond)}} {
		o.put(e)
	}
	take := func(after time.Duration) (revisions []uint64) {
		for _, e := range o.take(began.Add(after)) {
			revisions = append(revisions, e.Revision)
		}
		return revisions
	}
	if got := take(900 * time.Millisecond); len(got) > 0 {
		t.Errorf("%v are handed on before their time", got)
	}
	if got := take(time.Second); !slices.Equal(got, []uint64{7, 9}) {
		t.Errorf("%v, want 7 and 9: the one that came later is older", got)
	}
	if got := take(2 * time.Second); !slices.Equal(got, []uint64{12}) {
		t.Errorf("%v, want 12", got)
	}
}
