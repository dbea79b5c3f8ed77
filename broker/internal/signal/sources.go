package signal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Sources is a Source for signals of every kind.
type Sources struct {
	// Prometheus answers for KindProfile and KindQuery; nil: there is none.
	Prometheus Source
	// Scraper answers for KindScrape; nil: pods are not read.
	Scraper Source
	// Readers answer for the other kinds.
	Readers map[Kind]ValueReader
	// Timeout bounds each answer of a reader.
	Timeout time.Duration
}

// Fetch implements Source: every part is asked at once about what it is for.
func (s Sources) Fetch(ctx context.Context, t Target) Sample {
	all := Sample{}.join(Sample{})
	var forPrometheus, forScraper, forReaders []Spec
	for _, spec := range t.Specs {
		if absence := s.absent(spec.Kind); absence != "" {
			all.Missing[spec.Name] = absence
			continue
		}
		switch spec.Kind {
		case KindGiven, KindAutoscaler: // somebody else reads them
		case KindProfile, KindQuery:
			forPrometheus = append(forPrometheus, spec)
		case KindScrape:
			forScraper = append(forScraper, spec)
		default:
			forReaders = append(forReaders, spec)
		}
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	ask := func(source Source, specs []Spec) {
		if len(specs) == 0 {
			return
		}
		part := t
		part.Specs = specs
		group.Go(func() {
			sample := source.Fetch(ctx, part)
			mu.Lock()
			defer mu.Unlock()
			all = all.join(sample)
		})
	}
	ask(s.Prometheus, forPrometheus)
	ask(s.Scraper, forScraper)
	ask(&valueSource{s.Readers, s.Timeout}, forReaders)
	group.Wait()
	return all
}

// absent says why nobody answers for a kind, or nothing if somebody does.
func (s Sources) absent(kind Kind) string {
	switch kind {
	case KindGiven, KindAutoscaler:
		return ""
	case KindProfile, KindQuery:
		if s.Prometheus == nil {
			return "the broker has no prometheus.url"
		}
	case KindScrape:
		if s.Scraper == nil {
			return "the broker does not read pods"
		}
	default:
		if s.Readers[kind] == nil {
			return fmt.Sprintf("the broker reads no signals of kind %s", kind)
		}
	}
	return ""
}

// join adds another part's answers.
func (s Sample) join(o Sample) Sample {
	if s.Profiles == nil {
		s.Profiles = map[string]map[Measure]Readings{}
	}
	if s.Values == nil {
		s.Values = map[string]Reading{}
	}
	if s.Missing == nil {
		s.Missing = Missing{}
	}
	maps.Copy(s.Profiles, o.Profiles)
	maps.Copy(s.Values, o.Values)
	maps.Copy(s.Missing, o.Missing)
	if s.Absent == nil && o.Absent != nil {
		s.Absent = map[string]bool{}
	}
	maps.Copy(s.Absent, o.Absent)
	return s
}

// valueSource asks the readers.
type valueSource struct {
	readers map[Kind]ValueReader
	timeout time.Duration
}

// Fetch implements Source.
func (v *valueSource) Fetch(ctx context.Context, t Target) Sample {
	var a answers
	var group sync.WaitGroup
	for _, spec := range t.Specs {
		for _, pod := range t.Pods {
			spec.Pods = append(spec.Pods, pod.Name)
		}
		group.Go(func() {
			ctx, cancel := ctx, context.CancelFunc(func() {})
			if v.timeout > 0 {
				ctx, cancel = context.WithTimeout(ctx, v.timeout)
			}
			defer cancel()
			r, err := v.readers[spec.Kind].Read(ctx, t.Namespace, spec)
			if err == nil && !plausible(r.Value) {
				err = fmt.Errorf("the value is %g, want a number from 0 to 1e15", r.Value)
			}
			a.value(spec.Name, r, err, late)
		})
	}
	group.Wait()
	return a.sample
}

// late is a reader's reason: it has named what is wrong, except that time ran out.
func late(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "there was no answer in time"
	}
	return err.Error()
}

// absence is why a measure has no readings where all were asked and nobody has it.
type absence struct{ error }

// answers gathers a sample from several goroutines.
type answers struct {
	mu     sync.Mutex
	sample Sample
}

// begin notes that a profile is asked for: with no answer at all it was asked.
func (a *answers) begin(spec string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sample = a.sample.join(Sample{Profiles: map[string]map[Measure]Readings{spec: {}}})
}

func (a *answers) value(spec string, r Reading, err error, reason func(error) string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.sample = a.sample.join(Sample{Missing: Missing{spec: reason(err)}})
		return
	}
	a.sample = a.sample.join(Sample{Values: map[string]Reading{spec: r}})
}

func (a *answers) measure(spec string, m Measure, readings Readings, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		part := Sample{Missing: Missing{of(spec, m): reason(err)}}
		if errors.As(err, new(absence)) {
			part.Absent = map[string]bool{of(spec, m): true}
		}
		a.sample = a.sample.join(part)
		return
	}
	a.sample.Profiles[spec][m] = readings
}
