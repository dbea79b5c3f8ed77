// Package schedule reads the windows of a LendingPolicy's schedule: two crons and a
// time zone.
//
// A window is open from a time of its start to the next time of its end. It promises
// that none is lost to a change of the clocks:
//
//   - times that the clocks skip come at the moment of the change, in their order: a
//     window from 02:30 to 05:00 opens at 03:00 on that day, one from 02:15 to 02:45
//     does not open
//   - times that come twice come twice: a window from 01:15 to 01:45 opens twice, and
//     one that opens at 01:30 and closes at 06:00 opens at the first 01:30
//
// Where day of month and day of week are both given, either suffices, as in crontab(5)
// and in a CronJob. Where a start and an end come at the same time, the window goes on.
//
// The database of time zones is compiled in, so that an image without one behaves
// the same. It refuses what cannot mean what its writer thinks: another number of
// fields, a TZ= inside, @daily, seconds, a day that no month has.
package schedule

import _ "time/tzdata" // the image has no /usr/share/zoneinfo
