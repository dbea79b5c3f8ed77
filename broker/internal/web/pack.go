package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

const (
	// leastPacked is how long an answer is that is worth being packed.
	leastPacked = 2 << 10
	// packers is how many are packed at a time.
	packers = 2
)

// packing is an answer to who takes it packed. A page that is open reads the same rows after
// each decision; packed they are a tenth.
type packing struct {
	http.ResponseWriter
	room chan struct{}
}

// Unwrap is for http.ResponseController.
func (p *packing) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// packed lets what is served be packed for who takes that.
func packed(room chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if takesGzip(r.Header.Get("Accept-Encoding")) {
			w = &packing{w, room}
		}
		next.ServeHTTP(w, r)
	})
}

// takesGzip reads an Accept-Encoding.
func takesGzip(accepted string) bool {
	for part := range strings.SplitSeq(accepted, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			weight = strings.TrimRight(strings.ReplaceAll(weight, " ", ""), "0")
			return weight != "q=" && weight != "q=0."
		}
	}
	return false
}

var writers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // there is that level
	return w
}}

// pack is done before anything is sent, so that who reads slowly keeps no writer.
func (p *packing) pack(data []byte) []byte {
	p.room <- struct{}{}
	defer func() { <-p.room }()
	w := writers.Get().(*gzip.Writer)
	defer writers.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	_, _ = w.Write(data) // a buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// send answers with JSON.
func send(w http.ResponseWriter, status int, data []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Vary", "Accept-Encoding")
	if p, takes := w.(*packing); takes && len(data) >= leastPacked {
		header.Set("Content-Encoding", "gzip")
		data = p.pack(data)
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client has gone if this fails
}
