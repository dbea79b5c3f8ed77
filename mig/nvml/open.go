package nvml

import (
	"context"
	"errors"

	"github.com/ebbtide/ebbtide/mig/device"
)

// ErrUnavailable: there is no driver that this program could ask. Nothing was called,
// and Open may be tried again.
var ErrUnavailable = errors.New("NVIDIA's driver is not available")

// GPUs is a node's GPUs as NVIDIA's driver has them.
type GPUs interface {
	device.Driver
	device.Describer
	// Probe reads all that there is to know, and writes nothing.
	Probe(ctx context.Context) (Reading, error)
	// Close lets go of the driver. No call may follow.
	Close() error
}
