package rows

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// File is an open file, read row by row.
type File struct {
	name   string
	header []string
	lines  source
}

// source gives the fields of one line after the other, and the line's number.
type source func() (fields []string, line int, err error)

// longestLine is what a line of a file with bars may have; CSV has no lines in quotes.
const longestLine = 1 << 20

// Open opens a file whose header is apart by | (see Bar), or a CSV file.
func Open(name string, r io.Reader) (*File, error) {
	b := unmarked(r)
	for n := 64; ; n *= 2 {
		ahead, err := b.Peek(n)
		header, _, found := bytes.Cut(ahead, []byte("\n"))
		if found || err != nil {
			if bytes.IndexByte(header, '|') >= 0 && bytes.IndexByte(header, ',') < 0 {
				return Bar(name, b)
			}
			return Comma(name, b)
		}
	}
}

// Comma opens a CSV file (RFC 4180). Its name is for errors.
func Comma(name string, r io.Reader) (*File, error) {
	c := csv.NewReader(unmarked(r))
	c.ReuseRecord, c.FieldsPerRecord = true, -1
	return open(name, func() ([]string, int, error) {
		fields, err := c.Read()
		if err != nil {
			return nil, 0, err // encoding/csv names the line
		}
		line, _ := c.FieldPos(0)
		return fields, line, nil
	})
}

// Bar opens a file whose fields are apart by | and never quoted. The lines may all end
// with one.
func Bar(name string, r io.Reader) (*File, error) {
	lines, line, ends := bufio.NewScanner(unmarked(r)), 0, false
	lines.Buffer(nil, longestLine)
	return open(name, func() ([]string, int, error) {
		for lines.Scan() {
			text := lines.Text()
			if line++; text == "" {
				continue
			}
			if line == 1 {
				ends = strings.HasSuffix(text, "|")
			}
			if ends {
				text = strings.TrimSuffix(text, "|")
			}
			return strings.Split(text, "|"), line, nil
		}
		if err := lines.Err(); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", line+1, err)
		}
		return nil, 0, io.EOF
	})
}

// unmarked is a reader without the byte order mark that spreadsheets write.
func unmarked(r io.Reader) *bufio.Reader {
	b := bufio.NewReader(r)
	if first, err := b.Peek(3); err == nil && bytes.Equal(first, []byte("\ufeff")) {
		_, _ = b.Discard(3)
	}
	return b
}

func open(name string, lines source) (*File, error) {
	header, _, err := lines()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: read header: the file is empty", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read header: %w", name, err)
	}
	f := &File{name: name, lines: lines}
	for _, column := range header {
		column = strings.TrimSpace(column)
		if column == "" || slices.Contains(f.header, column) {
			return nil, fmt.Errorf("%s:1: column %d is %q, must have a name and no other column's", name, len(f.header)+1, column)
		}
		f.header = append(f.header, column)
	}
	return f, nil
}

// Name of the file.
func (f *File) Name() string { return f.name }

// Header is the columns' names. It must not be changed.
func (f *File) Header() []string { return f.header }

// Expect fails unless the file has all columns of need, and none that is neither there nor
// in may. It names those that are missing, and those that are not known.
func (f *File) Expect(need, may []string) error {
	var missing, unknown []string
	for _, column := range need {
		if !slices.Contains(f.header, column) {
			missing = append(missing, column)
		}
	}
	for _, column := range f.header {
		if !slices.Contains(need, column) && !slices.Contains(may, column) {
			unknown = append(unknown, column)
		}
	}
	if len(missing)+len(unknown) == 0 {
		return nil
	}
	want := "want " + strings.Join(need, ", ")
	if len(unknown) > 0 && len(may) > 0 {
		want += "; may have " + strings.Join(may, ", ")
	}
	var wrong []string
	if len(missing) > 0 {
		wrong = append(wrong, "has no column "+strings.Join(missing, ", "))
	}
	if len(unknown) > 0 {
		wrong = append(wrong, fmt.Sprintf("has unknown columns %q", unknown))
	}
	return fmt.Errorf("%s:1: header %s: %s", f.name, strings.Join(wrong, " and "), want)
}

// Next returns the next row, which is good until the one after it is read, or io.EOF.
func (f *File) Next() (*Row, error) {
	fields, line, err := f.lines()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if len(fields) != len(f.header) {
		return nil, fmt.Errorf("%s:%d: has %d fields, want %d as the header", f.name, line, len(fields), len(f.header))
	}
	return &Row{file: f, Line: line, fields: fields}, nil
}

// Need is Expect of a file that may have any columns besides.
func (f *File) Need(columns ...string) error { return f.Expect(columns, f.header) }

// Each hands every row to parse, and fails on the first that is wrong, or if there is none.
func (f *File) Each(parse func(*Row)) error {
	for n := 0; ; n++ {
		r, err := f.Next()
		if errors.Is(err, io.EOF) && n == 0 {
			return fmt.Errorf("%s: no rows after the header", f.name)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if parse(r); r.err != nil {
			return r.err
		}
	}
}
