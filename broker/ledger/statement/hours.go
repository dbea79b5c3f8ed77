package statement

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

const (
	msPerHour = 3_600_000
	// hourPlaces of an hour tell one millisecond from the next.
	hourPlaces   = 9
	perMicroHour = 1_000_000_000
)

// Hours is time of units, in milliseconds. As JSON it is a number of hours, with as many
// places as are needed to read the same milliseconds again.
type Hours int64

// MarshalJSON writes hours.
func (h Hours) MarshalJSON() ([]byte, error) {
	n := new(big.Int).Mul(big.NewInt(int64(h)), big.NewInt(perMicroHour))
	n = divide(n, big.NewInt(msPerHour))
	text := strings.TrimRight(decimal(n, hourPlaces), "0")
	return []byte(strings.TrimSuffix(text, ".")), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Hours) UnmarshalJSON(data []byte) error {
	r, ok := new(big.Rat).SetString(string(data))
	if !ok || len(data) > 64 {
		return fmt.Errorf("%.64q is not a number of hours", data)
	}
	r.Mul(r, big.NewRat(msPerHour, 1))
	n := divide(r.Num(), r.Denom())
	if !n.IsInt64() {
		return fmt.Errorf("%s hours are too many", data)
	}
	*h = Hours(n.Int64())
	return nil
}

// String has three places, for people.
func (h Hours) String() string {
	return decimal(divide(new(big.Int).Mul(big.NewInt(int64(h)), big.NewInt(1000)), big.NewInt(msPerHour)), 3)
}

// Micros are millionths of a currency's unit. As JSON it is a number of the unit.
type Micros int64

// MarshalJSON writes all six places.
func (m Micros) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *Micros) UnmarshalJSON(data []byte) error {
	n, err := parseMicros(string(data))
	*m = n
	return err
}

// String has six places.
func (m Micros) String() string { return decimal(big.NewInt(int64(m)), 6) }

// parseMicros reads a decimal number of at most six places.
func parseMicros(text string) (Micros, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, part, _ := strings.Cut(digits, ".")
	if len(part) > 6 || strings.HasSuffix(digits, ".") || len(whole) == 0 || len(whole) > 13 ||
		strings.Trim(whole+part, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a decimal number with at most 13 digits and 6 places", text)
	}
	n, err := strconv.ParseInt(whole+(part + "000000")[:6], 10, 64)
	if err != nil {
		return 0, err
	}
	if negative {
		n = -n
	}
	return Micros(n), nil
}

// divide rounds to the nearest integer, and halves away from 0.
func divide(n, by *big.Int) *big.Int {
	twice := new(big.Int).Mul(big.NewInt(2), n)
	if n.Sign() < 0 {
		twice.Sub(twice, by)
	} else {
		twice.Add(twice, by)
	}
	return twice.Quo(twice, new(big.Int).Mul(big.NewInt(2), by))
}

// decimal writes n with its last digits after the point.
func decimal(n *big.Int, places int) string {
	digits := new(big.Int).Abs(n).String()
	if short := places + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
	}
	return sign + digits[:len(digits)-places] + "." + digits[len(digits)-places:]
}
