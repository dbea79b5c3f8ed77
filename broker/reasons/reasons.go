// Package reasons is the one table of what Ebbtide says of objects: the reasons of its
// events, conditions and ledger entries, with when each is said, on what, and to whom.
//
// It promises that docs/reference/events.md, which its test writes, has every reason that the
// programs can say, and that what is a warning is one everywhere. It refuses to be where
// reasons are decided: it has their names only.
package reasons

import (
	"fmt"
	"strings"
)

// Group is reasons that are said in the same places.
type Group struct {
	Title string
	// Where they are said, and who reads that.
	Where, Who string
	Rows       []Row
}

// Row is one reason.
type Row struct {
	Reason string
	// When it is said.
	When string
	// Warning: somebody has to do something about it. All others are the course of things.
	Warning bool
}

// warnings are all reasons that are.
var warnings = func() map[string]bool {
	found := map[string]bool{}
	for _, g := range Groups {
		for _, r := range g.Rows {
			found[r.Reason] = found[r.Reason] || r.Warning
		}
	}
	return found
}()

// Known tells whether the table has the reason.
func Known(reason string) bool {
	_, known := warnings[reason]
	return known
}

// Warns tells whether events with the reason are warnings.
func Warns(reason string) bool { return warnings[reason] }

// Page is docs/reference/events.md.
func Page() string {
	var b strings.Builder
	b.WriteString(`# Events, conditions and reasons

Written from ` + "`broker/reasons`" + ` by ` + "`go test ./broker/reasons -update`" + `; a test fails when a program says a reason that is not here.

Ebbtide says what it does on the objects that people look at: by an event when something was done, and by a condition for what is so. For all of them:

- An event's text is about what happened, in the past tense. The same reason on the same object within some minutes is one event that counts (` + "`series.count`" + `), and its text is that of the first.
- A condition changes when its reason does. While the reason stays, numbers in its message are brought up to date every 10 seconds at most (of a TrainingQueue, 15), and no message has a time that passes: times are in UTC.
- What is said in words (events, conditions, verdicts, ` + "`explain`, `why-evicted`" + `) names to nobody a pod, job, service or namespace of another tenant that he may not see: a service that lent is "a service of another tenant", and why it wants its units back is said by the rule. The books, which are a Loan's ` + "`spec.grants`" + ` and its entries in the ledger, name the lenders to the borrower, for accounts.
- Who may read an object may read its conditions; who may read events of a namespace, the events on its objects. Events on objects without a namespace are in ` + "`default`" + `.
- A reason marked *warning* is an event of the type Warning: somebody has to do something.
`)
	for _, g := range Groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s %s\n\n| reason | when |\n|---|---|\n", g.Title, g.Where, g.Who)
		for _, r := range g.Rows {
			mark := ""
			if r.Warning {
				mark = " (*warning*)"
			}
			fmt.Fprintf(&b, "| `%s` | %s%s |\n", r.Reason, r.When, mark)
		}
	}
	return b.String()
}
