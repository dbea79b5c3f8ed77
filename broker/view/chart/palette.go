package chart

import (
	"fmt"
	"strings"
)

// colors are told apart by people who cannot tell red from green, and from the background
// at least three to one: in the light and in the dark.
var colors = [...]struct{ light, dark string }{
	{"#1d4eab", "#1685d7"},
	{"#9b0e04", "#bf7e1d"},
	{"#110c00", "#d7fef7"},
	{"#3d9f69", "#67de9e"},
	{"#4b0052", "#f9b0ff"},
	{"#a48f00", "#cdd311"},
	{"#574d53", "#8e98a8"},
	{"#de60ad", "#ce2066"},
}

// dashes of lines. Their number shares no more than 2 with that of the colors, so that 24
// lines differ in at least one of the two.
var dashes = [...]string{"", "8 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2"}

// marks are drawn along a line, around 0, 0.
var marks = [...]string{
	"M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",              // disc
	"M-3.2 -3.2h6.4v6.4h-6.4z",                                   // square
	"M0 -4.2L4 3H-4z",                                            // triangle
	"M0 -4.6L4.6 0L0 4.6L-4.6 0z",                                // diamond
	"M-4 -1.2h2.8v-2.8h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8z", // plus
	"M0 4.2L4 -3H-4z",                                            // triangle upside down
	"M-4.6 -1.6h9.2v3.2h-9.2z",                                   // bar
	"M-1.6 -4.6h3.2v9.2h-3.2z",                                   // post
}

// hatches fill areas and bars: lines in a tile of 8 by 8.
var hatches = [...]string{
	"",
	"M-2 2L2 -2M0 8L8 0M6 10L10 6",
	"M2 2h2v2h-2zM6 6h2v2h-2z",
	"M0 4H8",
	"M-2 6L2 10M0 0L8 8M6 -2L10 2",
	"M4 0V8",
	"M0 4H8M4 0V8",
	"M-2 2L2 -2M0 8L8 0M6 10L10 6M-2 6L2 10M0 0L8 8M6 -2L10 2",
}

const (
	lightGround, darkGround = "#ffffff", "#14181f"
	lightInk, darkInk       = "#1c2128", "#e6e9ee"
	lightGrid, darkGrid     = "#d5d9e0", "#3a414d"
)

// style of a figure. Its rules hold within figures only.
func style() string {
	var b strings.Builder
	b.WriteString(`.ebbtide-chart{font:12px system-ui,-apple-system,"Segoe UI",sans-serif}`)
	b.WriteString(`.ebbtide-chart .t{font-size:15px;font-weight:600}`)
	tint(&b, lightGround, lightInk, lightGrid, func(i int) string { return colors[i].light })
	b.WriteString("@media screen and (prefers-color-scheme:dark){")
	tint(&b, darkGround, darkInk, darkGrid, func(i int) string { return colors[i].dark })
	b.WriteString("}")
	return b.String()
}

func tint(b *strings.Builder, ground, ink, grid string, color func(int) string) {
	fmt.Fprintf(b, ".ebbtide-chart .g{fill:%s}.ebbtide-chart text{fill:%s}.ebbtide-chart .a{stroke:%s;fill:none}.ebbtide-chart .r{stroke:%s;fill:none}",
		ground, ink, ink, grid)
	// What is written or drawn over a hatching stands out from it.
	fmt.Fprintf(b, ".ebbtide-chart .l{paint-order:stroke;stroke:%s;stroke-width:4px;stroke-linejoin:round}.ebbtide-chart .o{stroke:%s;stroke-width:5px;fill:none}", ground, ground)
	for i := range colors {
		fmt.Fprintf(b, ".ebbtide-chart .s%d{stroke:%s}.ebbtide-chart .f%d{fill:%s}", i, color(i), i, color(i))
	}
}
