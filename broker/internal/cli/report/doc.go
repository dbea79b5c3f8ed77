// Package report writes what a rehearsal came to as one HTML page.
//
// It promises a page that stands alone: no script, no font, no picture and no style from
// elsewhere, readable in light and dark, on paper and by those who hear it. Every figure
// has its numbers as a table. What was assumed and what is missing is on the page. Equal
// reports give equal bytes.
package report
