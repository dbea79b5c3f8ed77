package sliced

import (
	"context"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/e2e/demo/stage"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/mig/simgpu"
)

const (
	// troubleEvery is how often something goes wrong when each kind of trouble was there
	// once: with every n-th reshape.
	troubleEvery = 3
	// inUseTimes is how often a slice is said to be in use until it can be destroyed.
	inUseTimes = 3
	lookEvery  = 20 * time.Millisecond
	// killWithin is how long is waited for the agent to have destroyed something.
	killWithin = 3 * time.Second
)

// trouble has things go wrong in the midst of reshapes, in turn: an agent is killed, or a
// slice that nobody holds is in use for a while, as by a leaked handle.
type trouble struct {
	town    *stage.Town
	witness *witness
	// seen are the reshapes that were looked at.
	seen map[string]bool

	// killed and inUse are the reshapes in which that went wrong.
	killed, inUse map[string]bool
}

func newTrouble(t *stage.Town, w *witness) *trouble {
	return &trouble{town: t, witness: w, seen: map[string]bool{}, killed: map[string]bool{}, inUse: map[string]bool{}}
}

func (t *trouble) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := t.look(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// look has something go wrong with the reshapes whose turn it is.
func (t *trouble) look(ctx context.Context) error {
	for _, id := range t.witness.making() {
		if t.seen[id] {
			continue
		}
		t.seen[id] = true
		err := error(nil)
		switch t.turn() {
		case agentDies:
			err = t.kill(ctx, id)
		case sliceInUse:
			err = t.use(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mishap is what goes wrong with a reshape.
type mishap string

const (
	nothing    mishap = ""
	agentDies  mishap = "agent dies"
	sliceInUse mishap = "slice in use"
)

// turn is what goes wrong with the next reshape: each kind as soon as it can, until it was
// there once, and then now and then and in turn.
func (t *trouble) turn() mishap {
	switch due := len(t.seen)%troubleEvery == 1; {
	case len(t.killed) == 0:
		return agentDies
	case len(t.inUse) == 0:
		return sliceInUse
	case !due:
		return nothing
	case len(t.killed) <= len(t.inUse):
		return agentDies
	default:
		return sliceInUse
	}
}

// use has the last slice that a reshape destroys be in use for a while.
func (t *trouble) use(id string) error {
	r := t.witness.get(id)
	cards, err := t.town.Cards(r.node)
	if err != nil {
		return err
	}
	at := r.destroy[len(r.destroy)-1]
	if err := cards.FailNext(simgpu.Fault{Op: simgpu.OpDestroyGI, GPU: r.gpu, At: &at, Code: simgpu.CodeInUse, Times: inUseTimes}); err != nil {
		return fmt.Errorf("have a slice in use: %w", err)
	}
	t.inUse[id] = true
	return nil
}

// kill kills a node's agent as soon as it has destroyed something for the reshape, and
// starts it again.
func (t *trouble) kill(ctx context.Context, id string) error {
	r := t.witness.get(id)
	cards, err := t.town.Cards(r.node)
	if err != nil {
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	late := time.After(killWithin)
	for {
		now, err := cards.Writes()
		if err != nil {
			return err
		}
		if r.wrote(now) {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-late:
			return nil
		case <-tick.C:
		}
	}
	agent := t.town.Part(lab.AgentOf(r.node))
	if err := agent.Kill(); err != nil {
		return err
	}
	t.killed[id] = true
	return agent.Restart(ctx)
}
