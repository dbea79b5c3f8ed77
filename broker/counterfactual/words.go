package counterfactual

import (
	"fmt"
	"time"
)

// text says a change in one sentence, to the job's tenant.
func (a *asker) text(c *Change) string {
	j := &a.job
	const done = "it would be admitted now."
	switch c.Kind {
	case FewerPods:
		return fmt.Sprintf("With %s instead of %d %s", count(c.Pods, "pod"), j.Pods, done)
	case FewerUnitsPerPod:
		return fmt.Sprintf("With %s in each pod instead of %d %s", count(c.UnitsPerPod, "unit"), j.UnitsPerPod, done)
	case OtherFlavor:
		return fmt.Sprintf("On %s instead of %s %s", c.Flavor, j.Flavor, done)
	case BorrowingLimit:
		whose := "its tenant"
		if c.Cohort != "" {
			whose = "cohort " + c.Cohort
		}
		return fmt.Sprintf("With a borrowing limit of %s of %s for %s %s", count(c.Limit, "unit"), c.Flavor, whose, done)
	case LenderWait:
		when := "In a moment"
		if c.At.After(a.in.Now) {
			when = "At " + c.At.UTC().Format(time.TimeOnly) + " UTC"
		}
		return fmt.Sprintf("%s it would be admitted if loads stay as they are: %s by then.", when, who(c, "has been idle for long enough", "have been idle for long enough"))
	case LenderLends:
		return fmt.Sprintf("If %s %s", who(c, "lent, which only advises,", "lent, which only advise,"), done)
	case Resume:
		if c.Queue != "" {
			return fmt.Sprintf("If queue %s, which is paused, were resumed %s", c.Queue, done)
		}
		return fmt.Sprintf("If %s %s", who(c, "lent, which is paused,", "lent, which are paused,"), done)
	case Priority:
		return fmt.Sprintf("With priority %d instead of %d %s", *c.Priority, j.Priority, done)
	default:
		return fmt.Sprintf("With %s of %s free in addition, on %s, %s", count(c.Units, "unit"), c.Flavor, count(c.Nodes, "node"), done)
	}
}

// who names the services that a change is about, as far as the job's tenant may know them.
func who(c *Change, one, several string) string {
	switch {
	case c.Services > 1:
		return fmt.Sprintf("%d services %s", c.Services, several)
	case c.Lender != "":
		return "service " + c.Lender + " " + one
	}
	return "a service of another tenant " + one
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
