// Package stage is the cluster that the faults are played in: a lab, a broker and a scheduler
// with failpoints, a service whose load is set by hand, and a team whose jobs come and go.
package stage
