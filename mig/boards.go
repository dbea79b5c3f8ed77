package mig

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// boardsJSON holds the boards as NVIDIA's MIG user guide and public outputs of its tools
// have them, each with its sources and with what is not known. What no source says is
// left out. Memory is rounded to 64 MiB, in which the driver counts, from sizes printed in
// GiB with two digits.
//
//go:embed boards.json
var boardsJSON []byte

// Origin is where the geometry of a board was found, and how sure it is.
type Origin struct {
	Board        string `json:"board"`
	Architecture string `json:"architecture"`
	// PCIDevices are the device IDs, four hexadecimal digits.
	PCIDevices []string `json:"pciDevices"`
	// Confidence says what the rows were read from, and what of them was assumed.
	Confidence string   `json:"confidence"`
	Sources    []string `json:"sources"`
	// Names tells what other drivers call the profiles.
	Names string `json:"names,omitempty"`
	Note  string `json:"note,omitempty"`
	// Unknown lists the fields that no source has; they are 0 in the geometry.
	Unknown []string `json:"unknown,omitempty"`
}

type boardFile struct {
	Boards []struct {
		Origin
		Geometry Geometry `json:"geometry"`
	} `json:"boards"`
}

func readBoards() boardFile {
	var file boardFile
	if err := json.Unmarshal(boardsJSON, &file); err != nil {
		panic(fmt.Sprintf("mig: the embedded boards are not as they were tested: %v", err))
	}
	return file
}

// Boards returns the boards that come with this program. They are for tests, planning
// ahead and looking for differences: of a GPU that is there, what its driver says counts.
// The boards are read anew each time, and belong to the caller.
func Boards() []Geometry {
	var all []Geometry
	for _, b := range readBoards().Boards {
		all = append(all, b.Geometry)
	}
	return all
}

// Origins returns where each of Boards comes from, in the same order.
func Origins() []Origin {
	var all []Origin
	for _, b := range readBoards().Boards {
		all = append(all, b.Origin)
	}
	return all
}

// Board returns the board of that name.
func Board(name string) (Geometry, bool) {
	for _, g := range Boards() {
		if g.Board == name {
			return g, true
		}
	}
	return Geometry{}, false
}

// BoardFor returns the board with a PCI device ID, written as the driver does, with the
// vendor (0x20B010DE), or without it (20B0).
func BoardFor(pciDevice string) (Geometry, bool) {
	id := strings.ToUpper(strings.TrimPrefix(strings.ToLower(pciDevice), "0x"))
	if vendor, ok := strings.CutSuffix(id, "10DE"); ok && len(id) == 8 {
		id = vendor
	}
	for _, b := range readBoards().Boards {
		if slices.Contains(b.PCIDevices, id) {
			return b.Geometry, true
		}
	}
	return Geometry{}, false
}

// BeforeR510 is the board under a driver before R510, which does not allow a slice of
// three beside one of four on a GPU of seven.
func (g Geometry) BeforeR510() Geometry {
	const three, four = ProfileID(2), ProfileID(3)
	_, has3 := g.Profile(three)
	_, has4 := g.Profile(four)
	if has3 && has4 {
		g.Apart = append(slices.Clone(g.Apart), [2]ProfileID{three, four})
	}
	return g
}

// Difference says in what two descriptions of a board differ, one line each, first what
// the first has. What is not known on either side, which is 0, is no difference, and
// neither is the board's name.
func Difference(a, b Geometry) []string {
	var lines []string
	say := func(what string, x, y any) { lines = append(lines, fmt.Sprintf("%s: %v, not %v", what, x, y)) }
	if a.Slots != b.Slots {
		say("slots", a.Slots, b.Slots)
	}
	engineDifference("GPU", a.Engines, b.Engines, say)
	for _, p := range a.Profiles {
		q, ok := b.Profile(p.ID)
		if !ok {
			lines = append(lines, fmt.Sprintf("profile %d (%s): only the first has it", p.ID, p.Name))
			continue
		}
		profileDifference(p, q, say)
	}
	for _, q := range b.Profiles {
		if _, ok := a.Profile(q.ID); !ok {
			lines = append(lines, fmt.Sprintf("profile %d (%s): only the second has it", q.ID, q.Name))
		}
	}
	return lines
}

func profileDifference(p, q Profile, say func(string, any, any)) {
	of := fmt.Sprintf("profile %d (%s)", p.ID, p.Name)
	if p.Name != q.Name {
		say(of+": name", p.Name, q.Name)
	}
	for _, f := range []struct {
		name string
		x, y int64
		must bool // 0 is a number, and not "not known"
	}{
		{"giProfileID", int64(p.GIProfileID), int64(q.GIProfileID), true},
		{"compute", int64(p.Compute), int64(q.Compute), true},
		{"memory", int64(p.Memory), int64(q.Memory), true},
		{"max", int64(p.Max), int64(q.Max), true},
		{"memoryMiB", p.MemoryMiB, q.MemoryMiB, false},
		{"sms", int64(p.SMs), int64(q.SMs), false},
	} {
		if f.x != f.y && (f.must || f.x != 0 && f.y != 0) {
			say(of+": "+f.name, f.x, f.y)
		}
	}
	x, y := slices.Sorted(slices.Values(p.Starts)), slices.Sorted(slices.Values(q.Starts))
	if !slices.Equal(x, y) {
		say(of+": starts", x, y)
	}
	engineDifference(of, p.Engines, q.Engines, say)
}

func engineDifference(of string, a, b Engines, say func(string, any, any)) {
	for _, f := range []struct {
		name string
		x, y int
	}{
		{"decoders", a.Decoders, b.Decoders}, {"encoders", a.Encoders, b.Encoders},
		{"jpeg", a.JPEG, b.JPEG}, {"ofa", a.OFA, b.OFA},
	} {
		if f.x != f.y && f.x != 0 && f.y != 0 {
			say(of+": "+f.name, f.x, f.y)
		}
	}
}
