//go:build !(linux && amd64)

package trace

import (
	"context"
	"fmt"
	"runtime"
)

// Run fails: see the package.
func Run(context.Context, []string, []string, string, *Fault) (*Record, error) {
	return nil, fmt.Errorf("%w: it needs Linux on amd64, and this is %s on %s", ErrUnavailable, runtime.GOOS, runtime.GOARCH)
}
