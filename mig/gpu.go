package mig

// Use says what an instance is used for, as far as planning goes.
type Use string

// The uses. A plan may destroy Idle instances and Remnants, and no others.
const (
	// Idle: ours, nobody holds it, and nobody was promised it.
	Idle Use = "Idle"
	// Pinned: kept for a service in the shape that it has, held or not.
	Pinned Use = "Pinned"
	// Busy: a pod that is on no loan holds it, or a process is on it.
	Busy Use = "Busy"
	// Lent: a loan's.
	Lent Use = "Lent"
	// Draining: it was given up, and its end is not proven yet.
	Draining Use = "Draining"
	// Remnant: a GPU instance of ours without its compute instance, left by a change
	// that did not come to its end. Nobody can use it.
	Remnant Use = "Remnant"
	// Foreign: somebody else made it.
	Foreign Use = "Foreign"
	// Unknown: nobody could say. It is as good as busy.
	Unknown Use = "Unknown"
)

// Free reports whether a plan may destroy an instance of that use.
func (u Use) Free() bool { return u == Idle || u == Remnant }

// Instance is a GPU instance and its compute instance.
type Instance struct {
	Placed
	// Generation counts what was made at this place on this GPU, from 1. With the GPU,
	// the profile and the start it is the instance's identity: the driver gives UUIDs
	// and numbers out again.
	Generation int64 `json:"generation"`
	Use        Use   `json:"use"`
	// Owner is who holds it, for people: namespace/name of a pod or a loan.
	Owner string `json:"owner,omitempty"`
}

// GPU is one GPU in MIG mode and its instances.
type GPU struct {
	UUID string `json:"uuid"`
	// Instances by Start, then Profile.
	Instances []Instance `json:"instances"`
}

// Demand is a number of instances of one profile that should be there for use: idle
// ones of the profile that are left count.
type Demand struct {
	Profile ProfileID `json:"profile"`
	Count   int       `json:"count"`
	// Weight of each; 0 is 1.
	Weight int `json:"weight,omitempty"`
}

// Plan is how a GPU gets from one layout to another: first all of Destroy, then all of
// Create, each in order. Every prefix is a layout that the board allows.
type Plan struct {
	GPU string `json:"gpu"`
	// Base is the Fingerprint of the layout that the plan is for. On any other it must
	// not be carried out.
	Base    string     `json:"base"`
	Destroy []Instance `json:"destroy,omitempty"`
	Create  []Placed   `json:"create,omitempty"`
	// Unmet is the demand that no layout can meet beside what may not be touched.
	Unmet []Demand `json:"unmet,omitempty"`
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Destroy) == 0 && len(p.Create) == 0 }

// Undo is what to destroy and what to create to get back to what was there before.
func (p Plan) Undo() (destroy, create []Placed) {
	for _, i := range p.Destroy {
		create = append(create, i.Placed)
	}
	return p.Create, create
}
