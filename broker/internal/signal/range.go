package signal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// MaxPoints is at how many instants a query can be asked over a range: Prometheus answers
// no more.
const MaxPoints = 11_000

// Timeline is one series over a range of time. What is not plausible is left out.
type Timeline struct {
	Labels   map[string]string
	Readings []Reading
}

// Range asks a query at each step from start to end, both included, at most MaxPoints of
// them. An answer that came with warnings is returned with ErrWarned: what it has is there,
// and what it has not may be missing.
func (p *Prometheus) Range(ctx context.Context, query string, start, end time.Time, step time.Duration) ([]Timeline, error) {
	value, warnings, err := p.api.QueryRange(ctx, query, promv1.Range{Start: start, End: end, Step: step})
	if err != nil {
		return nil, errors.New(reason(err))
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("the query returned a %s, want series", value.Type())
	}
	if len(matrix) > maxSamples {
		return nil, fmt.Errorf("the query returned %d series, and no more than %d are read", len(matrix), maxSamples)
	}
	var all []Timeline
	for _, m := range matrix {
		s := Timeline{Labels: make(map[string]string, len(m.Metric))}
		for name, v := range m.Metric {
			s.Labels[string(name)] = string(v)
		}
		for _, sample := range m.Values {
			if v := float64(sample.Value); plausible(v) {
				s.Readings = append(s.Readings, Reading{Value: v, At: sample.Timestamp.Time().UTC()})
			}
		}
		all = append(all, s)
	}
	if len(warnings) > 0 {
		logr.FromContextOrDiscard(ctx).Info("Prometheus answered with warnings", "query", query, "warnings", []string(warnings))
		return all, ErrWarned
	}
	return all, nil
}
