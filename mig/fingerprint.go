package mig

import (
	"fmt"
	"slices"
	"strconv"
)

// Fingerprint identifies a layout: the same instances, by profile, start and generation,
// in any order, have the same, and no others have it. What they are used for does not
// matter. It can be read: 0@4#2 is the second instance that was made of profile 0 at slot
// 4; a GPU without instances is "empty".
func Fingerprint(instances []Instance) string {
	if len(instances) == 0 {
		return "empty"
	}
	if !slices.IsSortedFunc(instances, byPlace) {
		instances = slices.SortedFunc(slices.Values(instances), byPlace)
	}
	buffer := make([]byte, 0, 64)
	for i, in := range instances {
		if i > 0 {
			buffer = append(buffer, ',')
		}
		buffer = strconv.AppendInt(buffer, int64(in.Profile), 10)
		buffer = append(buffer, '@')
		buffer = strconv.AppendInt(buffer, int64(in.Start), 10)
		buffer = append(buffer, '#')
		buffer = strconv.AppendInt(buffer, in.Generation, 10)
	}
	return string(buffer)
}

func byPlace(a, b Instance) int {
	if c := a.compare(b.Placed); c != 0 {
		return c
	}
	return int(min(max(a.Generation-b.Generation, -1), 1))
}

// check returns what the board does not allow about a GPU's layout.
func (t *Table) check(gpu *GPU) error {
	at := make([]Placed, len(gpu.Instances))
	for i, in := range gpu.Instances {
		at[i] = in.Placed
	}
	if err := t.geometry.Check(at); err != nil {
		return fmt.Errorf("GPU %s: %w", gpu.UUID, err)
	}
	return nil
}
