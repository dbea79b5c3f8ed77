package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// attackTest is the test that tries all ways out by all routes, and writes its counts into
// the file that ATTACKS names.
const (
	attackPackage = "./e2e/escapes"
	attackTest    = "^TestNoWayOutByAnyVerb$"
)

// attacks lets a tenant try all ways out.
func (c *Config) attacks(ctx context.Context, total *Counts) error {
	root, err := build.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.Dir, "ebbtide-attacks-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "attacks.json")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout", "20m", "-run", attackTest, attackPackage)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "ATTACKS="+file)
	cmd.Stdout, cmd.Stderr = c.Out, c.Out
	failed := cmd.Run()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, total)
	}
	switch {
	case failed != nil:
		return fmt.Errorf("%s: %w", attackPackage, failed)
	case err != nil:
		return fmt.Errorf("read the counts of %s: %w", attackPackage, err)
	}
	return nil
}
