package stage

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/audit/decisions"
)

// LedgerOK is what the result says of a ledger in which nothing is wrong.
const LedgerOK = "ok"

// Books is what the broker's own books say, held against what was seen.
type Books struct {
	// LedgerHours is what the ledger has booked, in hours of whole GPUs and of the day.
	LedgerHours float64
	OpenLoans   int
	Decisions   decisions.Result
	// Unrecorded are loans that an auditor saw asked back and no recorded decision
	// asks for.
	Unrecorded int
}

// checkLedger verifies the ledger, and that its balances of each flavor add up to 0. A unit
// of a flavor is a share of a whole GPU.
func (a *Account) checkLedger(path string, share map[string]float64) error {
	report, err := ledger.Check(path)
	if err != nil {
		return err
	}
	a.LedgerEntries, a.LedgerCheck = int(report.Entries), LedgerOK
	wrong := func(text string, args ...any) {
		a.LedgerCheck = "failed"
		a.Problems = append(a.Problems, "ledger: "+fmt.Sprintf(text, args...))
	}
	sums := map[string]int64{}
	for _, b := range report.Balances {
		sums[b.Flavor] += b.UnitMS
		if b.Account.Side == ledger.LenderAccount {
			a.book(time.Duration(b.UnitMS)*time.Millisecond, share[b.Flavor])
		}
	}
	for _, l := range report.OpenLoans {
		a.OpenLoans++
		for _, g := range l.Grants {
			if !l.Since.IsZero() && g.Lender != "" {
				a.book(time.Duration(g.Count)*time.Since(l.Since), share[g.Flavor])
			}
		}
	}
	for flavor, sum := range sums {
		if sum != 0 {
			wrong("balances of %s add up to %d unit-milliseconds, not to 0", flavor, sum)
		}
		if share[flavor] == 0 {
			wrong("it has balances of %s, which nobody lends here", flavor)
		}
	}
	for _, f := range report.Faults {
		wrong("%s", f)
	}
	return nil
}

// book adds unit-time of a flavor.
func (a *Account) book(units time.Duration, share float64) {
	a.LedgerHours += units.Hours() * a.Config.Speed * share
}

// auditDecisions checks every decision that the broker took, and that the loans
// which the auditors saw asked back are among them.
func (a *Account) auditDecisions(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the broker's decisions: %w", err)
	}
	defer f.Close()
	if a.Decisions, err = decisions.Audit(f); err != nil {
		return err
	}
	a.NeedlessEvictions += len(a.Decisions.Needless)
	a.LawViolations += len(a.Decisions.Differing) + len(a.Decisions.Violations)
	for _, n := range a.Decisions.Needless {
		a.Problems = append(a.Problems, fmt.Sprintf("decision %d: %s", n.Decision, n.Text))
	}
	for _, v := range slices.Concat(a.Decisions.Differing, a.Decisions.Violations) {
		a.Problems = append(a.Problems, fmt.Sprintf("law %d: decision %d: %s", v.Law, v.Decision, v.Text))
	}
	for _, name := range a.asked {
		if !a.Decisions.Asked[name] {
			a.Unrecorded++
			a.Problems = append(a.Problems, fmt.Sprintf("loan %s was asked back without a recorded decision", name))
		}
	}
	return nil
}
