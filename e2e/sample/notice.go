package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// annotationReclaimBy is on a pod whose units are being taken back: until when.
const annotationReclaimBy = "ebbtide.dev/reclaim-by"

// Where a notice came from.
const (
	sourceFile = "annotation"
	sourceHook = "hook"
)

// notice is that the units will be taken back.
type notice struct {
	source string
	by     time.Time
}

// mostHook bounds what a call of the hook may say.
const mostHook = 4 << 10

// readDeadline reads the file that a downward API volume makes of the pod's
// annotations, lines of key="value". The zero time: nothing is taken back.
func readDeadline(path string) (time.Time, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the annotations: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		key, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if key != annotationReclaimBy {
			continue
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return time.Time{}, fmt.Errorf("read annotation %s: %s: %w", key, quoted, err)
		}
		by, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return time.Time{}, fmt.Errorf("read annotation %s: %w", key, err)
		}
		return by, nil
	}
	return time.Time{}, nil
}

// watchAnnotations looks at the file until ctx ends, and sends each new deadline.
func watchAnnotations(ctx context.Context, path string, every time.Duration, to chan<- notice, warn func(error)) {
	var last time.Time
	for ticker := time.NewTicker(every); ; {
		by, err := readDeadline(path)
		switch {
		case err != nil:
			warn(err)
		case !by.Equal(last) && !by.IsZero():
			select {
			case to <- notice{sourceFile, by}:
			case <-ctx.Done():
			}
		}
		if err == nil {
			last = by
		}
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		}
	}
}

// serveHook listens on the address until ctx ends. The caller of the hook does not
// wait for the checkpoint.
func serveHook(ctx context.Context, address string, to chan<- notice, warn func(error)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for the hook: %w", err)
	}
	server := &http.Server{
		ReadHeaderTimeout: 2 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answerHook(w, r, to) }),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			warn(fmt.Errorf("serve the hook: %w", err))
		}
	}()
	return nil
}

func answerHook(w http.ResponseWriter, r *http.Request, to chan<- notice) {
	if r.Method != http.MethodPost {
		http.Error(w, "only POST", http.StatusMethodNotAllowed)
		return
	}
	var body struct {
		ReclaimBy time.Time `json:"reclaimBy"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, mostHook)).Decode(&body); err != nil || body.ReclaimBy.IsZero() {
		http.Error(w, "reclaimBy: must be a time", http.StatusBadRequest)
		return
	}
	select {
	case to <- notice{sourceHook, body.ReclaimBy}:
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}
