package controller

import (
	"strconv"

	"github.com/go-logr/logr"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// checkLaws counts broken invariants. It changes nothing: what the core decides
// on such a snapshot is safe by itself, but somebody must look.
func (l *loop) checkLaws(log logr.Logger, s *lend.Snapshot) {
	for _, v := range lend.CheckLaws(*s) {
		l.metrics.violations.WithLabelValues(strconv.Itoa(v.Law)).Inc()
		log.Info("A law is broken", "law", v.Law, "subject", v.Subject, "detail", v.Message)
	}
}
