package supply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Program is one of Ebbtide's.
type Program struct {
	Name, Package string
	// Cgo: it is linked with a C library.
	Cgo bool
}

// Programs are those that are shipped.
func Programs() []Program {
	return []Program{
		{"ebbtide-broker", "./broker/cmd/ebbtide-broker", false},
		{"ebbtide-scheduler", "./scheduler-plugin/cmd/ebbtide-scheduler", false},
		{"kubectl-ebbtide", "./broker/cmd/kubectl-ebbtide", false},
		{"ebbtide-agent", "./mig/cmd/ebbtide-agent", true},
	}
}

// Find is the program of a name.
func Find(name string) (Program, error) {
	for _, p := range Programs() {
		if p.Name == name {
			return p, nil
		}
	}
	return Program{}, fmt.Errorf("there is no program %q", name)
}

// flags are how a program is built, as the images' are.
func flags() []string { return []string{"-trimpath", "-buildvcs=false", "-ldflags", "-s -w"} }

// Build builds a program from the module in root to the file out. cache is the compiler's own;
// empty: the user's.
func Build(ctx context.Context, root, out, cache string, p Program) error {
	args := append([]string{"build"}, flags()...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, p.Package)...)
	cmd.Dir = root
	cgo := "0"
	if p.Cgo {
		cgo = "1"
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOFLAGS=-mod=readonly", "GOWORK=off")
	if cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+cache)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", p.Name, err, bytes.TrimSpace(text))
	}
	return nil
}

// Built is a program, built twice.
type Built struct {
	Program Program
	// First and Second are SHA-256 in hexadecimal digits.
	First, Second string
}

// Same tells whether both builds are one.
func (b *Built) Same() bool { return b.First != "" && b.First == b.Second }

// Reproduce builds programs from two copies of the tree in root, which are in folders of
// different names and lengths below work. The second build has a compiler's cache of its own,
// so that nothing of it is taken from the first.
func Reproduce(ctx context.Context, root, work string, programs []Program) ([]Built, error) {
	places := []string{filepath.Join(work, "a"), filepath.Join(work, "another", "place", "of", "it")}
	caches := []string{"", filepath.Join(work, "cache")}
	built := make([]Built, len(programs))
	for n, place := range places {
		if err := Copy(ctx, root, place); err != nil {
			return nil, err
		}
		for i, p := range programs {
			out := filepath.Join(work, fmt.Sprintf("%s-%d", p.Name, n))
			if err := Build(ctx, place, out, caches[n], p); err != nil {
				return nil, err
			}
			sum, err := digest(out)
			if err != nil {
				return nil, err
			}
			built[i].Program = p
			if n == 0 {
				built[i].First = sum
			} else {
				built[i].Second = sum
			}
		}
	}
	return built, nil
}

// Copy copies what git knows of, or does not ignore, to another folder, which must not be
// there.
func Copy(ctx context.Context, root, to string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	text, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the files of %s: %w", root, err)
	}
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copy to %s: it is there", to)
	}
	names := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range names {
		if err := copyFile(filepath.Join(root, name), filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // a file that was deleted is not there
		}
	}
	return nil
}

func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return nil
}

func digest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read what was built: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read what was built: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
