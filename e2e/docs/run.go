package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Runner runs pages, one after the other in one place.
type Runner struct {
	// Dir is the folder that commands run in and files are written to.
	Dir string
	// Environ is the whole environment of the commands, as NAME=value.
	Environ []string
	// Limit is how long one command may take, and Again how long one that only reads is
	// repeated until it prints what is shown.
	Limit, Again time.Duration
	// Settle is called after each command, and waits until what it began is there; nil:
	// nothing is waited for.
	Settle func(context.Context) error
	// Logf is told of each command; nil: nobody is.
	Logf func(format string, args ...any)
}

// pause is between two looks at what only reads.
const pause = 500 * time.Millisecond

// Page runs the blocks of one page. The error is for a page that cannot be read; commands
// that fail are in the result.
func (r *Runner) Page(ctx context.Context, name string) (Result, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return Result{}, fmt.Errorf("read the page: %w", err)
	}
	return r.Text(ctx, filepath.Base(name), string(text))
}

// Text runs the blocks of a page that is given.
func (r *Runner) Text(ctx context.Context, name, page string) (Result, error) {
	blocks, err := Blocks(page)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	return r.blocks(ctx, name, blocks)
}

func (r *Runner) blocks(ctx context.Context, name string, blocks []Block) (Result, error) {
	var result Result
	for _, block := range blocks {
		if !block.Runs() {
			continue
		}
		commands := block.Commands()
		if block.Skip != "" {
			result.Skipped += len(commands)
			continue
		}
		for _, c := range commands {
			result.Run++
			r.logf("%s:%d: %s", name, c.Line, firstLine(c.Text))
			why := r.run(ctx, block, c)
			if why == "" && r.Settle != nil {
				if err := r.Settle(ctx); err != nil {
					why = err.Error()
				}
			}
			if why != "" {
				result.Failed++
				result.Failures = append(result.Failures, Failure{Where: fmt.Sprintf("%s:%d", name, c.Line), Command: firstLine(c.Text), Why: why})
				return result, nil
			}
		}
	}
	return result, nil
}

// run returns why a command did not do what the page says; empty: it did.
func (r *Runner) run(ctx context.Context, b Block, c Command) string {
	switch {
	case b.Language != YAML:
	case b.File != "":
		if err := r.write(b.File, c.Text); err != nil {
			return err.Error()
		}
		return ""
	default:
		printed, why := r.shell(ctx, "kubectl apply --server-side -f -", c.Text+"\n")
		r.logf("%s", printed)
		return why
	}
	until := time.Now().Add(r.Again)
	for {
		printed, why := r.shell(ctx, c.Text, "")
		if why == "" && c.Shown {
			why = Compare(c.Want, printed)
		}
		if why == "" || !Reads(c.Text) || time.Now().After(until) {
			r.logf("%s", printed)
			return why
		}
		select {
		case <-ctx.Done():
			return why
		case <-time.After(pause):
		}
	}
}

func (r *Runner) write(file, text string) error {
	path := filepath.Join(r.Dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", file, err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// shell runs one command and returns what it printed, and why it counts as failed.
func (r *Runner) shell(ctx context.Context, command, stdin string) (printed, why string) {
	ctx, cancel := context.WithTimeout(ctx, r.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", command)
	cmd.Dir, cmd.Env, cmd.Stdin = r.Dir, r.Environ, strings.NewReader(stdin)
	// All that it started ends with it, or its pipes would be waited for.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return string(out), fmt.Sprintf("%v after %s; printed was:\n%s", context.Cause(ctx), r.Limit, out)
	case err != nil:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return string(out), fmt.Sprintf("%v; printed was:\n%s", err, out)
		}
		return string(out), fmt.Sprintf("run bash: %v", err)
	}
	return string(out), ""
}

// reading are the commands that change nothing, by their first words.
var reading = regexp.MustCompile(`^(kubectl( -n \S+)? (get|describe|wait|logs|rollout status|auth can-i)|` +
	`(kubectl ebbtide|bin/kubectl-ebbtide) (explain|doctor|gpus|lenders|loans|queue|quota|timeline|when|why-evicted|ledger)|helm (list|status))( |$)`)

// Reads tells whether a command only reads, and so may be run twice.
func Reads(command string) bool {
	return reading.MatchString(command) && !strings.ContainsAny(command, ";&>\n")
}

func (r *Runner) logf(format string, args ...any) {
	if r.Logf != nil {
		r.Logf(format, args...)
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
