package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ebbtide/ebbtide/e2e/faults/proxy"
	"github.com/ebbtide/ebbtide/e2e/faults/rounds"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// APIRounds are rounds in a lab of their own whose broker and scheduler reach the API server
// through a proxy, in which calls, replies and watches fail as package proxy draws them. What
// was struck is not on record; the seed and the round draw it again.
func APIRounds(n, nodes int, silence time.Duration) Part {
	return Part{Name: "the API", Run: func(ctx context.Context, seed uint64, out io.Writer) (_ rounds.Result, err error) {
		logf := func(text string, args ...any) { fmt.Fprintf(out, text+"\n", args...) }
		programs, err := build.Faults(ctx, logf, "plain")
		if err != nil {
			return rounds.Result{}, err
		}
		rig := proxy.NewRig(seed, nil)
		defer func() { err = errors.Join(err, rig.Close()) }()
		result, err := rounds.Run(ctx, rounds.Config{
			Stage: stage.Config{BinDir: programs, Nodes: nodes, Through: rig.Through},
			Seed:  seed, Rounds: n, Block: n, Within: Within, Silence: silence, API: rig, Out: out,
		})
		struck := rig.Struck()
		fmt.Fprintf(out, "the API   %d calls and watches were struck in %d rounds\n", struck, result.Rounds)
		if err == nil && result.Rounds > 0 && struck == 0 {
			err = errors.New("no call was struck: nothing was tried")
		}
		return result, err
	}}
}
