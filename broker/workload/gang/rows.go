package gang

import (
	"errors"
	"io"

	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Rows gives the records of one row after the other, for NewStream; parse says which rows
// have one.
func Rows(f *rows.File, parse func(*rows.Row) (Record, bool)) func() (Record, bool, error) {
	return func() (Record, bool, error) {
		for {
			r, err := f.Next()
			if errors.Is(err, io.EOF) {
				return Record{}, false, nil
			}
			if err != nil {
				return Record{}, false, err
			}
			one, is := parse(r)
			if err := r.Err(); err != nil {
				return Record{}, false, err
			}
			if is {
				return one, true, nil
			}
		}
	}
}
