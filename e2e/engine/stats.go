package engine

// vLLM's bucket bounds, in seconds.
var (
	firstTokenBounds = []float64{
		0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
		1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
	}
	interTokenBounds = []float64{
		0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
		1, 2.5, 5, 7.5, 10, 20, 40, 80,
	}
	requestBounds = []float64{
		0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60,
		120, 240, 480, 960, 1920, 7680,
	}
)

// stats are a replica's counters and histograms since it started.
type stats struct {
	firstToken, interToken, endToEnd, queued histogram

	promptTokens, outputTokens, stopped int64
}

func newStats() stats {
	return stats{
		firstToken: newHistogram(firstTokenBounds),
		interToken: newHistogram(interTokenBounds),
		endToEnd:   newHistogram(requestBounds),
		queued:     newHistogram(requestBounds),
	}
}

// observe counts a request that finished at now.
func (s *stats) observe(done running, now float64, m *Model) {
	s.firstToken.add(done.firstToken+m.DecodeSecondsPerToken-done.arrived, 1)
	if done.output > 1 {
		s.interToken.add(m.DecodeSecondsPerToken, uint64(done.output-1))
	}
	s.endToEnd.add(now-done.arrived, 1)
	s.queued.add(done.started-done.arrived, 1)
	s.promptTokens += int64(done.prompt)
	s.outputTokens += int64(done.output)
	s.stopped++
}

func (s *stats) clone() stats {
	c := *s
	for _, h := range []*histogram{&c.firstToken, &c.interToken, &c.endToEnd, &c.queued} {
		h.counts = append([]uint64(nil), h.counts...)
	}
	return c
}

// histogram counts values per bucket, the last one without an upper bound.
type histogram struct {
	bounds []float64
	counts []uint64
	sum    float64
	n      uint64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) add(v float64, times uint64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i] += times
	h.sum += v * float64(times)
	h.n += times
}

// cumulative returns the counts as Prometheus wants them: of all values up to
// each bound.
func (h *histogram) cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(h.bounds))
	total := uint64(0)
	for i, bound := range h.bounds {
		total += h.counts[i]
		buckets[bound] = total
	}
	return buckets
}
