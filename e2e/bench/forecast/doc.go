// Package forecast measures how much of what could be lent the broker lends, and how
// often a service is short of units because of it, over recorded loads of online
// services, against simpler rules and against one that knows the future.
//
// What is run is the broker's own code: lend.Decide with one lender, fed by the windows
// and the forecaster of broker/forecast as broker/internal/demand feeds it, an endless
// supply of jobs of one unit, and loans whose units come free exactly Notice after they
// were asked back. A recorded load is scaled so that its peak needs all units of the
// lender at the target utilization.
//
// The recordings are means of 7 or 10 minutes, and of some hours of the DeepSeek day. What a
// load did within them is not known. A curve stays the same for a whole bin and then jumps,
// which is harder than what was recorded: no notice however short helps against a jump. The
// same curve ramped goes in straight lines from bin to bin, which is softer. The truth is in
// between; the lines of JSON and the aims are about the former.
//
// The oracle has the broker's notice and whole units, and is held back by nothing else. The
// best in hindsight is what simple bounds lend within the aims with the factor that the
// very minutes scored call for: a rule that does not know the future can hardly do better.
// Which curves are forecastable is said by forecast.Scatter and the policy's limit, as it is
// in the broker.
//
// A unit counts as lent while it has not been asked back, and is missing to the service
// until it is free. A window of ten minutes is short if in any minute of it the load
// needed more units than were not on loan. Where the recording has a hole the load is
// unknown to every rule, and nothing is scored.
//
// It refuses to judge what the broker was fitted to. The constants of broker/forecast are
// an hour, a day, a week, the marks of the band of 30/70 and what others published. One choice was made by trial, on the
// days before those that are scored: that no more breaks are allowed for than were asked
// for, and broken bounds are made up for within a week.
package forecast
