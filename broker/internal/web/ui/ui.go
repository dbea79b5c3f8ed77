// Package ui is the dashboard that the broker serves: the files of this folder, as they
// stand here.
//
// It promises that what is served holds no data, so that anybody may have it; that a browser
// runs nothing but these files, asks nobody but the broker, and shows the page in no other
// page's frame; and that a browser which has a file of this version never asks for it again,
// and never runs it beside files of another. It refuses methods that change something.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed index.html *.css *.js *.svg parts/*.js views/*.js
var files embed.FS

// policy is the Content-Security-Policy of every answer: no script or style but from here,
// and none that text could turn into. Nothing may frame the page, and no form leaves it.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// asset is a file, ready to be sent.
type asset struct {
	plain, packed []byte
	kind, tag     string
}

// site is all of them by their path, index.html by the empty one, and the version of the
// whole: a sum over all paths and bytes.
type site struct {
	assets  map[string]*asset
	version string
}

var load = sync.OnceValues(func() (*site, error) { return read(files) })

// Handler serves the dashboard; the page itself is at "/", so what is before that in the URL
// is to be stripped. It panics if the program was built without the page.
func Handler() http.Handler {
	s, err := load()
	if err != nil {
		panic(err)
	}
	return http.HandlerFunc(s.serve)
}

func read(from fs.FS) (*site, error) {
	s := &site{assets: map[string]*asset{}}
	sum := sha256.New()
	err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		s.assets[name], err = newAsset(name, data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the dashboard's files: %w", err)
	}
	s.version = hex.EncodeToString(sum.Sum(nil))[:16]
	page := s.assets["index.html"]
	if page == nil {
		return nil, fmt.Errorf("read the dashboard's files: there is no index.html")
	}
	// What the page loads is below a folder named by the version, and so is what that
	// imports, as imports are relative.
	fresh := bytes.ReplaceAll(page.plain, []byte(`="./`), []byte(`="./v/`+s.version+`/`))
	if s.assets[""], err = newAsset("index.html", fresh); err != nil {
		return nil, err
	}
	delete(s.assets, "index.html")
	return s, nil
}

func newAsset(name string, data []byte) (*asset, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, _ = w.Write(data) // a buffer takes all
	if err := w.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return &asset{plain: data, packed: packed.Bytes(), kind: kinds[path.Ext(name)], tag: `"` + hex.EncodeToString(sum[:8]) + `"`}, nil
}

// kinds are those of the files here; the machine's own list may differ.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the dashboard only reads", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	a := s.find(name)
	if a == nil {
		http.Error(w, "the dashboard has no such file; it may be of another version: load the page again", http.StatusNotFound)
		return
	}
	header.Set("Content-Type", a.kind)
	header.Set("ETag", a.tag)
	header.Set("Vary", "Accept-Encoding")
	header.Set("Cache-Control", "no-cache")
	if name != "" {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if strings.Contains(r.Header.Get("If-None-Match"), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = a.packed
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the client has gone if this fails
	}
}

// find is the page, or a file of this version.
func (s *site) find(name string) *asset {
	if name == "" {
		return s.assets[""]
	}
	name, ok := strings.CutPrefix(name, "v/"+s.version+"/")
	if !ok || name == "" {
		return nil
	}
	return s.assets[name]
}
