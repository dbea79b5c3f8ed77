package lend

import (
	"slices"
)

// packs reports whether pods of the given sizes fit nodes with the given room, by
// trying everything. It shares no code with the bins that it checks.
func packs(rooms, pods []int64) bool {
	pods = slices.Clone(pods)
	slices.Sort(pods)
	slices.Reverse(pods)
	rooms = slices.Clone(rooms)
	for i := range rooms {
		rooms[i] = max(rooms[i], 0)
	}
	return pack(rooms, pods)
}

func pack(rooms, pods []int64) bool {
	if len(pods) == 0 {
		return true
	}
	var have, need int64
	for _, r := range rooms {
		have += r
	}
	for _, p := range pods {
		need += p
	}
	if need > have {
		return false
	}
	tried := map[int64]bool{}
	for i := range rooms {
		if rooms[i] < pods[0] || tried[rooms[i]] {
			continue
		}
		tried[rooms[i]] = true
		rooms[i] -= pods[0]
		ok := pack(rooms, pods[1:])
		rooms[i] += pods[0]
		if ok {
			return true
		}
	}
	return false
}

// view is a test's own reading of a snapshot: what nodes can give of one flavor.
// Victims are loans that count as coming free besides those that end.
type view struct {
	free, soon, back []int64 // by schedulable node
	nodes            []string
}

func look(in Snapshot, flavor string, victims map[string]bool) view {
	var v view
	for _, n := range in.Nodes {
		for _, u := range n.Units {
			if !n.Schedulable || u.Flavor != flavor {
				continue
			}
			free := u.Capacity - u.Online - u.Other
			soon := free + u.Leaving
			back := soon
			for _, l := range in.Loans {
				ends := l.Finished || l.Reclaiming || l.Preempted || victims[l.Name]
				lent := slices.ContainsFunc(l.Grants, func(g Grant) bool { return g.Lender != "" })
				for _, g := range l.Grants {
					if g.Node != n.Name || g.Flavor != flavor {
						continue
					}
					free -= g.Count
					if !ends {
						soon -= g.Count
						if !lent {
							back -= g.Count
						}
					}
				}
			}
			v.nodes = append(v.nodes, n.Name)
			v.free = append(v.free, free)
			v.soon = append(v.soon, soon)
			v.back = append(v.back, back)
		}
	}
	return v
}

// owned lists the pods that lenders own beyond those that run, by size.
func owned(in Snapshot, flavor string) []int64 {
	var pods []int64
	for _, l := range in.Lenders {
		if l.Flavor != flavor {
			continue
		}
		for range l.Owned/l.UnitsPerPod - l.Running {
			pods = append(pods, l.UnitsPerPod)
		}
	}
	return pods
}

// repeat lists the pods of an Owed list, by size.
func repeat(owed []Owed, flavor string) []int64 {
	var pods []int64
	for _, o := range owed {
		if o.Flavor != flavor {
			continue
		}
		for range o.Pods {
			pods = append(pods, o.UnitsPerPod)
		}
	}
	return pods
}
