package history

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// askWithin is how long one question may take.
const askWithin = time.Second

// clock knows between when revisions were made, by asking again and again which is the last.
// What an answer does not cover was made after the question, and what it covers before the
// answer, however long the watches take to tell of it, and whether or not the API server was
// there in between.
type clock struct {
	began time.Time // when the watching did

	mu    sync.Mutex
	reads []reading
}

// reading is one last revision: when it was first said to be, and when it was last asked.
type reading struct {
	revision        uint64
	asked, answered time.Time
}

// run asks until ctx ends.
func (c *clock) run(ctx context.Context, client rest.Interface) {
	for ctx.Err() == nil {
		c.ask(ctx, client)
		pause(ctx, tick)
	}
}

// ask asks once. An API server that does not answer says nothing about time.
func (c *clock) ask(ctx context.Context, client rest.Interface) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if revision, err := lastRevision(ctx, client); err == nil {
		c.answer(revision, asked, time.Now())
	}
}

// lastRevision reads the last revision of all kinds: a list that is asked for without one is
// never older than the question.
func lastRevision(ctx context.Context, client rest.Interface) (uint64, error) {
	text, err := client.Get().AbsPath("/api/v1/namespaces").Param("limit", "1").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the last revision: %w", err)
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return 0, fmt.Errorf("read the last revision: %w", err)
	}
	return strconv.ParseUint(list.Metadata.ResourceVersion, 10, 64)
}

func (c *clock) answer(revision uint64, asked, answered time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.reads); n > 0 && c.reads[n-1].revision >= revision {
		if c.reads[n-1].revision == revision {
			c.reads[n-1].asked = asked
		}
		return
	}
	c.reads = append(c.reads, reading{revision, asked, answered})
}

// set says between when the event happened, as far as is known.
func (c *clock) set(e *Event) {
	first, last := e.Revision, e.Revision
	if e.Unseen {
		first = e.after + 1
	}
	if e.Unseen && e.Deleted {
		last = e.Until
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch i := c.from(first); {
	case i > 0:
		e.Since = c.reads[i-1].asked
	case !e.Initial: // else a first question that nobody answered would leave all times open
		e.Since = c.began
	}
	if i := c.from(last); i < len(c.reads) && c.reads[i].answered.Before(e.At) {
		e.At = c.reads[i].answered
	}
}

// from returns the first of the answers that covers the revision; len(c.reads) if none does.
func (c *clock) from(revision uint64) int {
	i, _ := slices.BinarySearchFunc(c.reads, revision, func(r reading, revision uint64) int { return cmp.Compare(r.revision, revision) })
	return i
}
