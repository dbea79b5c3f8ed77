// Package arch checks that the tree keeps the shape it was given: which package
// may import which, and what the pure packages may not do.
//
// It promises to read every Go file of the module that is compiled into a
// program, and to say of each breach where it is, what was broken and why the
// rule exists. It reads source only and compiles nothing, so it works on a tree
// that does not build. It does not look into tests, which may import anything,
// nor into nested modules.
//
// Of pages it promises that links lead somewhere, and gives the commands that they show
// to whoever knows whether there are such. It does not run them; package e2e/docs does.
package arch

import "fmt"

// Module is the path of the module whose tree is checked.
const Module = "github.com/ebbtide/ebbtide"

// Violation is one breach of a rule.
type Violation struct {
	// Where is file:line, relative to the root of the tree.
	Where string
	// What was found, and Why it is forbidden.
	What, Why string
}

// String returns the violation in one line, as a compiler would.
func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Where, v.What, v.Why) }
