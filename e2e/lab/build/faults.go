package build

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.etcd.io/gofail/code"
)

// Edit is a change of one source file that a build is made with, and the tree is not.
type Edit struct {
	// Path is relative to the repository's root.
	Path string
	// Old must be there exactly once, and New is put in its place.
	Old, New string
}

// failpointMark begins the comments that become failpoints.
const failpointMark = "// gofail:"

// bindings is the name of the file that is added to each package with failpoints.
const bindings = "zz_failpoints.go"

var packageClause = regexp.MustCompile(`(?m)^package (\w+)`)

// Faults builds the broker and the scheduler with failpoints after their steps, and with the
// edits, into a folder of that name below bin/faults, beside links to the other programs of a
// lab. The folder serves as a lab's BinDir. The tree is not changed.
func Faults(ctx context.Context, logf func(format string, args ...any), name string, edits ...Edit) (dir string, err error) {
	others := []string{ControlPlane, Kwok, Prometheus}
	bin, err := Programs(ctx, logf, others...)
	if err != nil {
		return "", err
	}
	root := filepath.Dir(bin)
	dir = filepath.Join(bin, "faults", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for binaries: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(bin, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, other := range others {
		link := filepath.Join(dir, other)
		if err := os.Symlink(filepath.Join(bin, other), link); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("link %s: %w", other, err)
		}
	}
	// A name that ./... passes over: these are copies of packages.
	overlay, err := Overlay(root, filepath.Join(dir, "_src"), edits...)
	if err != nil {
		return "", err
	}
	for _, program := range []string{Broker, Scheduler} {
		if err := targets[program].ensureWith(ctx, root, filepath.Join(dir, program), overlay, logf); err != nil {
			return "", fmt.Errorf("build %s with failpoints: %w", program, err)
		}
	}
	return dir, nil
}

// ensureWith builds a target with an overlay, unless that is done.
func (t target) ensureWith(ctx context.Context, root, out, overlay string, logf func(string, ...any)) error {
	stamp := out + ".stamp"
	want, err := t.hash(root)
	if err != nil {
		return err
	}
	sum, err := overlaySum(overlay)
	if err != nil {
		return err
	}
	want += sum
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want && Check(filepath.Dir(out), filepath.Base(out)) == nil {
		return nil
	}
	logf("building %s with failpoints", filepath.Base(out))
	began := time.Now()
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-ldflags", "-s -w"+t.ld, "-o", out, t.pkg)
	cmd.Dir = filepath.Join(root, t.dir)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", t.pkg, err, output)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("write the stamp: %w", err)
	}
	logf("built %s in %s", filepath.Base(out), time.Since(began).Round(100*time.Millisecond))
	return nil
}

// overlaySum names the contents of the files that an overlay puts in place of others.
func overlaySum(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the overlay: %w", err)
	}
	var o overlayFile
	if err := json.Unmarshal(text, &o); err != nil {
		return "", fmt.Errorf("read the overlay: %w", err)
	}
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(o.Replace)) {
		text, err := os.ReadFile(o.Replace[path])
		if err != nil {
			return "", fmt.Errorf("read the overlay: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n", path, len(text))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// overlayFile is what go build -overlay reads.
type overlayFile struct {
	Replace map[string]string
}

// Overlay writes into dir the sources of the repository at root that have failpoints or are
// edited, and returns the path of the file for go build -overlay and go test -overlay.
func Overlay(root, dir string, edits ...Edit) (file string, err error) {
	sources, err := changed(root, edits)
	if err != nil {
		return "", err
	}
	o := overlayFile{map[string]string{}}
	points, names := map[string][]*code.Failpoint{}, map[string]string{}
	put := func(rel string, text []byte) error {
		out := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
			return fmt.Errorf("write %s for the overlay: %w", rel, err)
		}
		o.Replace[filepath.Join(root, rel)] = out
		if err := os.WriteFile(out, text, 0o644); err != nil {
			return fmt.Errorf("write %s for the overlay: %w", rel, err)
		}
		return nil
	}
	for _, rel := range slices.Sorted(maps.Keys(sources)) {
		var out bytes.Buffer
		found, err := code.ToFailpoints(&out, strings.NewReader(sources[rel]))
		if err != nil {
			return "", fmt.Errorf("failpoints of %s: %w", rel, err)
		}
		if err := put(rel, out.Bytes()); err != nil {
			return "", err
		}
		if clause := packageClause.FindStringSubmatch(sources[rel]); len(found) > 0 && clause != nil {
			at := filepath.Dir(rel)
			points[at], names[at] = append(points[at], found...), clause[1]
		}
	}
	for _, at := range slices.Sorted(maps.Keys(names)) {
		var out bytes.Buffer
		if err := code.NewBinding(names[at], points[at]).Write(&out); err != nil {
			return "", fmt.Errorf("bind the failpoints of %s: %w", at, err)
		}
		if err := put(filepath.Join(at, bindings), out.Bytes()); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	file = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	return file, nil
}

// Failpoints are the names of all failpoints of the repository at root, sorted.
func Failpoints(root string) ([]string, error) {
	sources, err := changed(root, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for rel, text := range sources {
		found, err := code.ToFailpoints(&bytes.Buffer{}, strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("failpoints of %s: %w", rel, err)
		}
		for _, p := range found {
			names = append(names, p.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// changed are the product's sources with failpoints, and those that are edited, as they are
// after that, by their path.
func changed(root string, edits []Edit) (map[string]string, error) {
	sources := map[string]string{}
	for _, folder := range []string{"broker", "scheduler-plugin"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(text, []byte(failpointMark)) {
				return err
			}
			rel, err := filepath.Rel(root, path)
			sources[rel] = string(text)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for failpoints: %w", err)
		}
	}
	for _, e := range edits {
		text, read := sources[e.Path]
		if !read {
			raw, err := os.ReadFile(filepath.Join(root, e.Path))
			if err != nil {
				return nil, fmt.Errorf("edit %s: %w", e.Path, err)
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return nil, fmt.Errorf("edit %s: %q is there %d times, want once", e.Path, cmp.Or(firstLineOf(e.Old), e.Old), n)
		}
		sources[e.Path] = strings.Replace(text, e.Old, e.New, 1)
	}
	return sources, nil
}

func firstLineOf(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
