package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

func TestTakesGzip(t *testing.T) {
	for accepted, want := range map[string]bool{
		"": false, "gzip": true, "gzip, deflate, br": true, "br;q=1.0, gzip;q=0.8": true, "deflate, gzip ; q=1": true,
		"gzip;q=0": false, "gzip; q=0.0": false, "br, gzip;q=0.000": false, "identity": false, "x-gzip": false,
	} {
		if got := takesGzip(accepted); got != want {
			t.Errorf("%q: %t", accepted, got)
		}
	}
}

// Long answers are packed for who takes that, and are the same; short ones, and those of others,
// are sent as they are. All say that it depends.
func TestAnswersArePacked(t *testing.T) {
	handler := served(t, crowded(t), guard(people))
	ask := func(path, accepted string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer admin")
		r.Header.Set("Accept-Encoding", accepted)
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusNotFound || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %d, varies by %q", path, w.Code, w.Header().Get("Vary"))
		}
		return w
	}
	var asking sync.WaitGroup
	for _, path := range []string{"/loans", "/loans", "/nodes", "/verdicts", "/debug/snapshot", "/timeline", "/loans?limit=500"} {
		asking.Go(func() {
			plain, short := ask(path, ""), ask(path, "deflate, gzip")
			if got := short.Header().Get("Content-Encoding"); got != "gzip" || short.Body.Len()*8 > plain.Body.Len() {
				t.Errorf("%s: of %d bytes %d are sent, packed by %q", path, plain.Body.Len(), short.Body.Len(), got)
			}
			t.Logf("%s: %d bytes, %d packed", path, plain.Body.Len(), short.Body.Len())
			r, err := gzip.NewReader(short.Body)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, plain.Body.Bytes()) || plain.Header().Get("Content-Encoding") != "" {
				t.Errorf("%s: what is packed is not what is not: %v", path, err)
			}
		})
	}
	asking.Wait()
	for _, path := range []string{"/loans?limit=1", "/verdicts?subject=Job/a/b"} {
		if short := ask(path, "gzip"); short.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: %d bytes are packed", path, short.Body.Len())
		}
	}
}
