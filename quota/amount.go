package quota

import "math"

// Amount is a number of units of one flavor. Its arithmetic saturates, so that no
// sum of absurd inputs wraps around into room that is not there.
type Amount int64

// Unlimited is the room under an absent limit.
const Unlimited Amount = math.MaxInt64

// Add returns a+b, held within the range of Amount.
func (a Amount) Add(b Amount) Amount {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// Sub returns a-b, held within the range of Amount.
func (a Amount) Sub(b Amount) Amount {
	if b == math.MinInt64 {
		return a.Add(math.MaxInt64).Add(1)
	}
	return a.Add(-b)
}

// Times returns a×n for amounts that are not negative, held within the range of
// Amount. A negative factor counts as 0.
func (a Amount) Times(n int64) Amount {
	if a <= 0 || n <= 0 {
		return 0
	}
	if int64(a) > math.MaxInt64/n {
		return math.MaxInt64
	}
	return a * Amount(n)
}

// AtLeastZero returns a, or 0 if a is negative.
func (a Amount) AtLeastZero() Amount { return max(a, 0) }
