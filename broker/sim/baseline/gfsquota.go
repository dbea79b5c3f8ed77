package baseline

import "time"

const (
	// gfsP is the share of guarantees that are to be kept.
	gfsP = 0.9
	// gfsGuarantee is how long a job that was started on a service's units is to have them.
	gfsGuarantee = time.Hour
	// gfsWindow is over how long it is counted how many guarantees were kept.
	gfsWindow = 4 * time.Hour
	// leastEta, mostEta bound the feedback.
	leastEta, mostEta = 0.1, 2
)

// feedback sets eta, by which the forecast's free units are multiplied, from the share of
// guarantees that were not kept. A run of t hours counts as t guarantees of an hour, one
// that was stopped as one more, which was broken.
type feedback struct {
	eta          float64
	kept, broken [gfsWindow / gfsEvery]float64
	at           int // in which of them it counts now
	moved        time.Duration
}

func newFeedback() feedback { return feedback{eta: 1} }

// count adds guarantees that were kept and broken.
func (f *feedback) count(kept, broken float64) {
	f.kept[f.at] += kept
	f.broken[f.at] += broken
}

// rate is the share of guarantees that were broken, and of how many.
func (f *feedback) rate() (e, of float64) {
	broken := 0.0
	for i := range f.kept {
		broken += f.broken[i]
		of += f.kept[i] + f.broken[i]
	}
	if of == 0 {
		return 0, 0
	}
	return broken / of, of
}

// review moves eta, and begins the next part of the window. headWaits is for how long the
// first job of the queue has waited.
//
// It moves eta no more often than a guarantee lasts, for nobody knows earlier what that did;
// lowers it only where there are so many guarantees that one of them may be broken; and
// then forgets which were, so that a broken guarantee lowers it once.
func (f *feedback) review(now, headWaits time.Duration) {
	if e, of := f.rate(); now >= f.moved+gfsGuarantee {
		switch {
		case e >= 1.5*(1-gfsP) && of*(1-gfsP) >= 1-1e-9:
			f.eta *= lowered(e)
			f.moved = now
			clear(f.broken[:])
		case e <= 0.5*(1-gfsP) && headWaits > time.Hour:
			f.eta *= raised(e)
			f.moved = now
		}
	}
	f.eta = min(max(f.eta, leastEta), mostEta)
	f.at = (f.at + 1) % len(f.kept)
	f.kept[f.at], f.broken[f.at] = 0, 0
}

// lowered is the factor of eta where too many guarantees were broken.
func lowered(e float64) float64 { return (1 - gfsP) / e }

// raised is the factor where few were and jobs wait. The published rule, 1.5 - (1-p)/e,
// would turn eta's sign wherever it applies and divides by zero where none was broken; it
// is meant to be 1.5 there and to come to 1 as e comes to half of what is allowed.
func raised(e float64) float64 { return min(max(1.5-e/(1-gfsP), 1), 1.5) }
