// Package docs runs the commands of pages, so that a page which has become wrong is a
// failed test.
//
// It promises to run every fenced block of the languages sh, yaml and console that is not
// marked, in the order of the page, each as a reader would: a block of sh is given to bash;
// one of yaml is applied, or written to the file that the line before it names; of one of
// console each line after "$ " is run, and what it prints is compared with what the page
// shows. A block that cannot run is marked in the page, with the reason why ("sh skip:
// needs a registry"), and counted. The first command that fails ends its page, since what
// follows rests on it.
//
// What a page shows may differ from what is printed in this alone: "…" stands for any text,
// on a line of its own for any lines; a number stands for any other, but 0 for 0 alone; an
// age or a time for any other; and columns may be wider or narrower. A command that only
// reads is run again, for a while, until it prints what is shown, as a reader looks again.
//
// It refuses to guess: a block of another language is text, a mark without a reason is an
// error, and so is a file name outside the page's folder. Each command has a shell of its
// own, so that a block is refused which has one that is for the next: cd, export, a
// variable, the last line of a loop.
//
// Cluster is where pages are run: a lab in which the programs that a page installs are
// started for real. RunFirstLoan runs what the first page says of `make lab` in that lab.
package docs

import "fmt"

// Result counts the commands of pages.
type Result struct {
	Run     int `json:"docCommandsRun"`
	Failed  int `json:"docCommandsFailed"`
	Skipped int `json:"docCommandsSkipped"`
	// Failures say which, and why.
	Failures []Failure `json:"-"`
}

// Failure is one command that did not do what its page says.
type Failure struct {
	// Where is page:line.
	Where   string
	Command string
	Why     string
}

// String is the failure as a compiler would tell it.
func (f Failure) String() string { return fmt.Sprintf("%s: %s: %s", f.Where, f.Command, f.Why) }

// Add counts the commands of another page.
func (r *Result) Add(other Result) {
	r.Run += other.Run
	r.Failed += other.Failed
	r.Skipped += other.Skipped
	r.Failures = append(r.Failures, other.Failures...)
}
