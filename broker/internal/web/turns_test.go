package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// stuck is a ledger of which nothing is read until goOn is closed.
type stuck struct {
	Ledger
	goOn chan struct{}
}

func (s *stuck) Read(from uint64, limit int) ([]ledger.Entry, error) {
	<-s.goOn
	return s.Ledger.Read(from, limit)
}

// One caller has so much of the past asked for and no more, by either route; another is served
// still, and he again when he has his answers.
func TestPicturesOfOneCaller(t *testing.T) {
	f := town(t)
	held := &stuck{f.ledger, make(chan struct{})}
	f.ledger = held
	api := newServer(f)
	handler, err := guard(people).Handler(api.routes(http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, who, path string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+who)
		handler.ServeHTTP(w, r)
		return w
	}
	var asking sync.WaitGroup
	later := func(who, path string) {
		asking.Go(func() {
			if w := ask(t.Context(), who, path); w.Code != http.StatusOK {
				t.Errorf("%s of %s: %d %s", path, who, w.Code, w.Body)
			}
		})
	}
	counted := func(who string) int {
		_, of := api.pictures.Taken()
		return of[who]
	}
	paths := []string{"/timeline", "/gained"}
	for i := range mostPictures {
		later("admin", paths[i%len(paths)])
	}
	later("reader", "/timeline")
	deadline := time.Now().Add(time.Minute)
	for counted("admin") < mostPictures || counted("reader") == 0 {
		if time.Now().After(deadline) {
			close(held.goOn)
			t.Fatalf("%d and %d have come in", counted("admin"), counted("reader"))
		}
		time.Sleep(time.Millisecond) // between two looks
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel() // so that who is not refused does not wait here
	for _, path := range paths {
		if w := ask(gone, "admin", path); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("one too many, %s: %d %s", path, w.Code, w.Body)
		}
	}
	close(held.goOn)
	asking.Wait()
	if _, of := api.pictures.Taken(); len(of) != 0 {
		t.Errorf("still counted: %v", of)
	}
	for _, path := range paths {
		if w := ask(t.Context(), "admin", path); w.Code != http.StatusOK {
			t.Errorf("%s afterwards: %d %s", path, w.Code, w.Body)
		}
	}
}

// For who has gone nothing is read, also where nobody else reads.
func TestNothingIsReadForWhoHasGone(t *testing.T) {
	s := newServer(leading(t))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // which of two that are both ready is taken, is not said
		if _, err := reading(gone, s, func() (int, error) { t.Error("it was read"); return 0, nil }); err == nil {
			t.Fatal("an answer for nobody")
		}
	}
	if len(s.readers) != 0 {
		t.Error("the turn is not given back")
	}
}
