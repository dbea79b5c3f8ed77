// Package monitoring has what Ebbtide is watched with: rules for Prometheus, dashboards for
// Grafana, and the page about metrics.
//
// It promises that every metric and label that a rule or a dashboard names is one that a
// program has, by package catalogue. rules.yaml is written by hand; prometheusrule.yaml, the
// dashboards and docs/reference/metrics.md are written from it and from this package by
//
//	go test ./deploy/monitoring -update
//
// It refuses to alert on what nobody can do anything about: each alert has a section of
// docs/operations/alerts.md that says what to do.
package monitoring
