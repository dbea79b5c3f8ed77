package cli

import "github.com/ebbtide/ebbtide/broker/lend"

// rulesByReason say by which rule units are asked back, to whom they are asked from.
var rulesByReason = map[string]string{
	lend.ReasonAboveHighWater:       "a service takes its units back as soon as its load is above its high water",
	lend.ReasonNeedRose:             "a service takes back what it needs, and keeps warm, as soon as that is more than is free",
	lend.ReasonLenderPodPending:     "an online pod that waits for a unit gets it back before anything else",
	lend.ReasonLenderUnknownTooLong: "what is lent goes back, step by step, when a service's load has been unknown for too long: unknown is not idle",
	lend.ReasonQueueDraining:        "the queue is being emptied: its spec.drain is set",
	lend.ReasonOwnerWants:           "a tenant gets back what is within its nominal quota when it wants it",
	lend.ReasonFairShare:            "what can be borrowed is shared by weight: a tenant with a smaller share wants it",
	lend.ReasonOutranked:            "within a tenant, a job with a higher priority comes first",
	lend.ReasonCrowdedOut:           "others held its units before its pods had taken them",
	lend.ReasonSlicesUndone:         "the slices that it ran on were undone",
	lend.ReasonNotStarted:           "a gang whose pods find no node for too long gives its units back",
	lend.ReasonNodeUnhealthy:        "a node of it is gone",
	lend.ReasonPreempted:            "the scheduler makes room for an online pod by itself when the broker has not",
	lend.ReasonReturned:             "its units were asked back",
}
