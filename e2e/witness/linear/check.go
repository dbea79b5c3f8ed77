package linear

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Result is what was found of the units.
type Result struct {
	// Units were looked at, and Operations on them.
	Units, Operations int
	// Illegal are those whose history cannot have been, by name, with the path of its
	// drawing. Undecided are those for which the search took too long.
	Illegal   map[string]string
	Undecided []string
}

// Check looks at each unit for as long as within at most. A history that cannot have been is
// drawn into a file of folder.
func Check(ops []Op, within time.Duration, folder string) (Result, error) {
	r := Result{Illegal: map[string]string{}, Operations: len(ops)}
	byUnit := map[string][]Op{}
	for _, o := range ops {
		byUnit[o.Unit] = append(byUnit[o.Unit], o)
	}
	model := nondeterministic.ToModel()
	for _, unit := range slices.Sorted(maps.Keys(byUnit)) {
		r.Units++
		verdict, info := porcupine.CheckOperationsVerbose(model, operations(byUnit[unit]), within)
		switch verdict {
		case porcupine.Unknown:
			r.Undecided = append(r.Undecided, unit)
		case porcupine.Illegal:
			path := filepath.Join(folder, "history-"+strings.NewReplacer("/", "_", ":", "_").Replace(unit)+".html")
			if err := porcupine.VisualizePath(model, info, path); err != nil {
				return r, fmt.Errorf("draw the history of %s: %w", unit, err)
			}
			r.Illegal[unit] = path
		}
	}
	return r, nil
}

// operations gives each holder a row of its own.
func operations(ops []Op) []porcupine.Operation {
	rows := map[string]int{}
	out := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		row, known := rows[o.Holder]
		if !known {
			row = len(rows)
			rows[o.Holder] = row
		}
		out[i] = porcupine.Operation{ClientId: row, Input: o, Call: o.Call, Return: o.Return}
	}
	return out
}
