package nvml_test

import (
	"errors"
	"testing"

	"github.com/ebbtide/ebbtide/mig/nvml"
)

// TestOpenWithoutDriver opens what this machine has, which in most places is nothing.
// The process must live on either way, more than once.
func TestOpenWithoutDriver(t *testing.T) {
	for range 2 {
		d, err := nvml.Open()
		if err == nil {
			if err := d.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			continue
		}
		if !errors.Is(err, nvml.ErrUnavailable) {
			t.Errorf("Open gave %v, want ErrUnavailable", err)
		}
	}
}
