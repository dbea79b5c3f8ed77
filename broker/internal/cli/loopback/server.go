package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// What the listener is ready to bear.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// Server serves the page.
type Server struct {
	// Broker sends requests to the broker, by their paths.
	Broker http.RoundTripper
	// Port to listen on; 0: any that is free.
	Port uint16
	// Say tells who runs it why the broker does not answer, and that it does again.
	Say func(format string, args ...any)
}

// Run serves until ctx ends, and calls ready with the page's address when a browser can have it.
func (s *Server) Run(ctx context.Context, ready func(address string)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.Port))))
	if err != nil {
		return fmt.Errorf("serve the dashboard: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return errors.Join(fmt.Errorf("serve the dashboard: %w", err), listener.Close())
	}
	quiet := log.New(io.Discard, "", 0) // what goes wrong is said, once, by Say
	server := &http.Server{
		Handler:           ours(port, pass(s.Broker, &news{say: s.Say}, quiet)),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: quiet,
	}
	// Who watches would be waited for an hour.
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	ready("http://" + net.JoinHostPort("127.0.0.1", port) + "/ui/")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the dashboard: %w", err)
	}
	return nil
}

// news says each thing once.
type news struct {
	say  func(format string, args ...any)
	mu   sync.Mutex
	last string
}

// tell says why the broker does not answer; nil: it does.
func (n *news) tell(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == n.last {
		return
	}
	n.last = text
	if err == nil {
		n.say("the broker answers again")
		return
	}
	n.say("%s", text)
}
