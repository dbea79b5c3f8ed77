package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Package is the source of one package.
type Package struct {
	// Path is the folder, relative to the module's root: "broker/lend".
	Path  string
	Files []*ast.File
	fset  *token.FileSet
}

// Load reads all packages of the tree, sorted by path. It leaves out tests,
// nested modules, and folders that the go command leaves out.
func Load(tree fs.FS) ([]Package, error) {
	byPath := map[string]*Package{}
	fset := token.NewFileSet()
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the tree at %s: %w", name, err)
		}
		if entry.IsDir() {
			return skipFolder(tree, name)
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		folder := path.Dir(name)
		if byPath[folder] == nil {
			byPath[folder] = &Package{Path: folder, fset: fset}
		}
		byPath[folder].Files = append(byPath[folder].Files, file)
		return nil
	})
	if err != nil {
		return nil, err
	}
	packages := make([]Package, 0, len(byPath))
	for _, p := range byPath {
		packages = append(packages, *p)
	}
	slices.SortFunc(packages, func(x, y Package) int { return strings.Compare(x.Path, y.Path) })
	return packages, nil
}

func skipFolder(tree fs.FS, name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tree, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (p Package) where(node ast.Node) string {
	position := p.fset.Position(node.Pos())
	return fmt.Sprintf("%s:%d", position.Filename, position.Line)
}
