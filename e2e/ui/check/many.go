package check

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/ui/browser"
)

// Pace is how a long table moves.
type Pace struct {
	// Rows that the table has.
	Rows int `json:"rows"`
	// Drawn is how many of them were in the document at most.
	Drawn int `json:"drawn"`
	// Work is what the page itself did in each frame, in milliseconds; Frames is how far apart
	// frames were.
	Work   []float64 `json:"work"`
	Frames []float64 `json:"frames"`
	// Processor is how long the page's thread was at work for a frame in the mean, in
	// milliseconds of the processor's time, whoever else used it.
	Processor float64 `json:"-"`
}

// FirstPaint is when a browser that has nothing of the page shows something of it, and Rows when
// the rows are there.
type FirstPaint struct {
	Paint float64 `json:"paint"`
	Rows  float64 `json:"rows"`
}

// Bounds of a page with ten thousand loans. What scrolling costs is held against what it costs
// with few rows on the same machine, which may be slow or busy, and in the processor's time,
// since the clock's is also that of whoever else runs here. A round on a busy machine says nothing:
// where one is out of bounds others follow, and a page that is slow is so in each of them.
const (
	mostTimes     = 1.5  // as much as with few rows
	mostProcessor = 33.0 // milliseconds for a frame, in the mean: 30 frames in a second
	mostDrawn     = 120
	mostPaint     = 2000.0
	fewRounds     = 3
	mostRounds    = 10
)

// roll scrolls through a table for some frames, faster and faster, screen by screen, and by
// jumps, and says what each frame took: the page's own work with the layout that follows, and
// the time between frames. How far it moves does not depend on how long the table is.
const roll = `(async () => {
	const box = document.querySelector(".rows");
	const total = box.scrollHeight - box.clientHeight;
	const result = {rows: Number(box.querySelector("table").getAttribute("aria-rowcount")) - 1, drawn: 0, work: [], frames: []};
	const frame = () => new Promise(requestAnimationFrame);
	let before = await frame();
	let to = 0;
	for (let i = 0; i < 240; i++) {
		to = i < 200 ? (to + (i < 120 ? 40 + 4 * i : 4000)) % total : (total * ((i * 7919) % 100)) / 100;
		const begin = performance.now();
		box.scrollTop = to;
		box.dispatchEvent(new Event("scroll"));
		box.getBoundingClientRect(), box.querySelector("tbody").offsetHeight;
		result.work.push(performance.now() - begin);
		const now = await frame();
		result.frames.push(now - before);
		before = now;
		const lines = box.querySelectorAll("tbody tr");
		result.drawn = Math.max(result.drawn, lines.length);
		if (lines.length === 0 || Math.min(...[...lines].map((l) => l.offsetTop)) > box.scrollTop + box.clientHeight || Math.max(...[...lines].map((l) => l.offsetTop)) < box.scrollTop - 40) throw new Error("there are no rows where the table is looked at, at " + to);
	}
	return result;
})()`

// Many tries a place with a long table: that all rows are there, few of them in the document,
// and that scrolling costs about what it costs with few, where the same place has a short one.
// The two take turns, and the calmest round counts for each.
func (s *Suite) Many(server, few Server, place string, rows int) (Pace, FirstPaint) {
	where := place + " with many rows"
	paint := s.paint(server, place, where)
	var best [2]Pace
	var pages [2]*browser.Page
	for i, one := range []Server{server, few} {
		p, closed, err := s.Visit(one, Looks["wide light"], place)
		if err != nil {
			s.Fail("%s: %v", where, err)
			return Pace{}, paint
		}
		defer closed()
		pages[i] = p
	}
	calm := func() bool {
		return best[0].Processor <= mostProcessor && best[0].Processor <= mostTimes*best[1].Processor
	}
	for round := 0; round < fewRounds || round < mostRounds && !calm(); round++ {
		for i, p := range pages {
			one, err := s.roll(p)
			if err != nil {
				s.Fail("%s: %v", where, err)
				return Pace{}, paint
			}
			if best[i].Rows == 0 || one.Processor < best[i].Processor {
				best[i] = one
			}
		}
	}
	long, short := best[0], best[1]
	if long.Rows != rows {
		s.Fail("%s: the table has %d rows, want %d", where, long.Rows, rows)
	}
	if long.Drawn > mostDrawn {
		s.Fail("%s: %d rows are in the document, want %d at most", where, long.Drawn, mostDrawn)
	}
	if !(long.Processor <= mostProcessor) {
		s.Fail("%s: the page works %.1f ms for a frame, want %.1f at most", where, long.Processor, mostProcessor)
	}
	s.Logf("%s: %d rows; a frame takes %.1f ms of the processor, with %d it takes %.2f times that", place, short.Rows, short.Processor, long.Rows, long.Processor/short.Processor)
	if !(long.Processor <= mostTimes*short.Processor) {
		s.Fail("%s: a frame takes %.1f ms with %d rows and %.1f with %d, want %.1f times that at most", place, long.Processor, long.Rows, short.Processor, short.Rows, mostTimes)
	}
	s.Errors(pages[0], where)
	return long, paint
}

func (s *Suite) roll(p *browser.Page) (one Pace, err error) {
	before, err := p.Worked()
	if err != nil {
		return one, err
	}
	if err := p.Eval(roll, &one); err != nil {
		return one, err
	}
	after, err := p.Worked()
	one.Processor = (after - before).Seconds() * 1000 / float64(len(one.Frames))
	return one, err
}

// paint loads a place in a browser that has nothing of it; the quickest round counts.
func (s *Suite) paint(server Server, place, where string) FirstPaint {
	best := FirstPaint{Paint: math.Inf(1)}
	for round := 0; round < fewRounds || round < mostRounds && best.Paint > mostPaint; round++ {
		p, closed, err := s.Visit(server, Looks["wide light"], place)
		if err != nil {
			s.Fail("%s: %v", where, err)
			return FirstPaint{}
		}
		var one FirstPaint
		err = p.Eval(`({paint: performance.getEntriesByName("first-contentful-paint")[0].startTime, rows: performance.now()})`, &one)
		closed()
		if err != nil {
			s.Fail("%s: %v", where, err)
			return FirstPaint{}
		}
		if one.Paint < best.Paint {
			best = one
		}
	}
	if best.Paint > mostPaint {
		s.Fail("%s: the first paint comes after %.0f ms, want %.0f at most", where, best.Paint, mostPaint)
	}
	return best
}

// Share is the value that a share of all do not exceed.
func Share(values []float64, share float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// Change measures how long it takes until a page shows what has been changed. change makes it
// so and says when; then is what the page shows afterwards.
func (s *Suite) Change(p *browser.Page, where, then string, change func() (time.Time, error)) time.Duration {
	began, err := change()
	if err != nil {
		s.Fail("%s: %v", where, err)
		return 0
	}
	if !s.Await(p, where, "the change is shown", then) {
		return 0
	}
	return time.Since(began)
}

// Cut tries what the page says while nobody tells it of changes, and that it comes back by
// itself. cut breaks all connections and keeps new ones out, until mend.
func (s *Suite) Cut(p *browser.Page, cut, mend func()) {
	const where = "cut off"
	s.Await(p, where, "the page is live", isLive)
	cut()
	s.Await(p, where, "it says since when it is stale", `document.querySelector(".status.stale")?.innerText.match(/Stale since \d\d:\d\d:\d\dZ/)`)
	_ = p.Errors() // the browser says so, too
	mend()
	s.Await(p, where, "it is live again", isLive)
	_ = p.Errors()
}

// Part tries that somebody sees only what is his: rows of loans of the tenant, and of nobody else.
func (s *Suite) Part(server Server, tenant string, others []string) {
	where := "as tenant " + tenant
	p, closed, err := s.Visit(server, Looks["wide light"], "loans")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	s.Expect(p, where, "there are loans", count+" > 0")
	s.Expect(p, where, "all loans in sight are his", fmt.Sprintf(`[...document.querySelectorAll(".rows tbody tr th")].every((th) => th.innerText.startsWith(%q))`, tenant+"/"))
	for _, place := range []string{"overview", "picture?range=24h", "loans", "queue", "lenders", "quota", "nodes", "statements"} {
		if err := s.Go(p, server, place); err != nil {
			s.Fail("%s: %s: %v", where, place, err)
			continue
		}
		for _, other := range others {
			s.Expect(p, where, place+" says nothing of "+other, fmt.Sprintf(`!document.body.innerText.includes(%q)`, other+"/"))
		}
		s.Accessible(p, where+": "+place)
		s.Errors(p, where+": "+place)
	}
}

// Nothing tries what somebody sees who may see nothing: pages that say so, and no errors.
func (s *Suite) Nothing(server Server) {
	const where = "as nobody"
	p, closed, err := s.Visit(server, Looks["wide light"], "overview")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	for _, place := range []string{"overview", "loans", "queue", "lenders", "nodes", "statements"} {
		if err := s.Go(p, server, place); err != nil {
			s.Fail("%s: %s: %v", where, place, err)
			continue
		}
		s.Accessible(p, where+": "+place)
		s.Errors(p, where+": "+place)
	}
	s.Expect(p, where, "statements say what right is missing", `document.body.innerText.includes("may list Loans")`)
}
