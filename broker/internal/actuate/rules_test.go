package actuate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// TestEveryReclaimHasWords: who loses units reads why, not a bare word. What is a reason of
// a reclaim, the comments beside the reasons say.
func TestEveryReclaimHasWords(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../lend/plan.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, is := n.(*ast.ValueSpec)
		if !is || spec.Comment == nil {
			return true
		}
		about, _, _ := strings.Cut(spec.Comment.Text(), ":")
		if !strings.Contains(about, "reclaim") {
			return true
		}
		found++
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if rules[reason] == "" {
			t.Errorf("nobody is told in words why units are taken back that is called %s", reason)
		}
		return true
	})
	if found < 8 {
		t.Errorf("only %d reasons of reclaims found", found)
	}
}
