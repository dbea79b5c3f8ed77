// Package prewarm runs the hooks of LendingPolicies: it creates an object from a
// template, such as a Fluid DataLoad, and watches until it is ready.
//
// It promises:
//
//   - BeforeLend runs once for each time of lending: when units could be lent and none
//     are. Nothing is lent until it is done. The time of lending ends once nothing is
//     lent and the service is no longer idle.
//   - BeforeReturn runs once for each tide: when units are asked back, unless all of
//     those were lent before its last run began, and once for each window of the
//     schedule that would ask units back, so much earlier as its timeout says. Nothing
//     waits for it.
//   - A hook that cannot run or is not ready within its timeout counts as done, with an
//     event on the policy: it never stops lending for good.
//   - What ran is found again after a restart, by the objects' labels and owner. No
//     object that exists is ever changed or overwritten. A restart while nothing is lent
//     may run a BeforeLend that was ready once more.
//   - An object that is waited for is looked at every five seconds at most, and at its
//     timeout, however often decisions are made; what failed is tried again as often.
//     Only what the API server answers, or that it does not within a second, is a failure:
//     a request for which a decision has no time left is not begun, and comes first in
//     the next.
//   - Finished objects are deleted after an hour, and all but the newest three of a
//     policy at once. All go with their policy.
//
// It refuses what would lend the broker's rights to whoever may write a LendingPolicy,
// and that is law 9: the objects are created by the broker, for somebody who may not
// be allowed to create them. So only kinds that the broker's configuration names
// (hooks.kinds; none by default) and that are namespaced are created, in the policy's
// own namespace, under a name that the broker makes. Of the template's metadata only
// labels and annotations are kept: no owner, no finalizer. Whoever adds a kind to the
// configuration lets all writers of LendingPolicies create objects of that kind in
// their namespaces; a kind that runs pods under any service account (Job, Pod) is more
// than they should have.
//
// A policy with mode Advise runs nothing.
package prewarm
