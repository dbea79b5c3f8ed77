package ebbtide

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/book"
	migslices "github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide/slices"
)

// onGPUNode notes which slices there are, and wakes the pods that may find some.
func (p *Ebbtide) onGPUNode(logger klog.Logger) cache.ResourceEventHandlerFuncs {
	set := func(obj any) {
		gn, ok := obj.(*v1alpha1.GPUNode)
		if !ok {
			return
		}
		n := p.cards.boards.Read(gn)
		before := p.cards.set(n, p.clock.Now())
		p.undos.seen(n.Name, n.Reshapes)
		if n.GotOn(before) {
			p.gaps.over(n.Name)
		}
		if n.MayHelp(before, p.reservedOf) {
			p.activate(logger, p.wantingSlicesOf(n))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, after any) { set(after) },
		DeleteFunc: func(obj any) {
			if gn, ok := deleted[*v1alpha1.GPUNode](obj); ok {
				n := p.cards.on(gn.Name)
				p.cards.drop(gn.Name)
				p.undos.seen(gn.Name, nil)
				p.gaps.over(gn.Name)
				if n != nil { // from here on counts have to do
					p.activate(logger, p.wantingSlicesOf(n))
				}
			}
		},
	}
}

// reservedOf returns the slices that were reserved for who holds some; none if that pod is
// not known, or not any more.
func (p *Ebbtide) reservedOf(holder v1alpha1.GPUHolder) []v1alpha1.InstanceRef {
	obj, exists, err := p.pods.GetByKey(holder.Namespace + "/" + holder.Name)
	if err != nil || !exists {
		return nil
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok || holder.UID != "" && holder.UID != pod.UID {
		return nil
	}
	return p.reservedFor(pod)
}

// wantingSlicesOf returns the pods that wait for slices or devices as the node has, on a node
// that they may use. Those that wait for quota are not helped by slices.
func (p *Ebbtide) wantingSlicesOf(n *migslices.Node) []*corev1.Pod {
	resources := slices.AppendSeq(n.Resources(), maps.Keys(n.Devices())) // whole GPUs can be devices too
	return slices.DeleteFunc(p.pending(), func(pod *corev1.Pod) bool {
		var wanted []corev1.ResourceName
		for _, r := range book.Requests(pod, nil) {
			if slices.Contains(resources, r.Resource) {
				wanted = append(wanted, r.Resource)
			}
		}
		return len(wanted) == 0 || p.blocked.has(pod.UID) || !p.mayUse(pod, n.Name, wanted)
	})
}

// sweepSilent wakes the pods that wait for slices of nodes whose agents have fallen
// silent since: from here on counts have to do there; or speak again: what is being
// reshaped there can be taken back now.
func (p *Ebbtide) sweepSilent(logger klog.Logger) {
	now := p.clock.Now()
	for _, n := range p.cards.all() {
		fresh := n.Fresh(now)
		if !p.cards.heardOf(n.Name, fresh) {
			continue
		}
		if fresh {
			logger.Info("The agent of a node speaks again", "node", n.Name, "heartbeat", n.Heartbeat)
		} else {
			logger.Info("The agent of a node is silent; its slices go by counts", "node", n.Name, "heartbeat", n.Heartbeat)
		}
		p.activate(logger, p.wantingSlicesOf(n))
	}
}
