package actuate

import (
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// The borrower reads on its Loan who asked, and not what is due to others by the same decision.
func TestPayloadNamesThoseThatAsk(t *testing.T) {
	said := string(payload(&lend.Action{
		Asking: []string{"serving/chat"},
		Owed:   []lend.Owed{{Lender: "serving/chat", Flavor: "h100", UnitsPerPod: 1, Pods: 2}, {Lender: "secret/search", Flavor: "h100", UnitsPerPod: 8, Pods: 3}},
	}))
	if !strings.Contains(said, `"lender":"serving/chat"`) || strings.Contains(said, "secret") {
		t.Errorf("the payload is %s", said)
	}
}

// What a next leader finds is booked to the second: that a whole second of the API is told, and
// that something is told as of now, are wrong by less than one.
func TestLatelyIsRightToTheSecond(t *testing.T) {
	happened := time.Date(2026, 3, 1, 12, 0, 0, 900_000_000, time.UTC)
	for after := time.Duration(0); after < 5*time.Second; after += 50 * time.Millisecond {
		now := happened.Add(after)
		a := &Actuator{Clock: clocktesting.NewFakePassiveClock(now)}
		told := a.lately(happened.Truncate(time.Second))
		if told.IsZero() {
			told = now
		}
		if wrong := told.Sub(happened).Abs(); wrong >= time.Second {
			t.Errorf("%s later it is told %s wrong", after, wrong)
		}
	}
}
