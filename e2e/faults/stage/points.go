package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Points are the failpoints of one program. Who reaches one that is armed stands there until
// the process is killed.
type Points struct{ addr string }

const (
	// standstill is how long a program stands at a point: for ever, as far as a round goes.
	standstill = "sleep(600000)"
	// pointEvery is how often it is looked whether a point was reached.
	pointEvery = 5 * time.Millisecond
	// pointCall bounds one call, upAgain how long a program may take until it listens.
	pointCall = 2 * time.Second
	upAgain   = 20 * time.Second
)

// Arm lets the program stand still where the point is. It waits for one that is being
// started.
func (p *Points) Arm(ctx context.Context, name string) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, pointEvery, upAgain, true, func(ctx context.Context) (bool, error) {
		_, err := p.call(ctx, http.MethodPut, name, standstill)
		if err == nil || ctx.Err() == nil || last == nil { // that the time is over tells less than what was answered
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("arm failpoint %s: %w: %w", name, err, last)
	}
	return nil
}

// Await waits until the program stands at the point, and tells whether it came to that.
func (p *Points) Await(ctx context.Context, name string, within time.Duration) bool {
	err := wait.PollUntilContextTimeout(ctx, pointEvery, within, true, func(ctx context.Context) (bool, error) {
		count, err := p.call(ctx, http.MethodGet, name+"/count", "")
		return err == nil && count != "" && count != "0", nil
	})
	return err == nil
}

// Disarm lets the program pass. That it cannot be told so, because it is gone, is no error.
func (p *Points) Disarm(ctx context.Context, name string) {
	_, _ = p.call(ctx, http.MethodDelete, name, "")
}

func (p *Points) call(ctx context.Context, method, path, body string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pointCall)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+p.addr+"/"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return "", fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(answer)))
	}
	return strings.TrimSpace(string(answer)), nil
}
