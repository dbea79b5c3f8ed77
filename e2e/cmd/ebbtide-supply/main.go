// Command ebbtide-supply writes bills of materials, and shows that builds can be repeated.
//
//	ebbtide-supply sbom FOLDER [PROGRAM...]       build programs into FOLDER, with NAME.cdx.json beside each
//	ebbtide-supply describe FILE...               write FILE.cdx.json beside programs that are built
//	ebbtide-supply reproduce [PROGRAM...]         build programs twice and compare
//
// Without names all programs are meant. It is run in the module's root.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/ebbtide/ebbtide/e2e/supply"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ebbtide-supply:", err)
		os.Exit(1) //nolint:gocritic // there is nothing left to stop
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 1 && args[0] == "sbom":
		return sbom(ctx, args[1], args[2:])
	case len(args) > 1 && args[0] == "describe":
		return describe(args[1:]...)
	case len(args) > 0 && args[0] == "reproduce":
		return reproduce(ctx, args[1:])
	}
	return errors.New("usage: ebbtide-supply sbom FOLDER [PROGRAM...] | describe FILE... | reproduce [PROGRAM...]")
}

// choose are the programs of these names; all, if there are none.
func choose(names []string) ([]supply.Program, error) {
	if len(names) == 0 {
		return supply.Programs(), nil
	}
	var out []supply.Program
	for _, name := range names {
		p, err := supply.Find(name)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func sbom(ctx context.Context, folder string, names []string) error {
	programs, err := choose(names)
	if err != nil {
		return err
	}
	folder, err = filepath.Abs(folder)
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, p := range programs {
		file := filepath.Join(folder, p.Name)
		if err := supply.Build(ctx, ".", file, "", p); err != nil {
			return err
		}
		if err := describe(file); err != nil {
			return err
		}
	}
	return nil
}

// describe writes the bill of materials of each file beside it.
func describe(files ...string) error {
	for _, file := range files {
		var text bytes.Buffer
		if err := supply.SBOM(&text, file); err != nil {
			return err
		}
		if err := os.WriteFile(file+".cdx.json", text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the bill of materials: %w", err)
		}
		fmt.Println(file + ".cdx.json")
	}
	return nil
}

func reproduce(ctx context.Context, names []string) error {
	programs, err := choose(names)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ebbtide-reproduce-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // nothing depends on it
	built, err := supply.Reproduce(ctx, ".", work, programs)
	if err != nil {
		return err
	}
	same := 0
	for _, b := range built {
		fmt.Printf("%-18s %s\n%-18s %s\n", b.Program.Name, b.First, "", b.Second)
		if b.Same() {
			same++
		}
	}
	line, err := json.Marshal(map[string]int{"programs": len(built), "same": same})
	if err != nil {
		return fmt.Errorf("write the last line: %w", err)
	}
	fmt.Println(string(line))
	if same != len(built) {
		return errors.New("two builds differ")
	}
	return nil
}
