package ledger

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// month is the one that all records of a history lie in.
const (
	month   = "2026-11"
	tenants = 20
)

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// history makes the entries of a busy cluster: a few hundred loans at a time, each with its
// intent, its grant and one of the ways in which loans end.
type history struct {
	rng   *rand.Rand
	step  time.Duration
	n     int
	loans int
	open  []*loan
}

type loan struct {
	number int
	rest   []ledger.Kind
}

// newHistory spreads n entries over the month.
func newHistory(n int) *history {
	return &history{rng: rand.New(rand.NewPCG(7, 11)), step: 30 * 24 * time.Hour / time.Duration(n+1)}
}

// endings are how loans end, as often as they stand here.
var endings = [][]ledger.Kind{
	{ledger.LendGranted, ledger.Released},
	{ledger.LendGranted, ledger.Released},
	{ledger.LendGranted, ledger.Released},
	{ledger.LendGranted, ledger.ReclaimIntent, ledger.Stopped, ledger.ReclaimDone},
	{ledger.LendGranted, ledger.ReclaimIntent, ledger.Stopped, ledger.ReclaimDone},
	{ledger.LendGranted, ledger.Stopped, ledger.Preempted},
	{ledger.LendGranted, ledger.Lost},
	{ledger.LendAborted},
}

// next is the entry that follows.
func (h *history) next() ledger.Entry {
	h.n++
	e := ledger.Entry{
		Epoch: 1, BootID: "5f1d9c3ab2e84c07", MonoNS: int64(h.n) * int64(h.step), Time: begin.Add(time.Duration(h.n) * h.step),
	}
	if len(h.open) < 200 || h.rng.IntN(4) == 0 && len(h.open) < 400 {
		h.loans++
		l := &loan{h.loans, endings[h.rng.IntN(len(endings))]}
		h.open = append(h.open, l)
		h.lend(&e, l.number)
		return e
	}
	i := h.rng.IntN(len(h.open))
	l := h.open[i]
	e.Kind, l.rest = l.rest[0], l.rest[1:]
	if len(l.rest) == 0 {
		h.open[i] = h.open[len(h.open)-1]
		h.open = h.open[:len(h.open)-1]
	}
	e.Loan = l.name()
	e.OpID = e.Loan
	switch e.Kind {
	case ledger.ReclaimIntent:
		e.ReclaimID = fmt.Sprintf("reclaim-%d", h.n/10)
		e.Reason, e.Message = "AboveHighWater", "online load of serving/chat is at 74% (> 70%)"
		e.Signals = []ledger.Value{{Name: "serving/chat load", Value: 0.74}}
		e.Payload = fmt.Appendf(nil, `{"reclaimBy":%q,"owed":[{"pods":1,"unitsPerPod":8}]}`, e.Time.Add(time.Minute).Format(time.RFC3339))
	case ledger.Released:
		e.Reason, e.Message = "JobFinished", "the job is complete"
	case ledger.Preempted, ledger.Lost:
		e.Reason = "Taken"
	}
	return e
}

func (l *loan) name() string {
	return fmt.Sprintf("team-%02d/train-%07d-1", l.number%tenants, l.number)
}

func (h *history) lend(e *ledger.Entry, number int) {
	l := loan{number: number}
	e.Kind, e.Loan, e.OpID = ledger.LendIntent, l.name(), l.name()
	e.Job = fmt.Sprintf("team-%02d/train-%07d", number%tenants, number)
	e.JobUID = fmt.Sprintf("%08x-5c1e-4f6a-9d3b-%012x", uint32(number)*2654435761, number)
	e.Borrower = fmt.Sprintf("team-%02d", number%tenants)
	for i := range 1 + h.rng.IntN(2) {
		e.Grants = append(e.Grants, ledger.Grant{
			Lender: []string{"serving/chat", "search/rank"}[i], Node: fmt.Sprintf("gpu-%03d", h.rng.IntN(200)), Flavor: "h100", Count: 1 + h.rng.Int64N(8),
		})
	}
	e.Reason, e.Message = "BelowLowWater", "serving/chat is at 18% (< 30%) for 5m0s"
	e.Signals = []ledger.Value{{Name: "serving/chat load", Value: 0.18}}
	e.Payload = []byte(`{"queue":"` + e.Borrower + `/default","lenders":{"search/rank":"search","serving/chat":"online"}}`)
}
