package simgpu

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Family is an architecture, as far as slices differ between them.
type Family string

const (
	// Ampere: MIG mode changes with a reset and survives a reboot, and the driver measures
	// no activity of instances.
	Ampere Family = "Ampere"
	// Hopper and later: MIG mode changes at once and is lost by a reboot, and the driver
	// measures activity.
	Hopper Family = "Hopper"
)

// Card is a GPU to simulate. Only Geometry is needed.
type Card struct {
	// Geometry is what it can be cut into, such as one of mig.Boards.
	Geometry mig.Geometry
	// Family; empty is Ampere for boards named A100 or A30, and Hopper for others.
	Family Family
	// UUID; empty is made from the names of the folder and the one it is in, and the card's
	// number: the same every time.
	UUID string
	// Product, PCIDevice and MemoryMiB; empty is from the geometry as far as it says.
	Product   string
	PCIDevice string
	MemoryMiB int64
	// Whole: MIG mode is off.
	Whole bool
	// Layout is what is there from the start, whole and without a process.
	Layout []mig.Placed
	// FreshUUIDs gives each instance a UUID that was never there. Otherwise the UUID
	// follows from the GPU and the instance's number, as the driver makes it: it comes
	// back, even for another profile.
	FreshUUIDs bool
}

func (o Card) build(name string, index int) (*card, error) {
	c := &card{
		UUID: o.UUID, Product: o.Product, PCIDevice: o.PCIDevice, MemoryMiB: o.MemoryMiB,
		PCI: fmt.Sprintf("00000000:%02X:00.0", index+1), Family: o.Family, Fresh: o.FreshUUIDs,
		Geometry: o.Geometry, MIG: !o.Whole, Pending: !o.Whole,
	}
	if err := c.Geometry.Validate(); err != nil {
		return nil, fmt.Errorf("card %d: %w", index, err)
	}
	if len(c.Geometry.Profiles) == 0 {
		return nil, fmt.Errorf("card %d: geometry %q has no profiles", index, c.Geometry.Board)
	}
	if c.UUID == "" {
		c.UUID = "GPU-" + uuid("card", name, fmt.Sprint(index))
	}
	if c.Product == "" {
		c.Product = "Simulated " + c.Geometry.Board
	}
	if c.PCIDevice == "" {
		c.PCIDevice = "0xFFFF10DE"
	}
	if c.Family == "" {
		c.Family = familyOf(c.Geometry.Board)
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = memoryOf(c.Geometry)
	}
	return c, nil
}

// memoryOf is that of the largest profile, by its name where its size is not known.
func memoryOf(g mig.Geometry) (mib int64) {
	for _, p := range g.Profiles {
		var slices, gib int64
		if p.MemoryMiB > 0 {
			mib = max(mib, p.MemoryMiB)
		} else if n, _ := fmt.Sscanf(p.Name, "%dg.%dgb", &slices, &gib); n == 2 {
			mib = max(mib, gib<<10)
		}
	}
	return mib
}

func familyOf(board string) Family {
	if strings.HasPrefix(board, "A100") || strings.HasPrefix(board, "A30") {
		return Ampere
	}
	return Hopper
}

// place says whether the board allows the placement at all.
func (c *card) place(at mig.Placed) (mig.Profile, error) {
	p, ok := c.Geometry.Profile(at.Profile)
	if !ok {
		return mig.Profile{}, fmt.Errorf("profile %d: %w", at.Profile, device.ErrInvalid)
	}
	if slices.Contains(p.Starts, at.Start) {
		return p, nil
	}
	return mig.Profile{}, fmt.Errorf("%s at %d: %w", p.Name, at.Start, device.ErrInvalid)
}

// room says whether there is room for the instance beside those that are there: slots,
// the number of its profile, and media engines. The driver does not tell which.
func (c *card) room(at mig.Placed, p mig.Profile) error {
	same, engines := 1, p.Engines
	for _, i := range c.Instances {
		other, ok := c.Geometry.Profile(i.Profile)
		if !ok {
			continue
		}
		if i.Start < at.Start+p.Memory && at.Start < i.Start+other.Memory {
			return fmt.Errorf("%s at %d: %w", p.Name, at.Start, device.ErrNoRoom)
		}
		if c.apart(i.Profile, at.Profile) {
			return fmt.Errorf("%s at %d: %w", p.Name, at.Start, device.ErrNoRoom)
		}
		if i.Profile == at.Profile {
			same++
		}
		engines.Decoders += other.Engines.Decoders
		engines.Encoders += other.Engines.Encoders
		engines.JPEG += other.Engines.JPEG
		engines.OFA += other.Engines.OFA
	}
	if same > p.Max || !within(engines, c.Geometry.Engines) {
		return fmt.Errorf("%s at %d: %w", p.Name, at.Start, device.ErrNoRoom)
	}
	return nil
}

// apart says whether the board's driver keeps two profiles from each other.
func (c *card) apart(a, b mig.ProfileID) bool {
	return slices.Contains(c.Geometry.Apart, [2]mig.ProfileID{a, b}) || slices.Contains(c.Geometry.Apart, [2]mig.ProfileID{b, a})
}

// within compares engines with those of the board, of which 0 is not known.
func within(sum, whole mig.Engines) bool {
	fits := func(n, of int) bool { return of == 0 || n <= of }
	return fits(sum.Decoders, whole.Decoders) && fits(sum.Encoders, whole.Encoders) &&
		fits(sum.JPEG, whole.JPEG) && fits(sum.OFA, whole.OFA)
}

// number is the driver's number of a GPU instance, which follows from its part of the
// GPU and not from its profile: 0 is the whole, then halves, quarters and eighths, each
// beginning with the upper half of the slots.
func (c *card) number(start, size int) int {
	parts := max(1, c.Geometry.Slots/max(1, size))
	return parts - 1 + (start/max(1, size)+parts/2)%parts
}

// migUUID of an instance's device.
func (c *card) migUUID(gi int, serial int64) string {
	if c.Fresh {
		return "MIG-" + uuid("fresh", c.UUID, fmt.Sprint(serial))
	}
	return "MIG-" + uuid("instance", c.UUID, fmt.Sprint(gi))
}

// uuid of a name, by SHA-1 as the driver's are.
func uuid(parts ...string) string {
	sum := sha1.Sum([]byte(strings.Join(parts, "\x00")))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
