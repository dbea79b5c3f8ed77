// Package termtest has a terminal for tests.
package termtest

import (
	"bytes"
	"sync"
)

// Screen is a terminal that remembers what was written, and tells of it.
type Screen struct {
	// Wrote has one for each write that holds the text that was asked for. Ten are kept.
	Wrote <-chan struct{}

	holds []byte
	wrote chan<- struct{}
	mu    sync.Mutex
	text  bytes.Buffer
}

// NewScreen tells of writes that hold a text; of all, if it is empty.
func NewScreen(holds string) *Screen {
	wrote := make(chan struct{}, 10)
	return &Screen{Wrote: wrote, wrote: wrote, holds: []byte(holds)}
}

// Terminal says that it is one.
func (s *Screen) Terminal() bool { return true }

// Write implements io.Writer.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	n, err := s.text.Write(p)
	s.mu.Unlock()
	if bytes.Contains(p, s.holds) {
		s.wrote <- struct{}{}
	}
	return n, err
}

// Text is all that was written.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
