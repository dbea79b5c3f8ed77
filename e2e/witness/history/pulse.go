package history

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

const (
	// missed is how long the API server may not answer until it is taken for silent, and
	// catching how long it has after a silence to tell what happened before and in it.
	missed, catching = 500 * time.Millisecond, 3 * time.Second
	// beatWithin is how long one question may take.
	beatWithin = time.Second
)

// pulse knows when the API server was silent: killed, frozen or not to be watched. What is
// received after that may have happened long before.
type pulse struct {
	mu sync.Mutex
	// answered is when a question was asked last that was answered while all was watched.
	answered time.Time
	// from and until are the last silence.
	from, until time.Time
}

// beat asks again and again until ctx ends.
func (p *pulse) beat(ctx context.Context, client rest.Interface, blind func() string) {
	for ctx.Err() == nil {
		asked := time.Now()
		within, cancel := context.WithTimeout(ctx, beatWithin)
		_, err := client.Get().AbsPath("/livez").DoRaw(within)
		cancel()
		if (err == nil || apierrors.IsNotFound(err)) && blind() == "" {
			p.answer(asked, time.Now())
		}
		pause(ctx, tick)
	}
}

func (p *pulse) answer(asked, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.answered.IsZero() && now.Sub(p.answered) > missed {
		// A silence that begins while another is caught up with is the same.
		if now.Sub(p.until) > catching {
			p.from = p.answered
		}
		p.until = now
	}
	p.answered = asked
}

// since is the earliest time at which something can have happened that is received now.
func (p *pulse) since(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.until.IsZero() && now.Sub(p.until) <= catching:
		return p.from
	case !p.answered.IsZero() && now.Sub(p.answered) > missed:
		return p.answered
	default:
		return now
	}
}
