package quota

import (
	"math"
	"testing"
)

func TestAmountSaturates(t *testing.T) {
	const most, least = Amount(math.MaxInt64), Amount(math.MinInt64)
	for name, tc := range map[string]struct{ got, want Amount }{
		"add":          {most.Add(1), most},
		"add negative": {least.Add(-1), least},
		"sub":          {least.Sub(1), least},
		"sub least":    {Amount(0).Sub(least), most},
		"sub least -1": {Amount(-1).Sub(least), most},
		"times":        {most.Times(2), most},
		"times fits":   {Amount(6).Times(7), 42},
		"times none":   {Amount(6).Times(-7), 0},
		"zero":         {Amount(-3).AtLeastZero(), 0},
	} {
		if tc.got != tc.want {
			t.Errorf("%s = %d, want %d", name, tc.got, tc.want)
		}
	}
}
