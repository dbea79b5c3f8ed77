package witness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
)

const (
	// look is how often Settle looks.
	look = 200 * time.Millisecond
	// answerWithin is how soon the API server has to answer to be thought alive.
	answerWithin = 2 * time.Second
)

// Settle waits until the cluster is as it should be, and stays so: no loan on its way, no pod
// waiting for units that it could have, and no write by the Actors for silence, but for Leases,
// Events, and when jobs of a queue may start. It returns how long that took until the silence
// began, up to a second too much. If it took longer than within, the error says what was not as
// it should be.
func (w *Witness) Settle(ctx context.Context, within, silence time.Duration) (took time.Duration, err error) {
	began := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	moved, why := began, "nothing was seen"
	w.note("")
	for {
		now := time.Now()
		at, what, err := w.lastMove(ctx, now)
		if err != nil {
			return 0, err
		}
		if at.After(moved) {
			moved, why = at, what
			w.note(what)
		}
		took = moved.Sub(began)
		if took > within {
			return took, fmt.Errorf("not settled within %s: %s", within, why)
		}
		if now.Sub(moved) >= max(silence, hold+look) { // what is held back was looked at too
			return took, nil
		}
		select {
		case <-ctx.Done():
			return took, fmt.Errorf("wait until the cluster has settled: %w; last: %s", context.Cause(ctx), why)
		case <-tick.C:
		}
	}
}

func (w *Witness) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = what
}

// Moved is what the last Settle saw last that was not as it should be; empty: nothing.
func (w *Witness) Moved() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.moved
}

// lastMove is the last moment until now at which something was known not to be as it should
// be.
func (w *Witness) lastMove(ctx context.Context, now time.Time) (at time.Time, what string, err error) {
	if why := w.blind(ctx); why != "" {
		return now, why, nil
	}
	w.mu.Lock()
	unsettled := w.world.Unsettled()
	at, what = w.world.Stirred()
	w.mu.Unlock()
	if len(unsettled) > 0 {
		return now, strings.Join(unsettled[:min(5, len(unsettled))], "; "), nil
	}
	if what != "" {
		what = "queue " + what + " has another status"
	}
	writes, err := w.tail.Writes(w.byActors)
	if err != nil {
		return at, "", err
	}
	for i := range writes {
		if x := &writes[i]; x.Outcome() != auditlog.Refused && x.Asked.After(at) {
			at, what = x.Asked, x.String()
		}
	}
	return at, what, nil
}

// blind says why nothing can be learned from what is seen; empty: it can.
func (w *Witness) blind(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	if _, err := w.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return fmt.Sprintf("the API server is not ready: %v", err)
	}
	if kind := w.watcher.Blind(); kind != "" {
		return kind + " are not watched at the moment"
	}
	if w.opts.Alive == nil {
		return ""
	}
	if err := w.opts.Alive(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// byActors tells whether a write is one whose end is waited for. When jobs may start is
// estimated anew every 15 seconds, as long as some wait: what else a queue's status says is
// looked at where it is seen.
func (w *Witness) byActors(x *auditlog.Write) bool {
	return slices.Contains(w.opts.Actors, x.User) && (x.Resource != "trainingqueues" || x.Subresource != "status")
}
