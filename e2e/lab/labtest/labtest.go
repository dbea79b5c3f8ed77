// Package labtest runs a lab for the length of a test.
//
// It skips nothing: a lab needs no root, no container engine and no network, so a
// test that cannot start one has failed.
package labtest

import (
	"context"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// startLimit bounds the start of a lab, its builds left out: a busy machine is
// slow, but not for ever.
const startLimit = 5 * time.Minute

// buildLimit bounds the building of missing programs, from cold caches.
const buildLimit = 20 * time.Minute

// New starts a lab that stops when the test and its subtests have ended. The
// test fails if the lab cannot start, or if a part of it ends unasked. The lab's
// folder is kept when the test has failed. Progress goes to the test's log, but
// for opts.Logf.
func New(t testing.TB, opts lab.Options) *lab.Lab {
	t.Helper()
	if opts.Logf == nil {
		opts.Logf = t.Logf
	}
	build, cancel := context.WithTimeout(t.Context(), buildLimit)
	defer cancel()
	if _, err := lab.Programs(build, opts); err != nil {
		t.Fatal(err)
	}
	start, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	l, err := lab.Start(start, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.Keep()
		}
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Eventually polls condition until it reports true. The test fails, with the last
// message that condition returned, if that takes longer than within.
func Eventually(t testing.TB, within time.Duration, condition func(ctx context.Context) (ok bool, message string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	last := "nothing was seen"
	for {
		ok, message := condition(ctx)
		if ok {
			return
		}
		if ctx.Err() == nil {
			last = message
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, last)
		case <-ticker.C:
		}
	}
}
