// Package victims measures how good the choice of victims is: against the best there is,
// on instances so small that everything can be tried, and against the rules of others on
// larger ones.
//
// What is measured is lend.Choose, and lend.ChooseBy for the others, which get the same
// reprieve as we do: published rules stop more than they need, and would lose by more
// without it. The best there is comes from code of this package's own that tries every set
// of loans, and shares nothing with the core, not even the test of whether pods fit.
//
// Loans are as old as jobs of a recorded training cluster are at some time of their run,
// the longer a job the likelier. A third of the instances have jobs of which most save
// their work at intervals between minutes and hours and lose what they did since, and the
// others never do; in a third all save every half hour; in a third all lose as much for
// each unit. All chance has a fixed seed, so that everything but the times is the same in
// every run. Loans are stopped whole here.
package victims
