// Package term is what a terminal has and a pipe does not: colours, a line that says what is
// being waited for, and a screen that is drawn again.
//
// It promises that what goes into a pipe or a file has none of them, not one byte, unless it
// is asked for by hand; and that colours only repeat what words say already.
package term

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Is tells whether w is a terminal. A writer that is no file may say so by a method Terminal.
func Is(w io.Writer) bool {
	switch w := w.(type) {
	case interface{ Terminal() bool }:
		return w.Terminal()
	case *os.File:
		info, err := w.Stat()
		return err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return false
}

// Palette paints words, if it is On.
type Palette struct{ On bool }

// Good is for what is as it must be. What a colour says, the words it paints say too.
func (p Palette) Good(text string) string { return p.paint("32", text) }

// Warn is for what somebody should look at.
func (p Palette) Warn(text string) string { return p.paint("33", text) }

// Bad is for what is broken.
func (p Palette) Bad(text string) string { return p.paint("31", text) }

// Dim is for what matters less.
func (p Palette) Dim(text string) string { return p.paint("2", text) }

// Bold is for titles.
func (p Palette) Bold(text string) string { return p.paint("1", text) }

func (p Palette) paint(code, text string) string {
	if !p.On || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Home clears a screen and begins at its top.
const Home = "\x1b[H\x1b[2J"

// Patience is how long something may take without a word about it.
const Patience = time.Second

// Working says on a terminal what is being waited for, once that takes longer than Patience;
// elsewhere nothing. done takes the line away, and may be called twice.
func Working(to io.Writer, c clock.WithTicker, what string) (done func()) {
	if !Is(to) {
		return func() {}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	began, tick := c.Now(), c.NewTicker(Patience)
	go func() {
		defer close(ended)
		defer tick.Stop()
		width := 0
		for {
			select {
			case <-stop:
				if width > 0 {
					fmt.Fprintf(to, "\r%*s\r", width, "")
				}
				return
			case <-tick.C():
				text := fmt.Sprintf("%s (%s) ...", what, c.Since(began).Round(time.Second))
				width = max(width, len(text))
				fmt.Fprintf(to, "\r%-*s", width, text)
			}
		}
	}()
	return sync.OnceFunc(func() { close(stop); <-ended })
}
