package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ebbtide/ebbtide/e2e/faults/rounds"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// Control is a build of the product with one guard taken out. What is found in it shows that
// what is not found elsewhere is not there.
type Control struct {
	// Guard names what is taken out.
	Guard string
	Edits []build.Edit
	// Package has tests, those that Tests matches, that must fail without the guard.
	Package, Tests string
	// Rounds is within how many rounds in a lab something must be found; 0: none are made,
	// because what the guard is for is not brought about there for sure.
	Rounds int
	// Due is the first round, counted from 1, in which what the guard is for comes about.
	Due func(seed uint64) int
}

// Power is in how many rounds, on average over seeds, something is found without the guard.
func (c *Control) Power() float64 {
	const seeds = 1000
	sum := 0
	for seed := range uint64(seeds) {
		sum += c.Due(seed)
	}
	return float64(sum) / seeds
}

// early is a seed with which that comes about in the first two rounds.
func (c *Control) early() uint64 {
	seed := uint64(0)
	for c.Due(seed) > 2 {
		seed++
	}
	return seed
}

const (
	actuatePackage = "./broker/internal/actuate"
	ledgerPackage  = "./broker/ledger"
)

// Controls are all there are.
func Controls() []Control {
	return []Control{
		{
			Guard: "an operation is looked up before it is written",
			Edits: []build.Edit{{
				Path: "broker/ledger/ledger.go",
				Old:  "\tif found {\n\t\treturn first, sameSubject(&first, &e)\n\t}\n\te, c, err := l.write(tx, e)",
				New:  "\t_, _ = first, found\n\te, c, err := l.write(tx, e)",
			}},
			Package: ledgerPackage, Tests: "^TestSecondAppendOfAnOperationReturnsTheFirst$",
		},
		{
			Guard: "an old leader's entry is refused",
			Edits: []build.Edit{{
				Path: "broker/ledger/state.go", Old: "\tif e.Epoch < s.epoch {\n\t\treturn nil,", New: "\tif false {\n\t\treturn nil,",
			}},
			Package: actuatePackage, Tests: "^TestOvertaken$",
		},
		{
			Guard: "what is lent is compared and swapped",
			Edits: []build.Edit{{
				Path: "broker/internal/actuate/status.go",
				Old:  "\tif err := r.Client.Status().Update(ctx, next); err != nil {", New: "\tnext.ResourceVersion = \"\"\n\tif err := r.Client.Status().Update(ctx, next); err != nil {",
			}},
			Package: actuatePackage, Tests: "^TestStaleLeader$",
		},
		{
			Guard: "a Loan goes after its last entry",
			Edits: []build.Edit{{
				Path: "broker/internal/actuate/giveback.go",
				Old:  "\tif err := r.close(ctx, l.name, l.object); err != nil {\n\t\treturn err\n\t}\n",
				New:  "\tif err := r.delete(ctx, l.object); err != nil {\n\t\treturn err\n\t}\n\tif err := r.close(ctx, l.name, l.object); err != nil {\n\t\treturn err\n\t}\n",
			}},
			Package: actuatePackage, Tests: "^(TestOrder|TestCrash)$",
		},
		{
			Guard: "a loan is over when its pods are gone",
			Edits: []build.Edit{{
				Path: "broker/internal/actuate/giveback.go",
				Old:  "\tpods, err := r.podsOf(ctx, l)\n\treturn len(pods) == 0, err\n", New: "\treturn true, nil\n",
			}},
			Package: actuatePackage, Tests: "^TestNotProven$",
		},
		{
			Guard: "a ledger that lacks what was published says so",
			Edits: []build.Edit{{
				Path: "broker/internal/controller/head.go",
				Old:  "\tif err != nil || missing == nil {\n\t\treturn err\n", New: "\tif err != nil || missing == nil || missing.New {\n\t\treturn err\n",
			}},
			Package: "./broker/internal/controller", Tests: "^TestOldFile$", Rounds: 4, Due: rounds.Destroyed,
		},
	}
}

// Alone lets the tests run without the guard, and returns what they said. The error tells
// that they passed, or could not be run.
func (c *Control) Alone(ctx context.Context, root, dir string) (said string, err error) {
	overlay, err := build.Overlay(root, filepath.Join(dir, "_src"), c.Edits...)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-overlay", overlay, "-run", c.Tests, c.Package)
	cmd.Dir, cmd.Env = root, os.Environ()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), fmt.Errorf("nobody misses the guard that %s: %s of %s passes without it", c.Guard, c.Tests, c.Package)
	case !errors.As(err, &exit) || !bytes.Contains(out, []byte("--- FAIL")):
		return string(out), fmt.Errorf("run %s of %s: %w\n%s", c.Tests, c.Package, err, out)
	}
	return string(out), nil
}

// InLab makes rounds without the guard until something is found, and returns after how many.
// Its seed is one with which that should not take long.
func (c *Control) InLab(ctx context.Context, out io.Writer) (after int, found rounds.Result, err error) {
	logf := func(text string, args ...any) { fmt.Fprintf(out, text+"\n", args...) }
	programs, err := build.Faults(ctx, logf, "control", c.Edits...)
	if err != nil {
		return 0, found, err
	}
	found, err = rounds.Run(ctx, rounds.Config{
		Stage: stage.Config{BinDir: programs, Nodes: Short().Nodes},
		Seed:  c.early(), Rounds: c.Rounds, Block: 2, Within: Within, UntilGuilty: true, Out: out,
	})
	if err == nil && !found.Guilty() {
		err = fmt.Errorf("nothing was found in %d rounds without the guard that %s", found.Rounds, c.Guard)
	}
	return found.Rounds, found, err
}
