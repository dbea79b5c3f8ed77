// Package cli is kubectl-ebbtide: what a person does with Ebbtide from a
// terminal.
//
// It promises kubectl's manners: the answer on standard output and everything
// else on standard error, one row per resource, -o json|yaml for programs, the
// flags of kubectl for context, namespace and credentials, and an exit code that
// scripts can trust (see ExitOK and below). It changes nothing but by submit,
// and refuses to fill a gap with a guess: when the broker cannot be reached it
// says so, and says what the API server's objects tell instead.
package cli
