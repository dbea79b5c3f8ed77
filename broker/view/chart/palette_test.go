package chart

import (
	"math"
	"slices"
	"strconv"
	"testing"
)

// linear is a colour's red, green and blue as light.
func linear(t *testing.T, hex string) [3]float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex[1:], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	var rgb [3]float64
	for i := range rgb {
		c := float64(n>>(16-8*i)&0xff) / 255
		if c <= 0.04045 {
			rgb[i] = c / 12.92
		} else {
			rgb[i] = math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return rgb
}

func luminance(c [3]float64) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }

func contrast(a, b [3]float64) float64 {
	high, low := max(luminance(a), luminance(b)), min(luminance(a), luminance(b))
	return (high + 0.05) / (low + 0.05)
}

// WCAG 2.2 asks for 4.5 to 1 of text and 3 to 1 of what graphics are understood by.
func TestColorsStandOutFromTheBackground(t *testing.T) {
	ground := map[string]string{"light": lightGround, "dark": darkGround}
	for mode, inks := range map[string][]string{"light": {lightInk}, "dark": {darkInk}} {
		for _, ink := range inks {
			if c := contrast(linear(t, ink), linear(t, ground[mode])); c < 4.5 {
				t.Errorf("%s: text has a contrast of %.2f", mode, c)
			}
		}
		for i, c := range colors {
			color := map[string]string{"light": c.light, "dark": c.dark}[mode]
			if c := contrast(linear(t, color), linear(t, ground[mode])); c < 3 {
				t.Errorf("%s: color %d, %s, has a contrast of %.2f", mode, i, color, c)
			}
		}
	}
}

// deficiencies are how colours look to those who lack one kind of cones: the matrices of
// Machado, Oliveira and Fernandes (2009) at full severity, on linear light.
var deficiencies = map[string][3][3]float64{
	"none":   {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protan": {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deutan": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
	"tritan": {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
}

// lab is CIE L*a*b*, in which equal distances look alike.
func lab(c [3]float64) [3]float64 {
	x := (0.4124*c[0] + 0.3576*c[1] + 0.1805*c[2]) / 0.95047
	y := luminance(c)
	z := (0.0193*c[0] + 0.1192*c[1] + 0.9505*c[2]) / 1.08883
	f := func(t float64) float64 {
		if t > 216.0/24389 {
			return math.Cbrt(t)
		}
		return (24389.0/27*t + 16) / 116
	}
	return [3]float64{116*f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))}
}

// apart is by how much at least two colours differ for anybody. A just
// noticeable difference is about 2.3.
const apart = 20

func TestColorsAreToldApartByEverybody(t *testing.T) {
	for _, mode := range []string{"light", "dark"} {
		for name, m := range deficiencies {
			var seen [][3]float64
			for _, c := range colors {
				rgb := linear(t, map[string]string{"light": c.light, "dark": c.dark}[mode])
				var s [3]float64
				for i := range s {
					s[i] = min(max(m[i][0]*rgb[0]+m[i][1]*rgb[1]+m[i][2]*rgb[2], 0), 1)
				}
				seen = append(seen, lab(s))
			}
			for i := range seen {
				for j := range i {
					d := math.Hypot(math.Hypot(seen[i][0]-seen[j][0], seen[i][1]-seen[j][1]), seen[i][2]-seen[j][2])
					if d < apart {
						t.Errorf("%s, %s: colors %d and %d differ by %.1f, want at least %d", mode, name, j, i, d, apart)
					}
				}
			}
		}
	}
}

// Where colours come again, dashes do not.
func TestLinesDiffer(t *testing.T) {
	var seen [][2]int
	for i := range 24 {
		look := [2]int{i % len(colors), i % len(dashes)}
		if slices.Contains(seen, look) {
			t.Errorf("line %d looks like one before it", i)
		}
		seen = append(seen, look)
	}
}
