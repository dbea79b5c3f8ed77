package supply_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/supply"
)

// modulesPage lists what the programs are built from.
const modulesPage = "../../docs/security/dependencies.md"

// licences that a module may have, by words that are in each; of those whose words are there,
// the first.
var licences = []struct {
	name  string
	words []string
}{
	{"Apache-2.0", []string{"Apache License", "Version 2.0"}},
	{"MIT", []string{"Permission is hereby granted, free of charge", "THE SOFTWARE IS PROVIDED"}},
	{"ISC", []string{"Permission to use, copy, modify, and"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "to endorse or promote products"}},
	{"BSD-2-Clause", []string{"Redistribution and use in source and binary forms"}},
}

// licence is what the module in dir may be used by.
func licence(dir string) (string, error) {
	var files []string
	for _, pattern := range []string{"[Ll][Ii][Cc][Ee][Nn]*", "COPYING*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return "", errors.New("there is no licence")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return "", err
	}
	plain := strings.Join(strings.Fields(string(text)), " ")
	for _, l := range licences {
		if !slices.ContainsFunc(l.words, func(words string) bool { return !strings.Contains(plain, words) }) {
			return l.name, nil
		}
	}
	return "", fmt.Errorf("%s is none of those that are allowed", filepath.Base(files[0]))
}

// linked are the folders of all modules that the programs are built from, by path.
func linked(t *testing.T) map[string]string {
	t.Helper()
	args := []string{"list", "-deps", "-json=Module"}
	for _, p := range supply.Programs() {
		args = append(args, p.Package)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=1", "GOFLAGS=-mod=readonly")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list what the programs are built from: %v", err)
	}
	all := map[string]string{}
	for lines := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Module *struct {
				Path, Dir string
				Main      bool
			}
		}
		switch err := lines.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		case p.Module != nil && !p.Module.Main:
			all[p.Module.Path] = p.Module.Dir
		}
	}
}

// A module that the programs are built from is on the page, with its licence, which is one of
// those that are allowed; and no other is. Who adds one has to write it down, and who reviews
// the change sees it.
func TestDependenciesAreThePage(t *testing.T) {
	page, err := os.ReadFile(modulesPage)
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^` ]+)` \\| ([A-Za-z0-9.-]+) \\|").FindAllStringSubmatch(string(page), -1) {
		if written[row[1]] != "" {
			t.Errorf("%s is on the page twice", row[1])
		}
		written[row[1]] = row[2]
	}
	modules := linked(t)
	if len(modules) < 50 {
		t.Fatalf("the programs are built from %d modules only", len(modules))
	}
	for path, dir := range modules {
		name, err := licence(dir)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		switch written[path] {
		case name:
		case "":
			t.Errorf("the page has no row | `%s` | %s |", path, name)
		default:
			t.Errorf("%s is %s, and the page says %s", path, name, written[path])
		}
		delete(written, path)
	}
	for path := range written {
		t.Errorf("no program is built from %s", path)
	}
}

// What may not be used is told from what may.
func TestLicences(t *testing.T) {
	for text, want := range map[string]string{
		"Apache License\n Version 2.0, January 2004":                                                                  "Apache-2.0",
		"Permission is hereby granted, free of\ncharge, to any person … THE SOFTWARE IS PROVIDED \"AS IS\"":           "MIT",
		"Redistribution and use in source and binary forms … may be used to endorse or promote products derived from": "BSD-3-Clause",
		"Redistribution and use in source and binary forms, with or without modification":                             "BSD-2-Clause",
		"Permission to use, copy, modify, and distribute this software for any purpose":                               "ISC",
		"Business Source License 1.1": "",
		"GNU GENERAL PUBLIC LICENSE":  "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "LICENSE.md"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := licence(dir); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q (%v), want %q", text, got, err, want)
		}
	}
	if _, err := licence(t.TempDir()); err == nil {
		t.Error("a module without a licence has one")
	}
}
