// Package shown turns what the ledger has into what people are shown, for the command line and
// the broker's API alike.
//
// It promises that nothing is added to an entry and that its time is that at which the thing
// happened. It has no state.
package shown

import (
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/course"
	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/broker/view"
)

// Entry is what is shown of one.
func Entry(e *ledger.Entry) view.Entry {
	v := view.Entry{
		Seq: e.Seq, Time: course.When(e), Kind: e.Kind.String(), Loan: e.Loan, Job: e.Job,
		Borrower: e.Borrower, Reason: e.Reason, Message: e.Message,
	}
	for _, g := range e.Grants {
		v.Lenders = append(v.Lenders, g.Lender)
		v.Nodes = append(v.Nodes, g.Node)
		v.Units += g.Count
		v.Grants = append(v.Grants, lend.Grant{Lender: g.Lender, Node: g.Node, Flavor: g.Flavor, Count: g.Count})
	}
	if of, is := course.ReshapeOf(e); is {
		v.Lenders, v.Nodes, v.Units = []string{of.Lender}, []string{of.Node}, of.Count
	}
	return v
}

// Entries are what is shown of several.
func Entries(list []ledger.Entry) []view.Entry {
	out := make([]view.Entry, len(list))
	for i := range list {
		out[i] = Entry(&list[i])
	}
	return out
}
