// The command ebbtide-manifests writes what is generated under deploy, checks that it is not
// stale, and renders the overlays. It runs at the root of the repository.
package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebbtide/ebbtide/deploy/copies"
)

const usage = "usage: ebbtide-manifests generate | verify | render DIR"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "ebbtide-manifests: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "generate":
		return generate()
	case len(args) == 1 && args[0] == "verify":
		return verify()
	case len(args) == 2 && args[0] == "render":
		return render(args[1])
	}
	return fmt.Errorf("%s", usage)
}

// generate writes all copies, and removes from their folders what is none any more.
func generate() error {
	files, err := copies.Files(os.DirFS("."))
	if err != nil {
		return err
	}
	for _, folder := range copies.Folders {
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("empty a folder: %w", err)
		}
	}
	for path, text := range files {
		if err := write(path, text); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	return nil
}

// verify fails, naming each, if copies are stale, missing or too many.
func verify() error {
	files, err := copies.Files(os.DirFS("."))
	if err != nil {
		return err
	}
	var stale []string
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, files[path]) {
			stale = append(stale, path)
		}
	}
	for _, folder := range copies.Folders {
		found, err := filepath.Glob(folder + "/*")
		if err != nil {
			return fmt.Errorf("list %s: %w", folder, err)
		}
		for _, path := range found {
			if files[filepath.ToSlash(path)] == nil {
				stale = append(stale, path)
			}
		}
	}
	if len(stale) > 0 {
		return fmt.Errorf("stale, run make generate: %v", stale)
	}
	return nil
}

// render writes a file for the definitions and one for each overlay.
func render(folder string) error {
	overlays, err := copies.Overlays(os.DirFS("."))
	if err != nil {
		return err
	}
	for _, name := range overlays {
		definitions, rest, err := copies.Overlay(".", name)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(folder, "ebbtide-crds.yaml"), definitions); err != nil {
			return err
		}
		if err := write(filepath.Join(folder, "ebbtide-"+name+".yaml"), rest); err != nil {
			return err
		}
	}
	fmt.Printf("rendered the definitions and %d overlays into %s\n", len(overlays), folder)
	return nil
}
