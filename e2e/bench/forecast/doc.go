// Package forecast measures how much of what could be lent the broker lends, and how
// often a service is short of units because of it, over recorded loads of online
// services, against simpler rules and against one that knows the future.
//
// What is run is the broker's own code: lend.Decide with one lender, fed by the windows
// and the forecaster of broker/forecast as broker/internal/demand feeds it, an endless
// supply of jobs of one unit, and loans whose units come free exactly Notice after they
// were asked back. A recorded load is scaled so that its peak needs all units of the
// lender at the target utilization. It stays the same for a whole bin of the recording
// and then jumps, which is harder than what was recorded.
//
// A unit counts as lent while it has not been asked back, and is missing to the service
// until it is free. A window of ten minutes is short if in any minute of it the load
// needed more units than were not on loan. Where the recording has a hole the load is
// unknown to every rule, and nothing is scored.
//
// It refuses to judge what the broker was fitted to. The constants of broker/forecast are
// an hour, a day, a week and what others published. One choice was made by trial, on the
// days before those that are scored: that no more breaks are allowed for than were asked
// for, and broken bounds are made up for within a week.
package forecast
