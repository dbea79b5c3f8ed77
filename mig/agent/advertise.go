package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/agent/journal"
	"github.com/ebbtide/ebbtide/mig/boards"
)

// advertise makes the layouts known as they are now. What is at the places must be seen
// to be known: of other resources the node may offer what it likes.
func (a *Agent) advertise(ctx context.Context, gpu string, places []mig.Placed) error {
	firm, doubtful := a.resources()
	change := Change{ID: a.changeID(), Resources: map[string]int64{}, Doubtful: map[string]int64{}}
	for _, at := range places {
		if name := a.resource(gpu, at); name != "" {
			change.Resources[name], change.Doubtful[name] = firm[name], doubtful[name]
		}
	}
	done, err := a.o.Advertiser.Advertise(ctx, change)
	switch {
	case err != nil:
		return &blocked{why: fmt.Sprintf("advertise the slices: %v", err), unseen: true}
	case !done:
		return &blocked{why: "the kubelet does not know of it yet", unseen: true}
	}
	a.o.Failpoint(FailAdvertised)
	return nil
}

// seenTime is how long the kubelet may take to see a change. What it counts otherwise
// after that it will go on to count otherwise, and somebody waits for the slices.
const seenTime = 2 * time.Minute

// advertisedLong reports whether it is no use to wait any longer until a change is seen.
func (a *Agent) advertisedLong(err error, key string) bool {
	var wait *blocked
	t := a.tries[key]
	return errors.As(err, &wait) && wait.unseen &&
		t != nil && t.what == doAdvertise && a.o.Clock.Since(t.since) >= seenTime
}

// placesOf are the places of a change, of what goes and what comes.
func placesOf(r *journal.Reshape) []mig.Placed {
	var all []mig.Placed
	for _, p := range append(slices.Clone(r.Spec.Destroy), r.Spec.Create...) {
		all = append(all, boards.Placed(p))
	}
	return all
}

// layoutOf are the places of a GPU's layout.
func layoutOf(j *journal.GPU) []mig.Placed {
	var all []mig.Placed
	for _, known := range j.Instances {
		all = append(all, known.Placed)
	}
	return all
}

// resources counts the node's slices, and those that are on GPUs which are not healthy:
// whether these are offered is the device plugin's to say. Of a GPU that does not answer
// it is what it had.
func (a *Agent) resources() (firm, doubtful map[string]int64) {
	firm, doubtful = map[string]int64{}, map[string]int64{}
	for _, j := range a.journal.State.GPUs {
		g := a.seen.gpu(j.UUID)
		for _, known := range j.Instances {
			name, there := a.resource(j.UUID, known.Placed), a.seen.instance(j.UUID, known.Placed)
			switch {
			case !answers(g):
				doubtful[name]++
			case there == nil || !there.Whole:
			case g.Healthy:
				firm[name]++
			default:
				doubtful[name]++
			}
		}
	}
	return firm, doubtful
}
