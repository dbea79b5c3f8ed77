package forecast

import "testing"

// BenchmarkLook is one question about a full past: a decision asks one for each lender.
func BenchmarkLook(b *testing.B) {
	v := daily(Days, 50)
	f := fill(v...)
	now := at(len(v) - 1)
	f.Look(now, rule)
	for b.Loop() {
		f.Look(now, rule)
	}
}

// BenchmarkLearn is what another rule or a past read from elsewhere costs.
func BenchmarkLearn(b *testing.B) {
	v := daily(Days, 50)
	f := fill(v...)
	for b.Loop() {
		f.begun = false
		f.Look(at(len(v)-1), rule)
	}
}
