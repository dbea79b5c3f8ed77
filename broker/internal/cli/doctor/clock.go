package doctor

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// told is what the API server says of the time, which it does with every answer, to a second.
type told struct {
	clock clock.PassiveClock

	mu     sync.Mutex
	offset time.Duration
	known  bool
}

// by listens to all that comes through a transport.
func (t *told) by(next http.RoundTripper) http.RoundTripper { return listener{next, t} }

// ahead is how far the API server's clock is ahead of the caller's; false if it has said nothing.
func (t *told) ahead() (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.offset, t.known
}

type listener struct {
	http.RoundTripper
	told *told
}

// RoundTrip implements http.RoundTripper.
func (l listener) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	at, bad := http.ParseTime(answer.Header.Get("Date"))
	if bad != nil {
		return answer, nil
	}
	offset := at.Sub(l.told.clock.Now().Truncate(time.Second))
	if offset.Abs() <= time.Second { // no more than what the header leaves out, and the way here takes
		offset = 0
	}
	l.told.mu.Lock()
	defer l.told.mu.Unlock()
	l.told.offset, l.told.known = offset, true
	return answer, nil
}

// apart is how far two clocks may be apart before it matters: leases are renewed more often than
// that, and tokens are valid from the second on in which they are made.
const apart = 5 * time.Second

// clock compares the caller's with the API server's, by which the ages of leases, heartbeats and
// decisions are told in the other checks.
func (c *Cluster) clock(context.Context) Finding {
	ahead, known := c.Ahead()
	switch {
	case !known:
		return unknown("see the check kubernetes; ages are told by your clock", "the API server does not say what time it is")
	case ahead > apart:
		return warn("set your clock; what is told here is by the API server's", "yours is %s behind the API server's", ahead)
	case ahead < -apart:
		return warn("set your clock; what is told here is by the API server's", "yours is %s ahead of the API server's", -ahead)
	}
	return ok("yours and the API server's are less than %s apart", apart)
}
