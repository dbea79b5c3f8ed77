package audit

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/audit/decisions"
)

// burstGap ends a burst of take-backs: victims marked within it of each other
// belong to the same reclaim.
const burstGap = 300 * time.Millisecond

// burst is a run of take-backs by the scheduler, judged as one reclaim.
type burst struct {
	last    time.Time
	victims map[string]*loan
	// others were asked back by the broker meanwhile: they make room too.
	others map[string]*loan
	// owed are the pods with a right to units that waited at any time during the burst.
	owed map[types.UID]*pod
	// free per node at the burst's begin, of what no victim holds.
	free []int64
	// nodes as free counts them.
	nodes []string
}

// owe counts a pod that waits for what its tenant was promised.
func (a *auditor) owe(b *burst, p *pod) {
	if p.wants() && a.cluster.promised(p) {
		b.owed[p.uid] = p
	}
}

// takeBack notes that the scheduler marked a pod as a victim. A loan that the
// broker had asked back before is the broker's victim.
func (a *auditor) takeBack(p *pod, now time.Time) {
	l := a.cluster.byJob[p.job]
	if l == nil || l.reclaimed {
		return
	}
	if a.burst != nil && now.Sub(a.burst.last) > burstGap {
		a.judgeBurst()
	}
	if a.burst == nil {
		a.burst = a.beginBurst()
	}
	a.burst.last = now
	a.burst.victims[l.name] = l
	l.reclaimed, l.counted = true, true
	a.report.TakeBacks++
	a.report.Reclaimed++
}

func (a *auditor) beginBurst() *burst {
	b := &burst{victims: map[string]*loan{}, others: map[string]*loan{}, owed: map[types.UID]*pod{}}
	b.nodes, b.free = a.cluster.freeByNode()
	for _, p := range a.cluster.pods {
		a.owe(b, p)
	}
	return b
}

func (a *auditor) closeBurst(now time.Time) {
	if a.burst != nil && now.Sub(a.burst.last) > burstGap {
		a.judgeBurst()
	}
}

// judgeBurst finds victims that could have been spared with the others still
// making room for all that waited. Of pods that may go to different nodes each kind is
// looked at by itself, with all that may go to some of the same nodes: where they share
// some only, a victim may be thought to be needed that was not.
func (a *auditor) judgeBurst() {
	b := a.burst
	a.burst = nil
	if a.opts.Others {
		return
	}
	for _, spared := range b.victims {
		if a.fitsSparing(b, spared) {
			a.report.Needless = append(a.report.Needless, fmt.Sprintf(
				"%s take-back of %s: %d waiting pods had room without it, beside %d other victims",
				b.last.UTC().Format("15:04:05.000"), spared.name, len(b.owed), len(b.victims)-1))
		}
	}
}

// fitsSparing tells whether all that waited have room when all victims but one go.
func (a *auditor) fitsSparing(b *burst, spared *loan) bool {
	all := b.roomsSparing(spared)
	seen := map[string]bool{}
	for _, kind := range b.owed {
		selector := fmt.Sprint(kind.selector) // in order
		if seen[selector] {
			continue
		}
		seen[selector] = true
		var rooms []int64
		meets := map[types.UID]bool{}
		for i, node := range b.nodes {
			if !a.cluster.mayGo(kind, node) {
				continue
			}
			rooms = append(rooms, all[i])
			for uid, p := range b.owed {
				meets[uid] = meets[uid] || a.cluster.mayGo(p, node)
			}
		}
		bySize := map[int64]int64{}
		for uid, p := range b.owed {
			if meets[uid] {
				bySize[p.units]++
			}
		}
		var want []decisions.Shape
		for units, pods := range bySize {
			want = append(want, decisions.Shape{Units: units, Pods: pods})
		}
		if !decisions.Fits(rooms, want) {
			return false
		}
	}
	return true
}

// mayGo tells whether a pod's selector allows a node.
func (c *cluster) mayGo(p *pod, node string) bool {
	for key, value := range p.selector {
		if c.labels[node][key] != value {
			return false
		}
	}
	return true
}

// roomsSparing is what each node has to give when all victims but one go.
func (b *burst) roomsSparing(spared *loan) []int64 {
	freed := map[string]int64{}
	for _, gone := range []map[string]*loan{b.victims, b.others} {
		for _, v := range gone {
			for _, g := range v.grants {
				if v != spared {
					freed[g.Node] += g.Count
				}
			}
		}
	}
	rooms := make([]int64, len(b.nodes))
	for i, node := range b.nodes {
		rooms[i] = b.free[i] + freed[node]
	}
	return rooms
}

// freeByNode counts per node what is not held, or held by something that is
// going: pods being deleted, and loans asked back.
func (c *cluster) freeByNode() ([]string, []int64) {
	granted := map[string]int64{}
	for _, l := range c.loans {
		if l.reclaimed {
			continue
		}
		for _, g := range l.grants {
			granted[g.Node] += g.Count
		}
	}
	var nodes []string
	var free []int64
	for node, capacity := range c.nodes {
		left := capacity - granted[node]
		for _, p := range c.onNode[node] {
			if (p.online || !p.queued) && !p.terminating {
				left -= p.units
			}
		}
		nodes, free = append(nodes, node), append(free, left)
	}
	return nodes, free
}
