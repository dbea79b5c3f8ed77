//go:build !linux || !cgo

package nvml

import "fmt"

// Open says that there is no driver: this program was built without cgo, or for another
// system than Linux.
func Open() (GPUs, error) {
	return nil, fmt.Errorf("%w: this program was built without it (it needs Linux and CGO_ENABLED=1)", ErrUnavailable)
}
