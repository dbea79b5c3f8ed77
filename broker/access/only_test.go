package access

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makers may make servers: this package, and what serves the broker's page on somebody's own
// machine, which has no answers of its own and shows the broker nobody but who asks.
var makers = []string{"../../broker/access/server.go", "../../broker/internal/cli/loopback/server.go"}

// No program of Ebbtide's listens to HTTP but by a Server, whose routes have rules.
func TestNobodyListensBeside(t *testing.T) {
	files := 0
	for _, part := range []string{"broker", "mig", "scheduler-plugin", "quota"} {
		err := filepath.WalkDir(filepath.Join("../..", part), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			found, err := listeners(path, nil)
			for _, name := range found {
				if !slices.Contains(makers, filepath.ToSlash(path)) {
					t.Errorf("%s: %s: only %v make servers", path, name, makers)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 200 {
		t.Errorf("only %d files were looked at", files)
	}
	for _, source := range []string{"var s = http.Server{}", "var s = &http.Server{}", "func f() { http.ListenAndServe(\"\", nil) }", "func f() { http.Serve(nil, nil) }"} {
		if found, err := listeners("x.go", "package x\nimport \"net/http\"\n"+source); err != nil || len(found) == 0 {
			t.Errorf("%s would pass: %v", source, err)
		}
	}
	if found, err := listeners("x.go", "package x\nimport \"net/http\"\nvar h http.Handler = http.NewServeMux()"); err != nil || len(found) > 0 {
		t.Errorf("a handler is found to listen: %v %v", found, err)
	}
}

// listeners are the names by which a file makes a server of net/http, or serves by one.
func listeners(path string, source any) (found []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "http" &&
			(s.Sel.Name == "Server" || strings.HasPrefix(s.Sel.Name, "ListenAndServe") || strings.HasPrefix(s.Sel.Name, "Serve") && s.Sel.Name != "ServeMux" && !strings.HasPrefix(s.Sel.Name, "ServeContent") && !strings.HasPrefix(s.Sel.Name, "ServeFile")) {
			found = append(found, "http."+s.Sel.Name)
		}
		return true
	})
	return found, nil
}
