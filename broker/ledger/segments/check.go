package segments

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
)

// Verify is ledger.Ledger's, over all files: each in itself, that it begins where the one
// before ends, and the checkpoints' signatures.
func (s *Set) Verify() (*ledger.Report, error) {
	files := s.all()
	reports := make([]*ledger.Report, len(files))
	for i, f := range files {
		var err error
		if reports[i], err = f.Verify(); err != nil {
			return nil, err
		}
	}
	report := merge(reports)
	if report.OK() {
		conclude(report, files, seal.PublicKey{})
	}
	return report, nil
}

// Check verifies the ledger whose newest file has that path, with all files before it,
// without changing anything; the path of an older file is checked alone. by is whose
// signatures the checkpoints are to have; the zero key: anybody's. A sound ledger must have
// what is known of it. The error says only that the check could not be made.
func Check(path string, by seal.PublicKey, known ...ledger.Known) (report *ledger.Report, err error) {
	names, err := Files(path)
	if err != nil {
		return nil, err
	}
	var files []*ledger.Ledger
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	var reports []*ledger.Report
	for _, name := range others(names) {
		file, r, err := ledger.Inspect(name)
		if err != nil {
			return nil, err
		}
		if reports = append(reports, r); file != nil {
			files = append(files, file)
		}
	}
	report = merge(reports)
	if report.OK() {
		conclude(report, files, by)
	}
	for i := 0; i < len(known) && report.OK(); i++ {
		if err := report.Against(known[i], reader(files)); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// others are the files without further names of the newest: a turn that was cut off leaves
// one, which the next Open removes.
func others(names []string) []string {
	path := names[len(names)-1]
	newest, err := os.Stat(path)
	if err != nil {
		return names // what is wrong with it, whoever opens it says
	}
	return slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Stat(name)
		return name != path && err == nil && os.SameFile(info, newest)
	})
}

// reader reads the first entries there are from a number on, of the oldest file that has any.
func reader(files []*ledger.Ledger) func(from uint64, limit int) ([]ledger.Entry, error) {
	return func(from uint64, limit int) ([]ledger.Entry, error) {
		for _, f := range files {
			if entries, err := f.Read(from, limit); err != nil || len(entries) > 0 {
				return entries, err
			}
		}
		return nil, nil
	}
}

// merge is the newest file's report with what is wrong with the others.
func merge(reports []*ledger.Report) *ledger.Report {
	n := len(reports) - 1
	newest := reports[n]
	for i := n - 1; i >= 0; i-- {
		newest.Merge(reports[i])
	}
	return newest
}

// conclude adds what only all files together tell.
func conclude(report *ledger.Report, files []*ledger.Ledger, by seal.PublicKey) {
	if err := joined(files); err != nil {
		report.Wrong("files", "%v", err)
	}
	if len(files) > 1 {
		report.Notes = append(report.Notes, fmt.Sprintf("%d files, the oldest of which is %s", len(files), filepath.Base(files[0].Path())))
	}
	if _, base, err := files[0].Segment(); err == nil && base > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("entries 1 to %d are in older files that are not here", base))
	}
	signed := seal.Check(report.ID, report.Checkpoints, by)
	report.Notes = append(report.Notes, signed.Notes()...)
	if err := signed.Err(); err != nil {
		report.Wrong("checkpoints", "%v", err)
	}
}
