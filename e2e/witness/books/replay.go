package books

// State is where a loan stands.
type State uint8

// The states, as the file has them.
const (
	Unknown    State = 0
	Intended   State = 1
	Granted    State = 2
	Reclaiming State = 3
	Closed     State = 4
	Quarantine State = 5
)

// The kinds that this package treats in a way of their own.
const (
	epochStart    = 1
	lendIntent    = 2
	lendGranted   = 3
	recovered     = 10
	shed          = 13
	shedLost      = 17
	reshapeIntent = 18
	reshapeDone   = 19
	reshapeFailed = 21
	correction    = 12
	lost          = 9
	checkpoint    = 23
	segmentStart  = 24
	carried       = 25
	quarantined   = 26
)

// rule says from which states a kind may come, as a set of bits, and where it leads;
// Unknown: the state stays.
type rule struct {
	from uint8
	to   State
}

func states(of ...State) (set uint8) {
	for _, s := range of {
		set |= 1 << s
	}
	return set
}

// loanRules is the table and the picture of the loans' states.
var loanRules = map[uint8]rule{
	lendIntent:  {states(Unknown), Intended},
	lendGranted: {states(Intended), Granted},
	4:           {states(Intended), Closed},            // LEND_ABORTED
	5:           {states(Granted), Reclaiming},         // RECLAIM_INTENT
	6:           {states(Reclaiming), Closed},          // RECLAIM_DONE
	7:           {states(Granted, Reclaiming), Closed}, // RELEASED
	8:           {states(Granted, Reclaiming), Closed}, // PREEMPTED
	lost:        {states(Granted, Reclaiming, Quarantine), Closed},
	recovered:   {states(Unknown), Granted},                         //
	shed:        {states(Granted), Unknown},                         //
	14:          {states(Granted), Unknown},                         // SHED_INTENT
	15:          {states(Granted, Reclaiming, Quarantine), Unknown}, // STOPPED
	16:          {states(Granted, Reclaiming, Quarantine), Unknown}, // KILLED
	shedLost:    {states(Granted), Unknown},                         //
	quarantined: {states(Granted, Reclaiming), Quarantine},
	27:          {states(Quarantine), Closed}, // UNQUARANTINED
}

// loan is a loan as the log has told it so far.
type loan struct {
	OpenLoan
	borrower string
	tenants  map[string]string // of its lenders, as far as they were told
	since    moment
	// aside is from when on it is in quarantine.
	aside moment
}

// moment is a time on the wall clock, and on a monotonic one unless boot is empty.
type moment struct {
	wall, mono int64
	boot       string
}

func momentOf(r *Record) moment {
	if r.At != 0 && r.At <= r.Time {
		return moment{wall: r.At}
	}
	return moment{wall: r.Time, mono: r.Mono, boot: r.BootID}
}

// milliseconds from a to b: on the monotonic clock that both have, else on the wall's.
func milliseconds(a, b moment) int64 {
	ns := b.wall - a.wall
	if a.boot != "" && a.boot == b.boot {
		ns = b.mono - a.mono
	}
	return max(0, ns) / 1e6
}

// operation is what may be written once.
type operation struct {
	id   string
	kind uint8
}

// replay goes through the log and keeps what follows from it.
type replay struct {
	f *Finding
	// whole: no entry so far broke a law, so that what follows from the log is known.
	whole, gap bool
	loans      map[string]*loan
	byJob      map[string]string // job UID → its open loan
	operations map[operation]uint64
	reshapes   map[string]bool // open ones; true: made
	sums       map[string]int64
	months     map[monthKey]*amounts
	// counted are the amounts to which the entry's loan was added.
	counted map[*amount]bool
	// carry is how many CARRIED must come before anything else; carries: there were some.
	carry int
	// loanRows and tenantRows are what the indexes must have: name, 00, number → state.
	loanRows, tenantRows map[string]byte
}

func newReplay(f *Finding) *replay {
	return &replay{
		f: f, whole: true, loans: map[string]*loan{}, byJob: map[string]string{}, operations: map[operation]uint64{},
		reshapes: map[string]bool{}, sums: map[string]int64{}, loanRows: map[string]byte{}, tenantRows: map[string]byte{},
		months: map[monthKey]*amounts{}, counted: map[*amount]bool{},
	}
}

// broken adds a verdict after which the rest of the log can be read and not replayed.
func (r *replay) broken(law Law, seq uint64, text string, args ...any) {
	r.whole = false
	r.f.guilty(law, seq, text, args...)
}

// entry replays one entry.
func (r *replay) entry(e *Record) {
	op := operation{e.OpID, e.Kind}
	if first, taken := r.operations[op]; taken {
		r.broken(Operations, e.Seq, "writes operation %q again, which is entry %d", e.OpID, first)
		return
	}
	r.operations[op] = e.Seq
	if _, ok := kindNames[e.Kind]; !ok {
		r.broken(Form, e.Seq, "kind %d is not known", e.Kind)
		return
	}
	if r.carry > 0 && e.Kind != carried {
		r.broken(States, e.Seq, "%s comes before %d entries that are to be carried", name(e.Kind), r.carry)
	}
	if rule, ok := loanRules[e.Kind]; ok {
		r.move(e, rule)
	} else if e.Kind >= reshapeIntent && e.Kind <= reshapeFailed {
		r.reshape(e)
	} else {
		r.note(e)
	}
	if r.carry == 0 {
		r.balanced(e.Seq)
	}
	r.index(e)
}

// reshape follows the picture of a GPU's layout.
func (r *replay) reshape(e *Record) {
	made, open := r.reshapes[e.OpID]
	switch {
	case e.Kind == reshapeIntent:
		r.reshapes[e.OpID] = false
	case !open, e.Kind == reshapeDone && made:
		r.broken(States, e.Seq, "%s of reshape %q, which is open: %v, made: %v", name(e.Kind), e.OpID, open, made)
	case e.Kind == reshapeDone:
		r.reshapes[e.OpID] = true
	default:
		delete(r.reshapes, e.OpID)
	}
}

// move follows the picture of the loans' states.
func (r *replay) move(e *Record, rule rule) {
	l := r.loans[e.Loan]
	was := Unknown
	if l != nil {
		was = l.State
	}
	if rule.from&(1<<was) == 0 {
		r.broken(States, e.Seq, "%s of loan %q, whose state is %d", name(e.Kind), e.Loan, was)
		return
	}
	if l == nil {
		if other := r.byJob[e.JobUID]; other != "" {
			r.broken(OneLoan, e.Seq, "opens loan %q of job %q, which has %q open", e.Loan, e.JobUID, other)
			return
		}
		l = &loan{OpenLoan: OpenLoan{Loan: e.Loan, JobUID: e.JobUID, First: e.Seq, Grants: e.Grants}, borrower: e.Borrower, tenants: lenders(e)}
		r.loans[e.Loan], r.byJob[e.JobUID] = l, e.Loan
	} else if l.JobUID != e.JobUID || l.borrower != e.Borrower {
		r.broken(States, e.Seq, "is about loan %q of another job or borrower than entry %d", e.Loan, l.First)
		return
	}
	was, l.Last = l.State, e.Seq
	if rule.to != Unknown {
		l.State = rule.to
	}
	switch {
	case e.Kind == lendGranted || e.Kind == recovered:
		l.since, l.Start = momentOf(e), e.Seq
	case e.Kind == quarantined:
		l.aside = momentOf(e)
	case e.Kind == shed || e.Kind == shedLost:
		r.book(e, l, r.given(e, l.Grants), was)
		l.Grants = e.Grants
	}
	if l.State == Closed {
		if l.Start != 0 {
			r.book(e, l, l.Grants, was)
		}
		delete(r.byJob, l.JobUID)
	}
}

// finish gives the finding what is open at the end.
func (r *replay) finish() {
	for name, l := range r.loans {
		if l.State != Closed {
			r.f.Open[name] = l.OpenLoan
		}
	}
	r.f.operations = r.operations
	if r.whole && r.carry == 0 {
		r.f.ended = r.standing()
	}
}
