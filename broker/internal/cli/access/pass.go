package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// silence is how long a broker may take to begin with an answer: it ends its own after a minute.
const silence = 75 * time.Second

// errSilent ends a request.
var errSilent = fmt.Errorf("no answer within %s", silence)

// HasPage asks whether the broker can be reached and serves the dashboard. ErrOlder if it does
// not.
func (b *Broker) HasPage(ctx context.Context) error {
	_, err := b.fetch(ctx, "/ui/", nil)
	return err
}

// Verified tells whether what is asked is known to be the broker, and nobody else listens: over
// TLS, or through the API server.
func (b *Broker) Verified() bool { return strings.HasPrefix(b.base, "https:") }

// RoundTrip implements http.RoundTripper, for many goroutines: it sends somebody's request to
// the broker, whatever host its URL names. Errors are those of the other methods, and answers
// are as the broker gave them, with as long as they take.
func (b *Broker) RoundTrip(r *http.Request) (*http.Response, error) {
	base, err := url.Parse(b.base)
	if err != nil {
		return nil, fmt.Errorf("ask the broker: %w", err)
	}
	// Nobody has to end it once there is an answer: it ends with the request's own.
	ctx, end := context.WithCancelCause(r.Context())
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.URL.Path, out.URL.RawPath, out.Host = base.Scheme, base.Host, base.Path+r.URL.Path, "", base.Host
	timer := time.AfterFunc(silence, func() { end(errSilent) })
	defer timer.Stop()
	transport := b.client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	response, err := transport.RoundTrip(out)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
			err = cause
		}
		return nil, b.failed(r.Context(), err)
	}
	if response.StatusCode == http.StatusServiceUnavailable {
		response.Body = &last{response.Body, b.client.CloseIdleConnections}
	}
	return response, nil
}

// last is an answer of one that may not lead any more: the next question is asked on a new
// connection, which is made to who leads. The one it came on is idle once it is read.
type last struct {
	io.ReadCloser
	forget func()
}

// Close closes what is idle, too.
func (l *last) Close() error {
	err := l.ReadCloser.Close()
	l.forget()
	return err
}
