package signal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
)

const (
	// maxBody bounds what one pod may answer, and maxSeries how much of that is kept.
	maxBody   = 4 << 20
	maxSeries = 20000
	// maxScrapes is how many pods are read at once, and maxOfTenant how many of one
	// tenant: pods that hang must not keep others' from being read.
	maxScrapes  = 32
	maxOfTenant = 8
	// fetchTimeouts is how many times the timeout of one pod a whole Fetch may take.
	fetchTimeouts = 2
	// rates are over the scrapes of rateSpan; one in rateStep is kept for that.
	rateSpan = 2 * time.Minute
	rateStep = 20 * time.Second
)

// Scraper is a Source that reads profiles from the target's ready pods. It connects to
// no address but a pod's own: it follows no redirect and uses no proxy. A reading is as
// old as its scrape.
//
// Its bounds: reading one pod takes no longer than the timeout, and one Fetch no longer
// than twice that; pods whose turn has not come by then were not heard. No more than 32
// pods are read at once, and 8 of one tenant; a place goes to the tenant that has the
// fewest. One tenant, with however many policies and pods that hang, leaves 24 places
// to the others; if many do so, one without a place waits for the first that comes free,
// and every one does within the timeout. Of one service, pods that did not answer the
// last time are read after the others.
type Scraper struct {
	client  *http.Client
	timeout time.Duration
	clock   clock.PassiveClock
	turns   *turns

	mu sync.Mutex
	// past is by target and question.
	past map[string]past
}

// past has the scrapes that rates are over, the oldest first, and when the last was.
type past struct {
	at   time.Time
	pods map[Pod][]exposition
	// mute are the pods that did not answer when they were asked last.
	mute map[Pod]bool
}

// NewScraper returns a scraper; reading one pod takes at most timeout.
func NewScraper(timeout time.Duration, clk clock.PassiveClock) *Scraper {
	return &Scraper{
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: timeout, clock: clk,
		turns: newTurns(maxScrapes, maxOfTenant), past: map[string]past{},
	}
}

// Fetch implements Source for KindScrape. It reads all pods at once, as many as may be.
func (s *Scraper) Fetch(ctx context.Context, t Target) Sample {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeouts*s.timeout)
	defer cancel()
	var a answers
	var group sync.WaitGroup
	for _, spec := range t.Specs {
		if spec.Kind == KindScrape {
			a.begin(spec.Name)
			group.Go(func() { s.spec(ctx, t, spec, &a) })
		}
	}
	group.Wait()
	return a.sample
}

// podAnswer is what one pod said.
type podAnswer struct {
	pod      Pod
	now      exposition
	before   *exposition
	err      error
	measures map[Measure]float64
	found    map[Measure]bool
}

// spec reads one profile from all pods.
func (s *Scraper) spec(ctx context.Context, t Target, spec Spec, a *answers) {
	answers := make([]podAnswer, len(t.Pods))
	question := t.Name + " " + spec.Name + " " + spec.Profile
	var group errgroup.Group
	group.SetLimit(maxOfTenant)
	for i, pod := range s.order(question, t.Pods) {
		group.Go(func() error {
			answers[i] = s.pod(ctx, cmp.Or(t.Tenant, t.Namespace), pod, spec)
			return nil
		})
	}
	_ = group.Wait() // every error is in its answer
	s.remember(question, spec, answers)
	for i := range answers {
		answers[i].measure(spec)
	}
	slices.SortFunc(answers, func(a, b podAnswer) int { return cmp.Compare(a.pod.Name, b.pod.Name) })
	profile := profiles[spec.Profile]
	for i := range profile.Measures {
		if m := &profile.Measures[i]; profile.wanted(m, spec) {
			readings, err := gathered(answers, spec, m)
			a.measure(spec.Name, m.Measure, readings, err)
		}
	}
}

// order has the pods that did not answer the last time behind the others.
func (s *Scraper) order(question string, pods []Pod) []Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	mute := s.past[question].mute
	pods = slices.Clone(pods)
	slices.SortStableFunc(pods, func(a, b Pod) int {
		switch {
		case mute[a] == mute[b]:
			return 0
		case mute[a]:
			return 1
		}
		return -1
	})
	return pods
}

// gathered is one measure of all pods, or why no pod has it.
func gathered(answers []podAnswer, spec Spec, m *Metric) (Readings, error) {
	readings := Readings{}
	found, twice, heard := false, false, false
	var why error
	for _, answer := range answers {
		if answer.err != nil {
			why = cmp.Or(why, fmt.Errorf("pod %s: %w", answer.pod.Name, answer.err))
			continue
		}
		heard = true
		found = found || answer.found[m.Measure]
		twice = twice || answer.before != nil
		if v, ok := answer.measures[m.Measure]; ok {
			readings[answer.pod.Name] = Reading{Value: v, At: answer.now.at}
		}
	}
	switch {
	case found:
		return readings, nil
	case len(answers) == 0:
		return nil, errors.New("there is no pod to read")
	case !heard:
		return nil, why
	case m.overWindow() && !twice:
		return nil, errors.New("no pod has been read twice yet")
	default:
		return nil, absence{fmt.Errorf("no pod has a series of %s at port %d, path %s", m.names(), spec.Port, spec.Path)}
	}
}

// measure reads all measures from a pod's answer. All series of a pod are its own.
func (a *podAnswer) measure(spec Spec) {
	if a.err != nil {
		return
	}
	a.measures, a.found = map[Measure]float64{}, map[Measure]bool{}
	profile := profiles[spec.Profile]
	for i := range profile.Measures {
		m := &profile.Measures[i]
		values, found := evaluation{
			metric: m, match: spec.MatchLabels, now: a.now, before: a.before,
			whose: func(map[string]string) (string, bool) { return "", true },
		}.read()
		a.found[m.Measure] = found
		if v, ok := values[""]; ok {
			a.measures[m.Measure] = v
		}
	}
}

var errNoTurn = errors.New("it has not been its turn to be read")

// pod reads one pod.
func (s *Scraper) pod(ctx context.Context, tenant string, pod Pod, spec Spec) podAnswer {
	answer := podAnswer{pod: pod}
	if !s.turns.take(ctx, tenant) {
		answer.err = errNoTurn
		return answer
	}
	defer s.turns.put(tenant)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer.now, answer.err = s.get(ctx, pod, spec)
	return answer
}

// get makes the request. Its errors name no address.
func (s *Scraper) get(ctx context.Context, pod Pod, spec Spec) (exposition, error) {
	ip, err := netip.ParseAddr(pod.IP)
	if err != nil {
		return exposition{}, errors.New("it has no IP address")
	}
	url := "http://" + net.JoinHostPort(ip.String(), strconv.Itoa(int(spec.Port))) + spec.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return exposition{}, fmt.Errorf("path %s cannot be asked for", spec.Path)
	}
	request.Header.Set("Accept", "text/plain;version=0.0.4")
	at := s.clock.Now().UTC()
	response, err := s.client.Do(request)
	if err != nil {
		return exposition{}, unanswered(err, spec.Port)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return exposition{}, fmt.Errorf("port %d, path %s answers with status %d", spec.Port, spec.Path, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return exposition{}, unanswered(err, spec.Port)
	case len(body) > maxBody:
		return exposition{}, fmt.Errorf("its metrics are longer than %d MiB", maxBody>>20)
	}
	text, err := spec.only(body)
	if err != nil {
		return exposition{}, err
	}
	return parse(bytes.NewReader(text), at)
}

func unanswered(err error, port int32) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("port %d does not answer in time", port)
	}
	return fmt.Errorf("port %d cannot be reached", port)
}

// remember finds for every answer the scrape that its rates begin with, and keeps what
// later ones will need. Pods and targets that are gone are forgotten.
func (s *Scraper) remember(question string, spec Spec, answers []podAnswer) {
	names, now := spec.counters(), s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, next := s.past[question], past{now, map[Pod][]exposition{}, map[Pod]bool{}}
	for i := range answers {
		a := &answers[i]
		if errors.Is(a.err, errNoTurn) && old.mute[a.pod] || a.err != nil && !errors.Is(a.err, errNoTurn) {
			next.mute[a.pod] = true
		}
		scrapes := old.pods[a.pod]
		if a.err == nil && len(names) > 0 {
			scrapes = a.since(scrapes, names)
		}
		if len(scrapes) > 0 {
			next.pods[a.pod] = scrapes
		}
	}
	s.past[question] = next
	maps.DeleteFunc(s.past, func(_ string, p past) bool { return now.Sub(p.at) > rateSpan })
}

// since takes the oldest scrape within rateSpan as the beginning, and returns those to
// keep. Where a counter fell, the process began anew, and so do its rates.
func (a *podAnswer) since(past []exposition, names map[string]bool) []exposition {
	past = slices.DeleteFunc(slices.Clone(past), func(e exposition) bool { return a.now.at.Sub(e.at) > rateSpan || !e.at.Before(a.now.at) })
	if n := len(past); n > 0 && a.now.restarted(past[n-1]) {
		past = nil
	}
	if len(past) > 0 {
		a.before = &past[0]
	}
	if n := len(past); n == 0 || a.now.at.Sub(past[n-1].at) >= rateStep {
		past = append(past, a.now.only(names))
	}
	return past
}

// counters are the stored names of all series that rates are taken of.
func (s Spec) counters() map[string]bool {
	names := map[string]bool{}
	for name, m := range s.names() {
		switch {
		case m.overWindow() && m.Take == TakeP99:
			names[name+"_bucket"] = true
		case m.overWindow():
			names[name] = true
		}
	}
	return names
}
