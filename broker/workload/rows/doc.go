// Package rows reads delimited files whose first line names the columns.
//
// It promises that what it cannot read is an error that names the file, the line, the
// column and what is wanted there: no row is skipped, and no cell is guessed. Columns are
// found by their names, in any order. It holds one row at a time.
package rows
