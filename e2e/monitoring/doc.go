// Package monitoring tries the rules and dashboards of deploy/monitoring on a real Prometheus
// that scrapes a real broker.
//
// It promises nothing to other packages: it is tests only.
package monitoring
