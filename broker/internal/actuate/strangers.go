package actuate

import (
	"cmp"
	"fmt"

	"github.com/ebbtide/ebbtide/broker/internal/gather"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// subjectStranger is a pod that asks for GPUs through another scheduler.
const subjectStranger lend.SubjectKind = "Pod"

// mostStrangers bounds the pods that are told of in one round; metrics count them all.
const mostStrangers = 100

// strangers says, in an event on each such pod, that another scheduler is asked for it.
func (r *round) strangers() []lend.Verdict {
	var said []lend.Verdict
	for i := range r.view.Strangers[:min(mostStrangers, len(r.view.Strangers))] {
		s := &r.view.Strangers[i]
		v := lend.Verdict{
			Kind: subjectStranger, Subject: s.Namespace + "/" + s.Name, UID: string(s.UID),
			Reason: gather.ReasonOtherScheduler,
			Message: fmt.Sprintf("asked for %d %s through the scheduler %s, on %s: a GPU that two schedulers hand out is used twice",
				s.Units, s.Resource, s.Scheduler, cmp.Or(s.Node, "no node yet")),
		}
		r.Events.Verdict(reference("Pod", "v1", s.Namespace, s.Name, string(s.UID)), &v, "Found")
		said = append(said, v)
	}
	return said
}
