package gang

import (
	"cmp"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
)

// Options are what histories do not say. The zero Options are usable.
type Options struct {
	// Origin is the moment that is 0 in the run, for histories that have dates: jobs that
	// were submitted before it are left out. Zero: that of the first job.
	Origin time.Time
	// Zone of times that do not say theirs; nil is UTC.
	Zone *time.Location
	// Flavor of jobs whose GPUs have no kind of their own; empty is DefaultFlavor.
	Flavor string
	// PodUnits is how many units a pod has at most where the history does not say how the
	// job was cut; 0 is 8.
	PodUnits int64
	// Unqueued: jobs that name no queue have none, and whoever asked chooses one.
	Unqueued bool
	// Costs of every job; a history that says how often a job saves its work is believed.
	Costs sim.Costs
}

// DefaultFlavor is what units are called of which nothing is said.
const DefaultFlavor = "gpu"

// flavor is the given one, or what the options say.
func (o *Options) flavor(given string) string { return cmp.Or(given, o.Flavor, DefaultFlavor) }

// MostPodUnits is how many units a pod has at most.
func (o *Options) MostPodUnits() int64 { return cmp.Or(max(o.PodUnits, 0), 8) }

// ZoneOrUTC is the zone of times that do not say theirs.
func (o *Options) ZoneOrUTC() *time.Location {
	if o.Zone == nil {
		return time.UTC
	}
	return o.Zone
}

// Cut is the fewest equal pods that have so many units together and no more than most
// each. GPUs are not rounded: 12 of at most 8 are 2 pods of 6, and 11 are 11 pods of 1.
func Cut(units, most int64) (pods, each int64) {
	for each = max(min(units, most), 1); units%each != 0; each-- {
	}
	return units / each, each
}
