package traces

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// row is one line of a file, with enough context for its errors.
type row struct {
	file   string
	line   int
	header []string
	fields []string
	err    error
}

// read parses file and hands every line after the header to parse. The header
// must be exactly want.
func read(fsys fs.FS, file string, want string, parse func(*row)) error {
	f, err := fsys.Open(file)
	if err != nil {
		return fmt.Errorf("open trace: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("%s: read header: %w", file, err)
	}
	if got := strings.Join(header, ","); got != want {
		return fmt.Errorf("%s:1: header is %q, want %q", file, got, want)
	}
	header = slices.Clone(header)
	rows := 0
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err) // encoding/csv names the line
		}
		line, _ := r.FieldPos(0)
		one := row{file: file, line: line, header: header, fields: fields}
		if parse(&one); one.err != nil {
			return one.err
		}
		rows++
	}
	if rows == 0 {
		return fmt.Errorf("%s: no rows after the header", file)
	}
	return nil
}

// float returns column i, which must be a finite number of at least 0.
func (r *row) float(i int) float64 {
	v, err := strconv.ParseFloat(r.fields[i], 64)
	if err != nil || !(v >= 0 && v < 1e15) {
		r.fail(i, "a number of at least 0")
	}
	return v
}

// integer returns column i, which must be a whole number of at least least.
func (r *row) integer(i int, least int64) int64 {
	v, err := strconv.ParseInt(r.fields[i], 10, 64)
	if err != nil || v < least {
		r.fail(i, fmt.Sprintf("a whole number of at least %d", least))
	}
	return v
}

func (r *row) fail(i int, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s:%d: %s is %q, want %s", r.file, r.line, r.header[i], r.fields[i], want)
	}
}
