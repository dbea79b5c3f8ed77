package ui

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func ask(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// loads are what a page or a style sheet asks for.
var loads = regexp.MustCompile(`(?:src|href)="\./([^"]+)"`)

func TestEverythingThatThePageLoadsIsThere(t *testing.T) {
	h := Handler()
	page := body(t, ask(t, h, "GET", "/"))
	found := loads.FindAllStringSubmatch(page, -1)
	if len(found) < 4 {
		t.Fatalf("the page loads %d files, want its icon, styles and script", len(found))
	}
	for _, one := range found {
		r := ask(t, h, "GET", "/"+one[1])
		if r.StatusCode != http.StatusOK || !strings.HasPrefix(one[1], "v/") {
			t.Errorf("%s: status %d, want it of this version", one[1], r.StatusCode)
		}
		if got := r.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s: Cache-Control is %q, want it kept for ever", one[1], got)
		}
	}
	if got := ask(t, h, "GET", "/").Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("the page's Cache-Control is %q, want it asked for again", got)
	}
}

var imports = regexp.MustCompile(`(?m)^(?:import|export) .*from "([^"]+)";$`)

// Modules import files of this folder only, that are there.
func TestModulesImportEachOther(t *testing.T) {
	modules := 0
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".js" {
			return err
		}
		modules++
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if lines := bytes.Count(data, []byte("\n")); lines >= 300 {
			t.Errorf("%s has %d lines, want it split", name, lines)
		}
		for _, found := range imports.FindAllSubmatch(data, -1) {
			target := path.Join(path.Dir(name), string(found[1]))
			if _, err := fs.Stat(files, target); err != nil {
				t.Errorf("%s imports %s: %v", name, found[1], err)
			}
		}
		for _, forbidden := range []string{"innerHTML", "eval(", "new Function", "insertAdjacentHTML", "http://", "https://"} {
			if bytes.Contains(bytes.ReplaceAll(data, []byte("http://www.w3.org/2000/svg"), nil), []byte(forbidden)) {
				t.Errorf("%s has %q in it", name, forbidden)
			}
		}
		return nil
	})
	if err != nil || modules < 20 {
		t.Fatalf("%d modules: %v", modules, err)
	}
}

func TestAnswers(t *testing.T) {
	h := Handler()
	s, err := load()
	if err != nil {
		t.Fatal(err)
	}
	at := "/v/" + s.version + "/"
	for name, tc := range map[string]struct {
		method, target string
		header         []string
		status         int
		want           map[string]string
	}{
		"page":            {"GET", "/", nil, 200, map[string]string{"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}},
		"module":          {"GET", at + "views/loans.js", nil, 200, map[string]string{"Content-Type": "text/javascript; charset=utf-8", "Content-Security-Policy": policy}},
		"style":           {"GET", at + "style.css", nil, 200, map[string]string{"Content-Type": "text/css; charset=utf-8"}},
		"packed":          {"GET", at + "style.css", []string{"Accept-Encoding", "gzip, br"}, 200, map[string]string{"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}},
		"head":            {"HEAD", "/", nil, 200, nil},
		"post":            {"POST", "/", nil, 405, map[string]string{"Allow": "GET, HEAD"}},
		"another version": {"GET", "/v/0000000000000000/style.css", nil, 404, map[string]string{"Content-Security-Policy": policy}},
		"no version":      {"GET", "/style.css", nil, 404, nil},
		"above":           {"GET", at + "../ui.go", nil, 404, nil},
		"source":          {"GET", at + "ui.go", nil, 404, nil},
		"folder":          {"GET", at, nil, 404, nil},
		"known":           {"GET", "/", []string{"If-None-Match", s.assets[""].tag}, 304, map[string]string{"ETag": s.assets[""].tag}},
	} {
		t.Run(name, func(t *testing.T) {
			r := ask(t, h, tc.method, tc.target, tc.header...)
			if r.StatusCode != tc.status {
				t.Errorf("status %d, want %d", r.StatusCode, tc.status)
			}
			for field, want := range tc.want {
				if got := r.Header.Get(field); got != want {
					t.Errorf("%s is %q, want %q", field, got, want)
				}
			}
			if text := body(t, r); tc.method == "HEAD" && text != "" {
				t.Errorf("HEAD has a body of %d bytes", len(text))
			}
		})
	}
}

func TestPackedIsTheSame(t *testing.T) {
	h := Handler()
	r, err := gzip.NewReader(ask(t, h, "GET", "/", "Accept-Encoding", "gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if plain := body(t, ask(t, h, "GET", "/")); plain != string(packed) {
		t.Errorf("packed and plain differ: %d and %d bytes", len(packed), len(plain))
	}
}

// Nothing is written into the page that its policy forbids.
func TestThePageKeepsItsPolicy(t *testing.T) {
	page := body(t, ask(t, Handler(), "GET", "/"))
	for _, forbidden := range []string{"<style", "style=", "onclick", "onload", "javascript:", "<script>"} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %q in it", forbidden)
		}
	}
}

// A change of any file is another version.
func TestVersions(t *testing.T) {
	site := func(style string) string {
		s, err := read(fstest.MapFS{"index.html": {Data: []byte(`<link href="./style.css">`)}, "style.css": {Data: []byte(style)}})
		if err != nil {
			t.Fatal(err)
		}
		return s.version
	}
	if site("a") == site("b") {
		t.Error("two styles have one version")
	}
	if first, again := site("a"), site("a"); first != again {
		t.Error("one style has two versions")
	}
	if _, err := read(fstest.MapFS{"style.css": {Data: []byte("a")}}); err == nil {
		t.Error("a site without a page is taken")
	}
}
