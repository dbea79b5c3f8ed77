// Package chart draws numbers as SVG: lines and stacked areas over an axis, the
// distribution of waiting times, and bars.
//
// It is pure: equal figures give equal bytes. It guarantees a picture that stands alone (no
// script, no font, nothing that is fetched), that can be put into a page as it is, in light
// and dark and on paper; all text in it is escaped. No meaning is carried by colour alone:
// lines differ in their dashes and marks, areas and bars in their hatching. Every figure
// has a title and a description for those who cannot see it, and its numbers as a table.
//
// It refuses to invent: a value that is not a number is a gap.
//
// The files:
//
//	frame: what every figure has        axis: scales and their ticks
//	plot: lines and areas               cdf: distributions; bars: amounts by name
//	palette: colours, dashes, marks     svg: writing it
package chart
