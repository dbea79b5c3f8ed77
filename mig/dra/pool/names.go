package pool

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ebbtide/ebbtide/mig"
)

// Driver is the name of the driver, and the domain of its devices' attributes.
const Driver = "gpu.ebbtide.dev"

// Taints of devices. They keep the scheduler off, and end nothing.
const (
	// TaintLayout: the card's layout has another instance there.
	TaintLayout = Driver + "/not-in-layout"
	// TaintForeign: an instance that somebody else made is in the way.
	TaintForeign = Driver + "/foreign"
	// TaintUnhealthy: the GPU does not answer, or has failed.
	TaintUnhealthy = Driver + "/unhealthy"
)

// Types of devices, their attribute "type".
const (
	TypeGPU = "gpu"
	TypeMIG = "mig"
)

// Whole names a whole GPU, by its number on this node.
func Whole(number int) string { return "gpu-" + strconv.Itoa(number) }

// Slice names a place of a card: gpu-0-mig-1g5gb-19-4 is where an instance of
// profile 1g.5gb, which nvidia-smi numbers 19, begins in slot 4.
func Slice(number int, p mig.Profile, start int) string {
	return fmt.Sprintf("%s-mig-%s-%d-%d", Whole(number), plain(p.Name), p.GIProfileID, start)
}

// plain is a profile's name as far as the name of a device may have it.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
}

// Name is what a device's name says.
type Name struct {
	Number int
	// MIG is whether it is a slice; then the profile, by nvidia-smi's number, and the slot
	// where it begins.
	MIG         bool
	GIProfileID uint32
	Start       int
}

// Parse reads a device's name. A profile's own name is for people.
func Parse(name string) (Name, error) {
	parts := strings.Split(name, "-")
	wrong := fmt.Errorf("device %q: not a name of this driver's devices, such as gpu-0 or gpu-0-mig-1g5gb-19-4", name)
	if len(parts) != 2 && len(parts) != 6 || parts[0] != "gpu" || len(parts) == 6 && parts[2] != "mig" {
		return Name{}, wrong
	}
	number, err := strconv.Atoi(parts[1])
	if err != nil || number < 0 {
		return Name{}, wrong
	}
	if len(parts) == 2 {
		return Name{Number: number}, nil
	}
	id, err := strconv.ParseUint(parts[4], 10, 32)
	if err != nil {
		return Name{}, wrong
	}
	start, err := strconv.Atoi(parts[5])
	if err != nil || start < 0 {
		return Name{}, wrong
	}
	return Name{Number: number, MIG: true, GIProfileID: uint32(id), Start: start}, nil
}
