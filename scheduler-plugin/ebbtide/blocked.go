package ebbtide

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/account"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
)

// wakeAtOnce is how many pods that wait for quota are tried when some comes free.
// Each that is tried wakes those that still find room after it.
const wakeAtOnce = 16

// blocked remembers, by tenant, the pods that wait for its nominal quota. After a
// restart every pod is tried anyway.
type blocked struct {
	mu      sync.Mutex
	tenants map[string]map[types.UID]*inLine
	of      map[types.UID]string
}

// inLine is one pod that waits. Only woken and roomless ever change.
type inLine struct {
	pod      *corev1.Pod
	requests []book.Request
	woken    bool
	// short are the flavors that are too full for the pod, where others are not: it waits
	// for units of those as well. Their tenant is as it was then.
	short  []shortage
	tenant *account.Tenant
	// roomless: there would be quota if others made way, and it is units that it lacks.
	roomless bool
}

// shortage is how much was left of a flavor of which a pod asks for more.
type shortage struct {
	flavor      int
	left, units int64
}

func newBlocked() *blocked {
	return &blocked{tenants: map[string]map[types.UID]*inLine{}, of: map[types.UID]string{}}
}

func (b *blocked) note(tenant string, pod *corev1.Pod, requests ...book.Request) {
	b.put(tenant, &inLine{pod: pod, requests: requests})
}

// notePartly is note for a pod that waits for units as well.
func (b *blocked) notePartly(tenant *account.Tenant, pod *corev1.Pod, requests []book.Request, short []shortage) {
	b.put(tenant.Name, &inLine{pod: pod, requests: requests, tenant: tenant, short: short})
}

func (b *blocked) put(tenant string, e *inLine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(e.pod.UID)
	if b.tenants[tenant] == nil {
		b.tenants[tenant] = map[types.UID]*inLine{}
	}
	b.tenants[tenant][e.pod.UID], b.of[e.pod.UID] = e, tenant
}

func (b *blocked) forget(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(pod)
}

func (b *blocked) drop(pod types.UID) {
	tenant, known := b.of[pod]
	if !known {
		return
	}
	delete(b.of, pod)
	if delete(b.tenants[tenant], pod); len(b.tenants[tenant]) == 0 {
		delete(b.tenants, tenant)
	}
}

// has reports whether the pod waits for quota and nothing else: no units help it.
func (b *blocked) has(pod types.UID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.tenants[b.of[pod]][pod]
	return e != nil && len(e.short) == 0 && !e.roomless
}

// lacksRoom notes that units may help the pod, though it is in line for quota: whoever has
// that would make way for it. Of one tenant no more than wakeAtOnce are noted, because each
// looks at all nodes when it is tried.
func (b *blocked) lacksRoom(pod types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line, noted := b.tenants[b.of[pod]], 0
	for _, e := range line {
		if e.roomless {
			noted++
		}
	}
	if e := line[pod]; e != nil && noted < wakeAtOnce {
		e.roomless = true
	}
}

// any reports whether anybody waits for the tenant's quota.
func (b *blocked) any(tenant string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.tenants[tenant]) > 0
}

// take takes the pod out of the line, because it is tried or gone. It returns the tenant,
// and whether the pod was woken for its quota.
func (b *blocked) take(pod types.UID) (tenant string, woken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tenant = b.of[pod]
	if e := b.tenants[tenant][pod]; e != nil {
		woken = e.woken
	}
	b.drop(pod)
	return tenant, woken
}

// waiters returns the tenant's pods in line.
func (b *blocked) waiters(tenant string) []*inLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.tenants[tenant]))
}

// next returns the tenant's pods that are to be tried first, of those that room
// accepts: the highest priority, then the oldest. The one given is left out. Those
// that do not wait any more leave the line: a pod may be deleted in the midst of its
// cycle, and is then noted after it was forgotten.
func (b *blocked) next(tenant string, except types.UID, waits func(*corev1.Pod) bool, room func(*inLine) bool) []*corev1.Pod {
	var fit []*inLine
	for _, e := range b.waiters(tenant) { // judged without the lock
		switch {
		case e.pod.UID == except:
		case !waits(e.pod):
			b.forget(e.pod.UID)
		case room(e):
			fit = append(fit, e)
		}
	}
	slices.SortFunc(fit, func(x, y *inLine) int {
		return cmp.Or(cmp.Compare(book.Priority(y.pod), book.Priority(x.pod)),
			x.pod.CreationTimestamp.Compare(y.pod.CreationTimestamp.Time), cmp.Compare(x.pod.UID, y.pod.UID))
	})
	fit = fit[:min(len(fit), wakeAtOnce)]
	b.mu.Lock()
	defer b.mu.Unlock()
	pods := make([]*corev1.Pod, len(fit))
	for i, e := range fit {
		e.woken, pods[i] = true, e.pod
	}
	return pods
}

// wake tries pods again that wait for quota of the tenants, of which some came free.
func (p *Ebbtide) wake(logger klog.Logger, tenants []string) {
	for _, tenant := range tenants {
		p.activate(logger, p.nextInLine(tenant, ""))
	}
}

// passOn tries the next pods in line: what came free may be for them, or be enough
// for them too.
func (p *Ebbtide) passOn(logger klog.Logger, pod *corev1.Pod, tenant string) {
	p.activate(logger, p.nextInLine(tenant, pod.UID))
}

// leaveLine takes a pod out of the line that will not be tried any more. If it was woken,
// those behind it are to be: it wakes nobody itself.
func (p *Ebbtide) leaveLine(logger klog.Logger, pod *corev1.Pod) {
	if tenant, woken := p.blocked.take(pod.UID); woken {
		p.passOn(logger, pod, tenant)
	}
}

func (p *Ebbtide) nextInLine(tenant string, except types.UID) []*corev1.Pod {
	known := map[string]bool{}
	return p.blocked.next(tenant, except, p.stillWaits, func(e *inLine) bool { return p.findsRoom(e, known) })
}

// findsRoom reports whether the quota has room for the pod now. Pods that it has none
// for would take the turn of those behind them. known is what was said of the loans
// and groups of others in the same line.
func (p *Ebbtide) findsRoom(e *inLine, known map[string]bool) bool {
	once := func(key string, ask func() bool) bool {
		if _, asked := known[key]; !asked {
			known[key] = ask()
		}
		return known[key]
	}
	switch loan, reason := p.loanFor(e.pod); {
	case reason != "":
		return false
	case loan != nil:
		return once("loan/"+string(loan.UID), func() bool { return p.whyOwnQuotaWaits(loan) == "" })
	}
	requests := e.requests
	if len(requests) == 0 {
		requests = book.Requests(e.pod, p.account.Resources())
	}
	tenant, err := p.account.Tenant(e.pod.Namespace)
	if err != nil {
		return false
	}
	c := &cycle{requests: requests, tenant: tenant, used: p.account.Used(tenant, e.pod.UID, book.Priority(e.pod))}
	if c.used == nil {
		return true // who knows
	}
	switch {
	case len(e.short) > 0:
		return e.gained(tenant, c.used)
	case slices.ContainsFunc(requests, func(r book.Request) bool { return !hasRoom(tenant, r, c.used) }):
		return false
	}
	if c.group, _ = p.groupOf(e.pod); c.group == nil {
		return true
	}
	return once("group/"+c.group.name+"/"+describe(requests), func() bool { return p.whyNoQuotaForGroup(c, e.pod) == "" })
}

// awaitFlavors puts a pod that found no units in line for those flavors of its tenant whose
// quota is too full for it: on their nodes there may be some. One for which all are too full
// is in line already.
func (p *Ebbtide) awaitFlavors(ctx context.Context, pod *corev1.Pod, c *cycle) {
	short := shortOf(c)
	if c.full || len(short) == 0 {
		return
	}
	// In line before looking again: what comes free meanwhile is not missed.
	p.blocked.notePartly(c.tenant, pod, c.requests, short)
	e := &inLine{pod: pod, requests: c.requests, tenant: c.tenant, short: short}
	if p.findsRoom(e, map[string]bool{}) {
		p.activate(klog.FromContext(ctx), []*corev1.Pod{pod})
	}
}

// shortOf returns the flavors that have not as much left as the pod asks for, of all that
// it asks for together: they may draw on the same quota.
func shortOf(c *cycle) []shortage {
	var short []shortage
	all := allUnits(c.requests)
	for _, r := range c.requests {
		for _, f := range c.tenant.Flavors(r.Resource) {
			if left := c.tenant.Left(f, c.used); left < all {
				short = append(short, shortage{f, left, r.Units})
			}
		}
	}
	return short
}

// gained reports whether there is more left of any flavor that was too full, and enough.
func (e *inLine) gained(tenant *account.Tenant, used account.Use) bool {
	return tenant != e.tenant || slices.ContainsFunc(e.short, func(s shortage) bool {
		left := tenant.Left(s.flavor, used)
		return left > s.left && left >= s.units
	})
}
