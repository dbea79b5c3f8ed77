package loans

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// Writer is a client whose writes of Loans l takes note of. All writes of a process that
// reads with l must go through it.
func (l *Loans) Writer(c client.Client) client.Client { return &writer{Client: c, loans: l} }

// writer notes the writes of objects, and refuses none.
type writer struct {
	client.Client
	loans *Loans
}

// done notes a write, if it was of a Loan.
func (l *Loans) done(object client.Object, deleted bool, err error) error {
	if loan, is := object.(*v1alpha1.Loan); is {
		l.note(loan, deleted, err)
	}
	return err
}

// Create implements client.Client.
func (w *writer) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	return w.loans.done(o, false, w.Client.Create(ctx, o, options...))
}

// Update implements client.Client.
func (w *writer) Update(ctx context.Context, o client.Object, options ...client.UpdateOption) error {
	return w.loans.done(o, false, w.Client.Update(ctx, o, options...))
}

// Patch implements client.Client.
func (w *writer) Patch(ctx context.Context, o client.Object, p client.Patch, options ...client.PatchOption) error {
	return w.loans.done(o, false, w.Client.Patch(ctx, o, p, options...))
}

// Delete implements client.Client.
func (w *writer) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	return w.loans.done(o, true, w.Client.Delete(ctx, o, options...))
}

// Status implements client.Client.
func (w *writer) Status() client.SubResourceWriter {
	return &statusWriter{w.Client.Status(), w.loans}
}

// statusWriter does the same for their statuses.
type statusWriter struct {
	client.SubResourceWriter
	loans *Loans
}

// Update implements client.SubResourceWriter.
func (w *statusWriter) Update(ctx context.Context, o client.Object, options ...client.SubResourceUpdateOption) error {
	return w.loans.done(o, false, w.SubResourceWriter.Update(ctx, o, options...))
}

// Patch implements client.SubResourceWriter.
func (w *statusWriter) Patch(ctx context.Context, o client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
	return w.loans.done(o, false, w.SubResourceWriter.Patch(ctx, o, p, options...))
}
