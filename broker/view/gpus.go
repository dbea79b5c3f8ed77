package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hold says who has a slice of a GPU.
type Hold string

// What can be said of a slice; each is drawn as its letter over the slots that it takes.
const (
	HoldFree    Hold = "-" // nobody has it
	HoldKept    Hold = "p" // nobody has it, and it is kept for services
	HoldService Hold = "S" // a pod that is on no loan
	HoldPinned  Hold = "P" // such a pod, and it is kept for services
	HoldLoan    Hold = "L" // a pod on a loan
	HoldSome    Hold = "h" // a pod of which it could not be read whose it is
	HoldBad     Hold = "x" // it is foreign, stuck or a remnant
	HoldUnknown Hold = "?" // the node's agent does not know
)

// Slice is one instance of a GPU.
type Slice struct {
	Profile     string
	Start, Size int
	Hold        Hold
	// Kept: it is kept for services.
	Kept bool
	// Holder is the pod's namespace/name; empty if there is none.
	Holder string
}

// GPU is what the table of GPUs shows of one.
type GPU struct {
	Node, UUID, Product string
	// Slots is 0 for a GPU that is not cut.
	Slots  int
	Slices []Slice // by Start
	// Whole is who has a GPU that is not cut.
	Whole  Slice
	Making []string // what its layout is being changed to, and how far that is
	State  string
	Heard  time.Time
}

// Layout draws a GPU's slots from the first to the last: |L|L|--|P|.| has two slices of
// one slot with a pod on a loan, one of two slots that nobody has, one that is kept and
// held, and one slot without a slice.
func Layout(slots int, list []Slice) string {
	var b strings.Builder
	at := 0
	b.WriteString("|")
	for _, s := range list {
		for ; at < s.Start && at < slots; at++ {
			b.WriteString(".|")
		}
		if s.Start < at || s.Start+s.Size > slots || s.Size < 1 {
			continue // what overlaps cannot be drawn
		}
		b.WriteString(strings.Repeat(string(s.Hold), s.Size) + "|")
		at += s.Size
	}
	for ; at < slots; at++ {
		b.WriteString(".|")
	}
	return b.String()
}

// GPUs is the table of GPUs, in the order given.
func GPUs(gpus []GPU, now time.Time) Table {
	t := Table{Columns: columns("NODE", "GPU", "UUID+", "PRODUCT", "LAYOUT", "SLICES", "KEPT", "HELD", "LENT", "FREE", "CHANGE", "STATE", "HEARD", "HOLDERS+")}
	for i := range gpus {
		g := &gpus[i]
		layout, list := None, []Slice{g.Whole}
		if g.Slots > 0 {
			layout, list = Layout(g.Slots, g.Slices), g.Slices
		}
		count := func(holds ...Hold) string {
			n := 0
			for _, s := range list {
				if slices.Contains(holds, s.Hold) {
					n++
				}
			}
			return strconv.Itoa(n)
		}
		t.Rows = append(t.Rows, []string{
			cell(g.Node), short(g.UUID), cell(g.UUID), cell(g.Product), layout, profiles(g.Slices),
			strconv.Itoa(kept(g.Slices)), count(HoldService, HoldPinned, HoldSome), count(HoldLoan), count(HoldFree),
			all(g.Making), cell(g.State), Age(now, g.Heard), all(holders(list)),
		})
	}
	return t
}

// kept is how many slices are kept for services, whoever has them.
func kept(list []Slice) int {
	n := 0
	for _, s := range list {
		if s.Kept {
			n++
		}
	}
	return n
}

// short is the beginning of a UUID, which tells a node's GPUs apart.
func short(uuid string) string {
	const enough = len("GPU-12345678")
	return cell(uuid[:min(len(uuid), enough)])
}

// profiles counts the slices of each kind, the larger ones first: 1x4g.20gb,3x1g.5gb.
func profiles(list []Slice) string {
	counts, sizes := map[string]int{}, map[string]int{}
	var names []string
	for _, s := range list {
		if counts[s.Profile]++; counts[s.Profile] == 1 {
			names = append(names, s.Profile)
		}
		sizes[s.Profile] = s.Size
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%dx%s", counts[name], name)
	}
	return all(names)
}

// holders says who has what: 4=serving/chat-0.
func holders(list []Slice) []string {
	var out []string
	for _, s := range list {
		if s.Holder != "" {
			out = append(out, fmt.Sprintf("%d=%s", s.Start, s.Holder))
		}
	}
	return out
}
