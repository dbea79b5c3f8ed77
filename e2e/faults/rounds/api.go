package rounds

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// API stands between the programs and the API server, and lets calls fail.
type API interface {
	// Fail draws what fails from now on, for some of the clients or all, and says what.
	Fail(random *rand.Rand, clients ...string) (string, error)
	// Clear ends it.
	Clear()
}

// failing is for how long calls fail in a round, at least and at most.
const (
	failingLeast = 3 * time.Second
	failingMost  = 10 * time.Second
)

// failAPI moves the load while calls fail. The load falls in every other round.
func (r *rig) failAPI(ctx context.Context, random *rand.Rand) error {
	t := ebb
	if r.round%2 == 1 {
		t = []tide{flood, surge}[random.IntN(2)]
	}
	said, err := r.c.API.Fail(random, lab.Broker, lab.Scheduler)
	if err != nil {
		return err
	}
	defer r.c.API.Clear()
	r.name = string(t) + ", " + said
	if err := r.move(ctx, t, random); err != nil {
		return err
	}
	return pause(ctx, failingLeast+time.Duration(random.Int64N(int64(failingMost-failingLeast))))
}
