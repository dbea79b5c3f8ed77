package arch

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// pure lists the packages that may only compute, and for each of them which
// others it may import. The order is the direction of the arrows.
var pure = map[string][]string{
	"quota":                 {},
	"quota/queue":           {"quota"},
	"mig":                   {},
	"broker/forecast":       {},
	"broker/grants":         {},
	"broker/lend":           {"quota", "quota/queue", "mig", "broker/forecast", "broker/grants"},
	"broker/sim":            {"broker/lend", "quota", "mig", "broker/forecast"},
	"broker/sim/baseline":   {"broker/sim", "broker/lend", "quota", "broker/forecast"},
	"broker/sim/product":    {"broker/sim", "broker/lend", "broker/grants", "broker/forecast", "mig"},
	"broker/view":           {"broker/lend", "quota", "mig", "broker/forecast"},
	"broker/counterfactual": {"broker/lend", "quota"},
	"broker/view/chart":     {"broker/view"},
	"broker/reasons":        {},
}

// Pure lists the packages that may only compute, in order of their names.
func Pure() []string { return slices.Sorted(maps.Keys(pure)) }

// impureStd are packages of the standard library, and what is below them, that
// a pure package may not import, with the reason.
var impureStd = map[string]string{
	"os":          "reads the machine",
	"net":         "talks to others",
	"io/ioutil":   "reads the machine",
	"log":         "writes to the outside; a decision explains itself by its verdicts",
	"syscall":     "reads the machine",
	"runtime":     "reads the machine",
	"unsafe":      "escapes the language",
	"plugin":      "loads code",
	"testing":     "belongs to tests",
	"sync":        "is for goroutines, of which there are none",
	"math/rand":   "draws from a global source; take the numbers as an argument",
	"crypto/rand": "draws from the machine; take the numbers as an argument",
}

// arrow forbids imports from one part of the tree.
type arrow struct {
	// from is a folder and all below it, but for those in except.
	from   string
	except []string
	// forbidden says whether an import path may not be used there.
	forbidden func(imported string) bool
	why       string
}

var arrows = []arrow{
	{
		from: ".", except: []string{"scheduler-plugin/cmd"},
		forbidden: below("k8s.io/kubernetes"),
		why:       "only scheduler-plugin/cmd imports k8s.io/kubernetes, so that its replace block binds nothing else",
	},
	{
		from: "scheduler-plugin",
		forbidden: func(imported string) bool {
			own, ok := strings.CutPrefix(imported, Module+"/broker/")
			return ok && own != "lend" && own != "lineage" && own != "api" && !strings.HasPrefix(own, "api/")
		},
		why: "the scheduler enforces and never lends: of the broker it knows the API, the pure core and whose pod a pod is, only",
	},
	{
		from:      "broker",
		forbidden: own("scheduler-plugin"),
		why:       "the broker and the scheduler meet in the API server only",
	},
	{
		from: "broker", except: []string{"broker/internal", "broker/cmd", "broker/access"},
		forbidden: below("k8s.io/client-go"),
		why:       "talking to the API server is the business of broker/internal, and of what asks it who may see what",
	},
	{
		from: "broker/api",
		forbidden: func(imported string) bool {
			return strings.HasPrefix(imported, Module+"/") && imported != Module+"/broker/grants"
		},
		why: "the API is what everything else is built against; below it is only the arithmetic of its grants",
	},
	{
		from: ".", except: []string{"mig/nvml"},
		forbidden: below("github.com/NVIDIA/go-nvml"),
		why:       "a call into NVIDIA's library before it is loaded ends the process; mig/nvml is the one place that makes any",
	},
	{
		from: "mig",
		forbidden: func(imported string) bool {
			return within(imported, Module+"/broker/lend") || within(imported, Module+"/broker/internal") || within(imported, Module+"/scheduler-plugin")
		},
		why: "a node's agent knows the API, and nothing of who lends what to whom",
	},
	{
		from: "e2e/witness",
		forbidden: func(imported string) bool {
			for _, judged := range []string{"broker/ledger", "broker/lend", "broker/grants", "broker/internal", "quota", "scheduler-plugin"} {
				if own(judged)(imported) {
					return true
				}
			}
			return false
		},
		why: "a witness that uses the code on which it testifies repeats its mistakes",
	},
	{
		from: "e2e/witness/books",
		forbidden: func(imported string) bool {
			return below(Module)(imported) || below("go.etcd.io/bbolt")(imported)
		},
		why: "the reader of the books was written from their description, down to the pages of the file",
	},
	{from: "broker", forbidden: own("e2e"), why: "the product does not depend on its tests"},
	{from: "scheduler-plugin", forbidden: own("e2e"), why: "the product does not depend on its tests"},
	{from: "quota", forbidden: own("e2e"), why: "the product does not depend on its tests"},
	{
		from: "mig",
		forbidden: func(imported string) bool {
			return imported == "plugin" || below("sigs.k8s.io/kustomize")(imported) || own("deploy")(imported)
		},
		why: "a program that links package plugin resolves all symbols when it starts, and so cannot start without NVIDIA's library",
	},
	{from: "mig", forbidden: own("e2e"), why: "the product does not depend on its tests"},
	{from: "deploy", forbidden: own("e2e"), why: "the product does not depend on its tests"},
}

// below matches an import path and everything under it.
func below(root string) func(string) bool {
	return func(imported string) bool { return within(imported, root) }
}

// own matches a folder of the module.
func own(folder string) func(string) bool { return below(Module + "/" + folder) }

func within(name, root string) bool {
	return root == "." || name == root || strings.HasPrefix(name, root+"/")
}

// CheckImports returns every import that goes against the arrows.
func CheckImports(packages []Package) []Violation {
	var found []Violation
	for _, p := range packages {
		for _, file := range p.Files {
			for _, spec := range file.Imports {
				found = append(found, p.checkImport(spec)...)
			}
		}
	}
	return found
}

func (p Package) checkImport(spec *ast.ImportSpec) []Violation {
	imported, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return []Violation{{Where: p.where(spec), What: "import " + spec.Path.Value, Why: "is not a string"}}
	}
	what := fmt.Sprintf("%s imports %s", p.Path, imported)
	var found []Violation
	if allowed, ok := pure[p.Path]; ok {
		if why := impure(imported, allowed); why != "" {
			found = append(found, Violation{Where: p.where(spec), What: what, Why: why})
		}
	}
	for _, a := range arrows {
		if a.covers(p.Path) && a.forbidden(imported) {
			found = append(found, Violation{Where: p.where(spec), What: what, Why: a.why})
		}
	}
	return found
}

func (a arrow) covers(folder string) bool {
	for _, except := range a.except {
		if within(folder, except) {
			return false
		}
	}
	return within(folder, a.from)
}

// impure says why a pure package may not import a path; empty means it may.
func impure(imported string, allowed []string) string {
	if folder, ok := strings.CutPrefix(imported, Module+"/"); ok {
		for _, name := range allowed {
			if folder == name {
				return ""
			}
		}
		return fmt.Sprintf("a pure package imports downwards only; here: %s", orNothing(allowed))
	}
	first, _, _ := strings.Cut(imported, "/")
	if strings.Contains(first, ".") {
		return "a pure package imports nothing but the standard library, so that anyone can run it anywhere"
	}
	for root, why := range impureStd {
		if within(imported, root) {
			return "a pure package may not: it " + why
		}
	}
	return ""
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing of this module"
	}
	return strings.Join(names, ", ")
}
