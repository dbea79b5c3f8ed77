package arch

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
)

// clock are the functions of package time that read the clock or wait for it.
var clock = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTimer": true, "NewTicker": true,
}

// CheckPurity returns every place where a pure package reads the clock, starts a
// goroutine, uses a channel, or writes to a variable of its package.
func CheckPurity(packages []Package) []Violation {
	var found []Violation
	for _, p := range packages {
		if _, ok := pure[p.Path]; ok {
			found = append(found, p.checkPurity()...)
		}
	}
	return found
}

func (p Package) checkPurity() []Violation {
	c := purityCheck{Package: p}
	c.resolve()
	for _, file := range p.Files {
		ast.Inspect(file, func(node ast.Node) bool {
			c.visit(node)
			return true
		})
	}
	return c.found
}

type purityCheck struct {
	Package
	uses  map[*ast.Ident]types.Object
	scope *types.Scope
	found []Violation
}

// noImports gives every import an error: names of the package itself are all
// that must be resolved, and they are even when types of others are unknown.
type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	return nil, errors.New("not resolved: " + path)
}

func (c *purityCheck) resolve() {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := config.Check(c.Path, c.fset, c.Files, info) // imports are left out, so there always are errors
	c.uses, c.scope = info.Uses, pkg.Scope()
}

func (c *purityCheck) visit(node ast.Node) {
	switch node := node.(type) {
	case *ast.GoStmt:
		c.report(node, "starts a goroutine", "the same input would not give the same plan")
	case *ast.ChanType, *ast.SelectStmt:
		c.report(node, "uses a channel", "channels are for goroutines, of which there are none")
	case *ast.SelectorExpr:
		if c.packageName(node.X) == "time" && clock[node.Sel.Name] {
			c.report(node, "calls time."+node.Sel.Name, "the time of a decision is an argument: a recorded snapshot must replay")
		}
	case *ast.AssignStmt:
		if node.Tok == token.DEFINE {
			return
		}
		for _, left := range node.Lhs {
			c.write(left)
		}
	case *ast.IncDecStmt:
		c.write(node.X)
	}
}

// packageName returns the import path behind an identifier, or "".
func (c *purityCheck) packageName(expr ast.Expr) string {
	ident, ok := expr.(*ast.Ident)
	if !ok {
		return ""
	}
	name, ok := c.uses[ident].(*types.PkgName)
	if !ok {
		return ""
	}
	return name.Imported().Path()
}

// write reports an assignment to a variable of the package, or to a part of one.
func (c *purityCheck) write(left ast.Expr) {
	for {
		switch expr := left.(type) {
		case *ast.IndexExpr:
			left = expr.X
		case *ast.SelectorExpr:
			left = expr.X
		case *ast.StarExpr:
			left = expr.X
		case *ast.ParenExpr:
			left = expr.X
		case *ast.Ident:
			if object, ok := c.uses[expr].(*types.Var); ok && object.Parent() == c.scope {
				c.report(expr, "writes to the package's variable "+expr.Name, "what a decision depends on is an argument, never hidden")
			}
			return
		default:
			return
		}
	}
}

func (c *purityCheck) report(node ast.Node, what, why string) {
	c.found = append(c.found, Violation{Where: c.where(node), What: fmt.Sprintf("%s %s", c.Path, what), Why: why})
}
