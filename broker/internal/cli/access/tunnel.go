package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// portForward is the one protocol that the API server speaks to a pod's ports.
const portForward = "portforward.k8s.io"

// tunnel is a connection to a port of a pod's loopback interface, through the
// API server, as kubectl port-forward makes one; but nothing listens locally.
type tunnel struct {
	data    httpstream.Stream
	streams httpstream.Connection
	// refused has what the node says if the pod's port cannot be reached, and is
	// closed if that goes well.
	refused chan error
	pod     string
}

// dialPod opens a connection to a port of a pod.
func dialPod(ctx context.Context, config *rest.Config, namespace, pod string, port int) (net.Conn, error) {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("read the API server's address: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("prepare a connection to %s: %w", server, err)
	}
	target := server.JoinPath("api", "v1", "namespaces", url.PathEscape(namespace), "pods", url.PathEscape(pod), "portforward")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("prepare a connection to pod %s/%s: %w", namespace, pod, err)
	}
	streams, protocol, err := spdy.NegotiateStreaming(upgrader, &http.Client{Transport: transport}, request, portForward)
	if err != nil {
		return nil, fmt.Errorf("connect to pod %s/%s: %w", namespace, pod, err)
	}
	if protocol != portForward {
		return nil, errors.Join(fmt.Errorf("connect to pod %s/%s: the API server speaks %q, not %s", namespace, pod, protocol, portForward), streams.Close())
	}
	t := &tunnel{streams: streams, refused: make(chan error, 1), pod: namespace + "/" + pod}
	if err := t.open(port); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to pod %s: %w", t.pod, err), streams.Close())
	}
	return t, nil
}

// open makes the two streams of one connection: its data, and what went wrong.
func (t *tunnel) open(port int) error {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	faults, err := t.streams.CreateStream(headers)
	if err != nil {
		return err
	}
	if err := faults.Close(); err != nil { // this side has nothing to say there
		return err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	if t.data, err = t.streams.CreateStream(headers); err != nil {
		return err
	}
	go func() {
		defer close(t.refused)
		// An error here is the connection's own, which Read reports as well.
		if text, _ := io.ReadAll(faults); len(text) > 0 {
			t.refused <- &portError{pod: t.pod, text: string(text)}
		}
	}()
	return nil
}

// Read implements net.Conn. Where the data ends because the port could not be
// reached, the error says so.
func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.data.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		if refused := <-t.refused; refused != nil {
			return 0, refused
		}
	}
	return n, err
}

// Write implements net.Conn.
func (t *tunnel) Write(p []byte) (int, error) { return t.data.Write(p) }

// Close implements net.Conn. It ends all reads.
func (t *tunnel) Close() error { return t.streams.Close() }

// LocalAddr implements net.Conn; a tunnel has no address.
func (t *tunnel) LocalAddr() net.Addr { return address(t.pod) }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return address(t.pod) }

// SetDeadline and the two below are not supported and do nothing: a request is
// ended by its context, which closes the tunnel.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing, see SetDeadline.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, see SetDeadline.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }

// portError is what a node says of a pod's port that cannot be reached.
type portError struct{ pod, text string }

// Error names the pod.
func (e *portError) Error() string { return fmt.Sprintf("pod %s: %s", e.pod, e.text) }

// address is a pod's namespace/name.
type address string

// Network is "pod".
func (address) Network() string { return "pod" }

// String is namespace/name.
func (a address) String() string { return string(a) }
