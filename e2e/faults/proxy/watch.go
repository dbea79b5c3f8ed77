package proxy

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// watch is one that is open.
type watch struct {
	call
	body io.Closer

	mu   sync.Mutex
	hold chan struct{} // closed when events may go on; nil: they may
	cut  bool
	ends *time.Timer
}

// struck does to the watch what a rule says.
func (w *watch) struck(rule Rule) {
	switch rule.Fault {
	case HoldWatch:
		w.mu.Lock()
		defer w.mu.Unlock()
		hold, before := make(chan struct{}), w.hold
		if before != nil {
			w.ends.Stop()
			defer close(before) // whoever waits for it waits for the next one
		}
		w.hold = hold
		w.ends = time.AfterFunc(rule.For, func() { w.releaseOf(hold) })
	case CutWatch, Refuse:
		w.end()
	}
}

// end ends the stream, in the midst of it.
func (w *watch) end() {
	w.mu.Lock()
	w.cut = true
	w.mu.Unlock()
	_ = w.body.Close() // the reader sees it
	w.release()
}

// release lets held events go on.
func (w *watch) release() {
	w.mu.Lock()
	hold := w.hold
	w.mu.Unlock()
	w.releaseOf(hold)
}

// releaseOf ends one hold, unless another has followed it.
func (w *watch) releaseOf(hold chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if hold == nil || w.hold != hold {
		return
	}
	w.ends.Stop()
	close(hold)
	w.hold = nil
}

// free returns whether the events may go on, or else what to wait for.
func (w *watch) free() (ok, cut bool, hold chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hold == nil, w.cut, w.hold
}

// stream passes a watch's events on as they come.
func (r *Rig) stream(out http.ResponseWriter, body io.ReadCloser, c call, rule *Rule) {
	w := &watch{call: c, body: body}
	r.mu.Lock()
	r.watches[w] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watches, w)
		r.mu.Unlock()
		w.release()
	}()
	if rule != nil && rule.Fault == CutWatch {
		t := time.AfterFunc(rule.For, w.end)
		defer t.Stop()
	} else if rule != nil {
		w.struck(*rule)
	}
	control := http.NewResponseController(out)
	buffer := make([]byte, 32<<10)
	if control.Flush() != nil {
		return
	}
	for {
		n, err := body.Read(buffer)
		if !w.pass(out, control, buffer[:n]) {
			panic(http.ErrAbortHandler) // the stream is cut, not over
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// pass writes what was read once it is free to go, and reports whether it went.
func (w *watch) pass(out io.Writer, control *http.ResponseController, data []byte) bool {
	for {
		ok, cut, hold := w.free()
		if cut {
			return false
		}
		if ok {
			break
		}
		<-hold
	}
	if len(data) == 0 {
		return true
	}
	if _, err := out.Write(data); err != nil {
		return false
	}
	return control.Flush() == nil
}
