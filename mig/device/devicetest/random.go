package devicetest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// randomly creates and destroys at random for a while. After each call the layout is
// legal and the other instances are what they were. Where what stands behind the driver
// does not refuse, only what is legal is asked for.
func randomly(t *testing.T, b *bench) {
	_, trusting := b.lacks[Refuses]
	draw := rand.New(rand.NewPCG(1, 2))
	before := b.gpu(t).Instances
	for n := range 100 {
		at := b.anyPlace(draw)
		// Otherwise the GPU fills up with what is small.
		if len(before) > 0 && draw.IntN(2) == 0 {
			at = before[draw.IntN(len(before))].Placed
		}
		legal := fits(b.geometry, before, at) == nil
		there := slices.ContainsFunc(before, func(i device.Instance) bool { return i.Placed == at })
		switch {
		case there:
			b.destroy(t, at, -1)
		case trusting && !legal:
			continue
		default:
			_, err := b.Driver.Create(t.Context(), b.GPU, at)
			if legal != (err == nil) || err != nil && !errors.Is(err, device.ErrNoRoom) {
				t.Fatalf("step %d: Create(%v) gave %v; legal beside %v: %v", n, at, err, placed(before), legal)
			}
		}
		after := b.gpu(t).Instances
		if diff := cmp.Diff(except(before, at), except(after, at)); diff != "" {
			t.Fatalf("step %d at %v changed neighbours (-before +after):\n%s", n, at, diff)
		}
		checkLegal(t, b.geometry, after)
		before = after
	}
}

func (b *bench) anyPlace(draw *rand.Rand) mig.Placed {
	p := b.geometry.Profiles[draw.IntN(len(b.geometry.Profiles))]
	return mig.Placed{Profile: p.ID, Start: p.Starts[draw.IntN(len(p.Starts))]}
}

func except(all []device.Instance, at mig.Placed) (rest []device.Instance) {
	for _, i := range all {
		if i.Placed != at {
			rest = append(rest, i)
		}
	}
	return rest
}

func placed(all []device.Instance) (places []mig.Placed) {
	for _, i := range all {
		places = append(places, i.Placed)
	}
	return places
}

// checkLegal fails the test if the instances could not be there one beside the other.
func checkLegal(t *testing.T, g mig.Geometry, all []device.Instance) {
	t.Helper()
	for n, i := range all {
		if err := fits(g, all[:n], i.Placed); err != nil {
			t.Fatalf("layout %v: %v", placed(all), err)
		}
	}
}

// fits is the hardware's rule, written for tests: it shares nothing with what it checks.
func fits(g mig.Geometry, beside []device.Instance, at mig.Placed) error {
	all := append(placed(beside), at)
	taken := map[int]bool{}
	count := map[mig.ProfileID]int{}
	var engines [4]int
	for _, a := range all {
		p, ok := g.Profile(a.Profile)
		if !ok || !slices.Contains(p.Starts, a.Start) {
			return errors.New("no such place")
		}
		for slot := a.Start; slot < a.Start+p.Memory; slot++ {
			if taken[slot] {
				return errors.New("overlap")
			}
			taken[slot] = true
		}
		if count[a.Profile]++; count[a.Profile] > p.Max {
			return errors.New("too many of a profile")
		}
		for n, e := range []int{p.Engines.Decoders, p.Engines.Encoders, p.Engines.JPEG, p.Engines.OFA} {
			engines[n] += e
		}
	}
	for _, pair := range g.Apart {
		if count[pair[0]] > 0 && count[pair[1]] > 0 {
			return errors.New("two profiles that may not be together")
		}
	}
	for n, has := range []int{g.Engines.Decoders, g.Engines.Encoders, g.Engines.JPEG, g.Engines.OFA} {
		if has > 0 && engines[n] > has {
			return errors.New("too few media engines")
		}
	}
	return nil
}
