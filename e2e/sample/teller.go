package sample

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// annotationLastCheckpoint on the pod says when its work was last saved.
	annotationLastCheckpoint = "ebbtide.dev/last-checkpoint"
	tellTimeout              = 5 * time.Second
)

// Pod is the pod that the program runs in, and how it speaks to the API server.
type Pod struct {
	// Server is the API server's URL.
	Server string
	// Account is the folder of the pod's service account: token and ca.crt.
	Account string
	// Namespace, Name and UID are the pod's own.
	Namespace, Name, UID string
}

// teller writes on the program's own pod when its work was last saved. It never
// holds up the training: of several times that wait, the newest is told.
type teller struct {
	pod    Pod
	client *http.Client
	next   chan time.Time
}

func newTeller(pod Pod) (*teller, error) {
	pem, err := os.ReadFile(filepath.Join(pod.Account, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the API server's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("read the API server's authority: ca.crt holds no certificate")
	}
	return &teller{
		pod: pod, next: make(chan time.Time, 1),
		client: &http.Client{
			Timeout:   tellTimeout,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		},
	}, nil
}

// saved has a time told, soon. One goroutine may call it.
func (t *teller) saved(at time.Time) {
	if t == nil {
		return
	}
	select {
	case <-t.next:
	default:
	}
	t.next <- at
}

// run tells until ctx ends. told is called with each time that stands on the pod.
func (t *teller) run(ctx context.Context, told func(time.Time), warn func(error)) {
	defer t.client.CloseIdleConnections()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-t.next:
			if err := t.tell(ctx, at); err == nil {
				told(at)
			} else if ctx.Err() == nil {
				warn(err)
			}
		}
	}
}

// tell writes the annotation. The UID keeps it off a pod that has got the same name
// since.
func (t *teller) tell(ctx context.Context, at time.Time) error {
	// Tokens are replaced from time to time.
	token, err := os.ReadFile(filepath.Join(t.pod.Account, "token"))
	if err != nil {
		return fmt.Errorf("tell the last checkpoint: %w", err)
	}
	body := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}}}`,
		t.pod.UID, annotationLastCheckpoint, at.UTC().Format(time.RFC3339))
	url := strings.TrimSuffix(t.pod.Server, "/") + "/api/v1/namespaces/" + t.pod.Namespace + "/pods/" + t.pod.Name
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return fmt.Errorf("tell the last checkpoint: %w", err)
	}
	request.Header.Set("Content-Type", "application/merge-patch+json")
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	answer, err := t.client.Do(request)
	if err != nil {
		return fmt.Errorf("tell the last checkpoint: %w", err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("tell the last checkpoint: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("tell the last checkpoint: %s: %.200s", answer.Status, said)
	}
	return nil
}
