package access

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// What one listener is ready to bear.
const (
	maxHeader      = 16 << 10
	maxConnections = 64
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = time.Minute
	idleTimeout    = 30 * time.Second
	// Readers have a moment to finish when the program ends.
	closeTimeout = 2 * time.Second
	// rereadEvery is how soon a changed certificate is noticed, at the latest.
	rereadEvery = 10 * time.Second
)

// Certificate is what a Server shows.
type Certificate struct {
	// CertFile and KeyFile as PEM; they are read again when they change. Both absent: the
	// certificate is self-signed, anew at each start.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// Server serves one listener until Start's ctx ends, on every replica of a program.
type Server struct {
	// Name is what it serves, for the log and errors.
	Name string
	// Address is host:port.
	Address string
	// Routes, and who keeps their rules.
	Guard  *Guard
	Routes []Route
	// Certificate to show, and the DNS name that a self-signed one is for.
	Certificate Certificate
	// Own is shown in place of either; whoever asks knows it otherwise.
	Own        *tls.Certificate
	ServerName string
	// Plain switches TLS off, for kubelets' probes alone: with any other route there is
	// nothing served.
	Plain bool
	// WriteTimeout bounds an answer; 0: a minute.
	WriteTimeout time.Duration
	// Connections bounds how many there are at a time; 0: 64.
	Connections int
	Log         logr.Logger

	// reread is rereadEvery but in tests; listening hears of the address.
	reread    time.Duration
	listening func(net.Addr)
}

// NeedLeaderElection is false: followers answer too.
func (*Server) NeedLeaderElection() bool { return false }

// Start listens until ctx ends. It implements a controller-runtime Runnable.
func (s *Server) Start(ctx context.Context) error {
	handler, err := s.handler()
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Name, err)
	}
	shown, err := s.tls(ctx)
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Name, err)
	}
	inner, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Name, err)
	}
	if s.listening != nil {
		s.listening(inner.Addr())
	}
	s.Log.Info("Serving", "what", s.Name, "address", inner.Addr().String(), "tls", !s.Plain)
	var listener net.Listener = &bounded{Listener: inner, room: make(chan struct{}, cmp.Or(s.Connections, maxConnections)), closed: make(chan struct{})}
	if shown != nil {
		listener = tls.NewListener(listener, shown)
	}
	server := &http.Server{
		Handler: handler, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: quiet(s.Log),
	}
	if s.WriteTimeout != 0 {
		server.WriteTimeout = s.WriteTimeout
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := server.Shutdown(soon); err != nil {
			stopped <- errors.Join(server.Close()) // who still reads is cut off
			return
		}
		stopped <- nil
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.Name, err)
	}
	return <-stopped
}

func (s *Server) handler() (http.Handler, error) {
	for _, r := range s.Routes {
		if s.Plain && r.Rule != Probe {
			return nil, fmt.Errorf("route %q has the rule %s, and who asks cannot show who he is without TLS", r.Pattern, r.Rule)
		}
	}
	return s.Guard.Handler(s.Routes)
}

// tls is what is shown to callers, who may show something too; nil for a plain server. HTTP/2
// is off: one connection of it carries many requests, which the number of connections would
// not bound.
func (s *Server) tls(ctx context.Context) (*tls.Config, error) {
	if s.Plain {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientAuth: tls.RequestClientCert}
	if s.Own != nil {
		c.Certificates = []tls.Certificate{*s.Own}
		return c, nil
	}
	if s.Certificate.CertFile == "" {
		s.Log.Info("The certificate is self-signed, as no certFile is given: callers cannot verify it", "what", s.Name)
		own, err := selfSigned(s.ServerName)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{own}
		return c, nil
	}
	watcher, err := certwatcher.New(s.Certificate.CertFile, s.Certificate.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	every := rereadEvery
	if s.reread != 0 {
		every = s.reread
	}
	watcher = watcher.WithWatchInterval(every)
	go func() {
		if err := watcher.Start(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error(err, "The certificate's files are not followed any more", "what", s.Name)
		}
	}()
	c.GetCertificate = watcher.GetCertificate
	return c, nil
}

func selfSigned(name string) (tls.Certificate, error) {
	if name == "" {
		name = "localhost"
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey(name, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, []string{"localhost"})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return pair, nil
}

// bounded accepts no more connections than there is room for; more wait to be accepted.
type bounded struct {
	net.Listener
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Accept waits for room, then for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.room <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &leaving{Conn: conn, leave: func() { <-b.room }}, nil
}

// Close ends all waiting.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// leaving makes room when it is closed.
type leaving struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close makes room once.
func (l *leaving) Close() error {
	err := l.Conn.Close()
	l.once.Do(l.leave)
	return err
}
