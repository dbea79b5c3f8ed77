package docs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/ebbtide/ebbtide/e2e/demo"
	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

const (
	// FirstLoan marks the blocks of the first page that RunFirstLoan runs.
	FirstLoan = "TestFirstLoan"
	// labNodes are fewer than those of `make lab`: what is tried is the way, not the size.
	labNodes = 8
	// team is whose words of the lab the page has its reader copy.
	team = "team language"
	// labEnds is the last line that a lab prints.
	labEnds = "# Ctrl-C stops everything."
)

// RunFirstLoan follows the first page from `make lab` to a loan that is explained: it starts
// that lab, compares what it prints with what the page shows, and runs the page's commands
// with what the page has its reader copy from there.
func RunFirstLoan(ctx context.Context, folder string, logf func(format string, args ...any)) (result Result, err error) {
	root, err := build.Root()
	if err != nil {
		return result, err
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return result, fmt.Errorf("read the first page: %w", err)
	}
	blocks, err := Blocks(string(text))
	if err != nil {
		return result, err
	}
	if blocks, err = marked(blocks); err != nil {
		return result, err
	}
	if err := buildClient(ctx, root, filepath.Join(folder, "bin")); err != nil {
		return result, err
	}
	ctx, cancel := context.WithCancel(ctx)
	up := newUp(ctx, logf)
	defer func() {
		cancel()
		<-up.over
		err = errors.Join(err, up.err)
	}()
	printed, err := up.await(ctx)
	if err != nil {
		return result, err
	}
	start := blocks[0].Commands()[0]
	result.Run++
	if why := Compare(start.Want, printed); why != "" {
		result.Failed++
		result.Failures = append(result.Failures, Failure{Where: fmt.Sprintf("README.md:%d", start.Line), Command: start.Text, Why: why})
		return result, nil
	}
	r := Runner{Dir: folder, Environ: append(copied(printed), "PATH="+os.Getenv("PATH"), "HOME="+folder, "LC_ALL=C.UTF-8"), Limit: commandLimit, Again: lookAgain, Logf: logf}
	rest, err := r.blocks(ctx, "README.md", blocks[1:])
	result.Add(rest)
	return result, err
}

// marked are the blocks that are run here: the first begins with `make lab`.
func marked(blocks []Block) ([]Block, error) {
	var all []Block
	for _, b := range blocks {
		if strings.Contains(b.Skip, FirstLoan) {
			b.Skip = ""
			all = append(all, b)
		}
	}
	if len(all) < 2 || len(all[0].Commands()) != 1 || all[0].Commands()[0].Text != "make lab" {
		return nil, fmt.Errorf("the first page has %d blocks marked with %s, want `make lab` and what follows", len(all), FirstLoan)
	}
	return all, nil
}

// assignment is what a line of the lab's has the shell set.
var assignment = regexp.MustCompile(`\b(\w+=\S+)`)

// copied is the environment of somebody who copies the line about the broker, and that of a
// team.
func copied(printed string) []string {
	var environ []string
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "export EBBTIDE_") || strings.HasPrefix(line, "export ") && strings.Contains(line, team+",") {
			environ = append(environ, assignment.FindAllString(line, -1)...)
		}
	}
	return environ
}

// up is a lab as `make lab` starts it.
type up struct {
	over chan struct{}
	err  error

	mu      sync.Mutex
	printed strings.Builder
	started chan struct{}
}

func newUp(ctx context.Context, logf func(format string, args ...any)) *up {
	u := &up{over: make(chan struct{}), started: make(chan struct{})}
	c := demo.Default()
	c.Nodes, c.Out, c.Log = labNodes, u, io.Discard
	logf("make lab")
	go func() {
		defer close(u.over)
		if err := demo.Up(ctx, c); err != nil && ctx.Err() == nil {
			u.err = fmt.Errorf("make lab: %w", err)
		}
	}()
	return u
}

// Write takes what the lab prints.
func (u *up) Write(text []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := strings.Contains(u.printed.String(), labEnds)
	u.printed.Write(text)
	if !before && strings.Contains(u.printed.String(), labEnds) {
		close(u.started)
	}
	return len(text), nil
}

// await waits until the lab has said all, and returns it.
func (u *up) await(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	select {
	case <-u.started:
	case <-u.over:
		return "", errors.New("make lab ended by itself")
	case <-ctx.Done():
		return "", fmt.Errorf("make lab: %w", context.Cause(ctx))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.printed.String(), nil
}
