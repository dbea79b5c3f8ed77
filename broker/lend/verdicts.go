package lend

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// allVerdicts puts those on jobs, which are by name, and the few others together.
func (d *decision) allVerdicts() []Verdict {
	d.sortVerdicts()
	jobs := d.line.byName
	out := d.line.judged.begin(len(jobs) + len(d.verdicts))
	for i := range d.verdicts {
		v := &d.verdicts[i]
		upTo := d.line.before(v, jobs)
		d.line.verdicts(&out, jobs[:upTo])
		out.add(v)
		jobs = jobs[upTo:]
	}
	d.line.verdicts(&out, jobs)
	return out.end()
}

// sortVerdicts puts those on lenders and those on loans together. Both are by name already,
// but for lenders or loans of one name.
func (d *decision) sortVerdicts() {
	at := slices.IndexFunc(d.verdicts, func(v Verdict) bool { return v.Kind == SubjectLoan })
	compare := func(a, b Verdict) int { return compareVerdicts(&a, &b) }
	if at <= 0 || !slices.IsSortedFunc(d.verdicts[:at], compare) || !slices.IsSortedFunc(d.verdicts[at:], compare) {
		slices.SortFunc(d.verdicts, compare)
		return
	}
	lenders, loans := slices.Clone(d.verdicts[:at]), d.verdicts[at:]
	out := d.verdicts[:0]
	for i := range lenders {
		n, _ := slices.BinarySearchFunc(loans, lenders[i], compare)
		out = append(out, loans[:n]...)
		out = append(out, lenders[i])
		loans = loans[n:]
	}
	d.verdicts = append(out, loans...)
}

// before is how many of the jobs come before the verdict's subject, looked for among the
// first ones first. A job has the same name as something else only in another sense.
func (l *line) before(v *Verdict, jobs []named) int {
	from, reach := 0, 1
	for reach < len(jobs) && jobs[reach].name < v.Subject {
		from, reach = reach, 2*reach
	}
	more, _ := slices.BinarySearchFunc(jobs[from:min(reach+1, len(jobs))], v.Subject, func(n named, subject string) int {
		return cmp.Or(strings.Compare(n.name, subject), cmp.Compare(SubjectJob, v.Kind))
	})
	return from + more
}

// verdicts appends those on the jobs, which are by name.
func (l *line) verdicts(out *telling[Verdict], jobs []named) {
	if l.twins {
		l.twinVerdicts(out, jobs)
		return
	}
	for i := range jobs {
		v := l.verdict(&jobs[i])
		out.add(&v)
	}
}

func (l *line) verdict(n *named) Verdict {
	o := &l.texts[l.said[n.slot]]
	return Verdict{Kind: SubjectJob, Subject: n.name, UID: l.uids[n.slot], Reason: o.reason, Message: o.message}
}

// twinVerdicts is verdicts where several jobs may have one name.
func (l *line) twinVerdicts(out *telling[Verdict], jobs []named) {
	var alike []Verdict
	for i := range jobs {
		alike = append(alike, l.verdict(&jobs[i]))
		if i+1 < len(jobs) && jobs[i+1].name == jobs[i].name {
			continue
		}
		slices.SortFunc(alike, func(a, b Verdict) int { return compareVerdicts(&a, &b) })
		for k := range alike {
			out.add(&alike[k])
		}
		alike = alike[:0]
	}
}

func compareVerdicts(a, b *Verdict) int {
	if c := cmp.Compare(a.Subject, b.Subject); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
}

// explainLenders gives every lender its reason.
func (d *decision) explainLenders() {
	for _, l := range d.lenders {
		d.verdicts = append(d.verdicts, Verdict{Kind: SubjectLender, Subject: l.Name, Reason: l.reason(), Message: l.message()})
	}
}

func (l *lender) reason() string {
	switch {
	case l.Advise && l.Problem == nil:
		return ReasonAdviseOnly
	case l.open && l.claimed > 0:
		return ReasonOwnedOverNominal
	case l.open && l.lendable == 0 && !l.nextStep.IsZero():
		return ReasonStepLimit
	case l.open && l.lendable == 0:
		return ReasonNothingLendable
	}
	return l.gate
}

func (l *lender) message() string {
	if l.Problem != nil {
		return l.why
	}
	if l.claimed > 0 && l.Owned > 0 {
		return l.standing() + "; " + l.excess() + l.stuckText()
	}
	return l.standing() + l.stuckText()
}

// standing is what the lender does and why.
func (l *lender) standing() string {
	if l.Advise {
		return fmt.Sprintf("%s; %s; would lend %s", l.why, l.needText(), plural(l.lendable, "unit"))
	}
	units := l.needText() + "; " + plural(l.lent, "unit") + " lent"
	switch {
	case !l.open:
		return fmt.Sprintf("%s; %s", l.why, units)
	case l.touched:
		return fmt.Sprintf("%s; %s, and not all that is kept warm is free: it is asked back when the need has no room", l.why, units)
	case l.short:
		return fmt.Sprintf("%s; %s, but pods that it is owed have no room yet", l.why, units)
	case l.lent >= l.Owned:
		return fmt.Sprintf("%s; all %s lent", l.why, plural(l.Owned, "owned unit"))
	case l.lendable == 0 && !l.nextStep.IsZero():
		return fmt.Sprintf("%s; %s, and the next step is at %s", l.why, units, stamp(l.nextStep))
	case l.lendable == 0:
		return fmt.Sprintf("%s; %s, and the other %d are needed or kept warm", l.why, units, l.Owned-l.lent)
	}
	return fmt.Sprintf("%s; %s, %d lendable", l.why, units, l.lendable)
}

// explainLoans gives every loan its reason: what is done with it now, or else how
// it stands.
func (d *decision) explainLoans() {
	for _, l := range d.loans {
		if l.part {
			continue // the whole speaks for it
		}
		var reason, message string
		switch {
		case l.action != nil:
			reason, message = l.action.Reason, l.action.Message
		case l.shed != nil && l.shed.action != nil:
			reason, message = l.shed.action.Reason, l.shed.action.Message
		default:
			reason, message = l.standing(d.scratch)
		}
		d.verdicts = append(d.verdicts, Verdict{Kind: SubjectLoan, Subject: l.Name, Reason: reason, Message: message})
	}
}

func (l *loan) standing(s *scratchpad) (reason, message string) {
	switch {
	case l.Quarantined:
		return ReasonQuarantined, fmt.Sprintf("%s left long after the time was over: the units are in nobody's hands until that is gone", plural(l.Live, "pod"))
	case l.stuck:
		return ReasonGraceExpired, fmt.Sprintf("%s left after the time was over; others are asked instead", plural(l.Live, "pod"))
	case l.Preempted:
		return ReasonPreempted, "the scheduler takes the units back for an online pod"
	case l.Reclaiming && l.Killed:
		return ReasonGraceExpired, fmt.Sprintf("the grace ended at %s; what is left is being killed", stamp(l.ReclaimBy))
	case l.Reclaiming:
		return ReasonReclaiming, fmt.Sprintf("asked back; the grace ends at %s", stamp(l.ReclaimBy))
	case l.Finished:
		return ReasonReleased, "the job has ended; its pods are going"
	}
	if l.shed != nil {
		return ReasonShedding, fmt.Sprintf("gives %s back by %s, and goes on with %d", plural(l.shed.units, "unit"), stamp(l.ReclaimBy), l.units)
	}
	holds := l.holds(s)
	if l.CheckpointNote != "" {
		holds += "; " + l.CheckpointNote
	}
	return ReasonActive, holds
}

// holds is what the loan holds. What was made for it is told as that.
func (l *loan) holds(s *scratchpad) string {
	if len(l.made) == 0 {
		return s.holds(l.units)
	}
	var made int64
	for _, g := range l.made {
		made += g.Count
	}
	text := "holds " + plural(made, "unit") + " of " + l.made[0].Flavor
	if len(l.lends) > 0 {
		text += ", made of " + madeOf(l.lends)
	}
	return text
}

func waiting(pods, size int64) string {
	if pods == 1 {
		return fmt.Sprintf("1 pod of %s waits", plural(size, "unit"))
	}
	return fmt.Sprintf("%d pods of %s wait", pods, plural(size, "unit"))
}

// plural writes a count and its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}
