package signal

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
)

// evaluation reads a measure from what was scraped as PromQL does from what is stored.
type evaluation struct {
	metric *Metric
	match  map[string]string
	// now, and for rates an earlier scrape of the same process; nil: there is none.
	now    exposition
	before *exposition
	// whose says which replica a series is of; ok is false for one that is nobody's.
	whose func(labels map[string]string) (key string, ok bool)
}

// read returns the measure by key. found is false if there is no series of it: a number
// that cannot be true leaves out a key of what was found. NaN says that nothing ended.
func (e evaluation) read() (values map[string]float64, found bool) {
	values = e.first(e.metric.Series)
	if len(e.metric.Over) > 0 {
		whole, lacks := map[string]float64{}, map[string]bool{}
		for _, s := range e.metric.Over {
			part := e.first([]Series{s})
			for key := range values {
				v, ok := part[key]
				whole[key] += v
				lacks[key] = lacks[key] || !ok
			}
		}
		for key := range values {
			if values[key] /= whole[key]; lacks[key] {
				values[key] = math.Inf(1) // a share of what is not there is none
			}
		}
	}
	found = len(values) > 0
	maps.DeleteFunc(values, func(_ string, v float64) bool { return !plausible(v) && !e.metric.nothingEnded(v) })
	return values, found
}

// first takes for every key the first of the series that it has.
func (e evaluation) first(series []Series) map[string]float64 {
	all := map[string]float64{}
	for _, s := range series {
		for key, points := range e.points(s) {
			if _, known := all[key]; !known {
				all[key] = e.join(points) * cmp.Or(s.Scale, 1)
			}
		}
	}
	return all
}

// points are those of one series by key.
func (e evaluation) points(s Series) map[string][]point {
	name := s.Name
	if e.metric.Take == TakeP99 {
		name += "_bucket"
	}
	points := e.now.series[name]
	if e.metric.overWindow() {
		if e.before == nil {
			return nil
		}
		points = e.now.growth(*e.before, name)
	}
	byKey := map[string][]point{}
	for _, p := range points {
		if key, ok := e.whose(p.labels); ok && s.matches(p.labels) && contains(p.labels, e.match) {
			byKey[key] = append(byKey[key], p)
		}
	}
	return byKey
}

// join makes one number of a replica's series.
func (e evaluation) join(points []point) float64 {
	if e.metric.Take == TakeP99 {
		return percentile(0.99, points)
	}
	var parts []float64
	if e.metric.Parts == nil {
		for _, p := range points {
			parts = append(parts, p.value)
		}
	} else {
		highest := map[string]float64{}
		for _, p := range points {
			part := map[string]string{}
			for _, label := range e.metric.Parts {
				part[label] = p.labels[label]
			}
			key := point{labels: part}.key()
			if v, known := highest[key]; !known || p.value > v {
				highest[key] = p.value
			}
		}
		for _, key := range slices.Sorted(maps.Keys(highest)) {
			parts = append(parts, highest[key])
		}
	}
	sum := 0.0
	for _, v := range parts {
		sum += v
	}
	switch e.metric.Join {
	case JoinMax:
		return slices.Max(parts)
	case JoinMean:
		return sum / float64(len(parts))
	default:
		return sum
	}
}

// percentile finds a quantile among cumulative buckets, with equal distribution within
// one. It is NaN if there are no observations. What is beyond the highest bound is taken
// to be at that bound.
func percentile(q float64, buckets []point) float64 {
	counts := map[float64]float64{}
	for _, p := range buckets {
		if bound, err := strconv.ParseFloat(p.labels["le"], 64); err == nil {
			counts[bound] += p.value
		}
	}
	bounds := slices.Sorted(maps.Keys(counts))
	if len(bounds) < 2 || !math.IsInf(bounds[len(bounds)-1], 1) || !(counts[math.Inf(1)] > 0) {
		return math.NaN()
	}
	rank := q * counts[math.Inf(1)]
	i, _ := slices.BinarySearchFunc(bounds, rank, func(bound, rank float64) int { return cmp.Compare(counts[bound], rank) })
	switch {
	case i >= len(bounds)-1:
		return bounds[len(bounds)-2]
	case i == 0 && bounds[0] <= 0:
		return bounds[0]
	case i == 0:
		return bounds[0] * rank / counts[bounds[0]]
	}
	low, below := bounds[i-1], counts[bounds[i-1]]
	return low + (bounds[i]-low)*(rank-below)/(counts[bounds[i]]-below)
}

// matches says whether a series' labels are as the profile wants them.
func (s Series) matches(labels map[string]string) bool {
	for label, pattern := range s.MatchRegexp {
		if ok, err := regexp.MatchString("^(?:"+pattern+")$", labels[label]); err != nil || !ok {
			return false
		}
	}
	return contains(labels, s.Match)
}

func contains(labels, wanted map[string]string) bool {
	for label, value := range wanted {
		if labels[label] != value {
			return false
		}
	}
	return true
}
