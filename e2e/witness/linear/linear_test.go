package linear_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/auditlog"
	"github.com/ebbtide/ebbtide/e2e/witness/linear"
)

const unit = "node:n1:nvidia.com/gpu"

func hold(holder string, count, call, end int64) linear.Op {
	return linear.Op{Unit: unit, Holder: holder, Count: count, Call: call, Return: end}
}

func unknown(o linear.Op) linear.Op {
	o.Return, o.Unknown = linear.Never, true
	return o
}

func limit(count, call, end int64) linear.Op {
	return linear.Op{Unit: unit, Count: count, Call: call, Return: end}
}

func check(t *testing.T, ops []linear.Op) linear.Result {
	t.Helper()
	r, err := linear.Check(ops, 2*time.Minute, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for unit, path := range r.Illegal {
		if s, err := os.Stat(path); err != nil || s.Size() == 0 {
			t.Errorf("the history of %s was not drawn: %v", unit, err)
		}
	}
	if len(r.Undecided) > 0 {
		t.Errorf("undecided: %v", r.Undecided)
	}
	return r
}

// Histories that can have been, and such that cannot.
func TestHistories(t *testing.T) {
	tests := []struct {
		name    string
		illegal bool
		ops     []linear.Op
	}{
		{"one after the other", false, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("a", 0, 3, 4), hold("b", 8, 5, 6)}},
		{"side by side", false, []linear.Op{limit(8, 0, 0), hold("a", 4, 1, 2), hold("b", 4, 1, 2)}},
		{"lent while the return is answered", false, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("a", 0, 3, 6), hold("b", 8, 4, 5)}},
		{"a lend that nobody answered, and that was not", false, []linear.Op{limit(8, 0, 0), unknown(hold("a", 8, 1, 0)), hold("b", 8, 3, 4)}},
		{"a return that nobody answered, and that was", false, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), unknown(hold("a", 0, 3, 0)), hold("b", 8, 4, 5)}},
		{"a part was given back", false, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("a", 4, 3, 4), hold("b", 4, 5, 6)}},
		{"a limit that rises in time", false, []linear.Op{limit(4, 0, 0), limit(8, 1, 9), hold("a", 8, 2, 3)}},
		{"a limit cut below what is held", false, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), limit(2, 3, 4), hold("a", 0, 5, 6), hold("b", 2, 7, 8)}},

		{"lent twice", true, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("b", 1, 3, 4)}},
		{"lent twice at once", true, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 4), hold("b", 1, 2, 3)}},
		{"lent before the return was asked for", true, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("b", 8, 3, 4), hold("a", 0, 5, 6)}},
		{"a return that nobody answered comes too late", true, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("b", 8, 3, 4), unknown(hold("a", 0, 5, 0))}},
		{"two lends that nobody answered, one of which must have been", true, []linear.Op{limit(8, 0, 0), unknown(hold("a", 8, 1, 0)), hold("a", 4, 3, 4), hold("b", 5, 5, 6)}},
		{"more than was promised", true, []linear.Op{limit(4, 0, 0), hold("a", 5, 1, 2)}},
		{"admitted after the cut", true, []linear.Op{limit(8, 0, 0), limit(2, 1, 2), hold("a", 3, 3, 4)}},
		{"more given back than is free", true, []linear.Op{limit(8, 0, 0), hold("a", 8, 1, 2), hold("a", 4, 3, 4), hold("b", 5, 5, 6)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if r := check(t, test.ops); (len(r.Illegal) == 1) != test.illegal {
				t.Errorf("illegal: %v, want %t", r.Illegal, test.illegal)
			}
		})
	}
}

// A history of many lenders that was made by taking turns is legal however its calls overlap,
// and is not any more when one holder is given what another has.
func TestRandomHistories(t *testing.T) {
	const seeds = 60
	found := 0
	for seed := range uint64(seeds) {
		ops, doctored := random(rand.New(rand.NewPCG(seed, 1)))
		if r := check(t, ops); len(r.Illegal) > 0 {
			t.Errorf("seed %d: a history that was is called illegal", seed)
		}
		if r := check(t, doctored); len(r.Illegal) > 0 {
			found++
		}
	}
	if found != seeds {
		t.Errorf("%d of %d doctored histories were found", found, seeds)
	}
}

// random takes turns with 8 units: each operation takes effect at its turn, and its call and
// return are some turns around it. The doctored one ends with two holders of 9 together.
func random(r *rand.Rand) (ops, doctored []linear.Op) {
	ops = []linear.Op{limit(8, 0, 0)}
	has, free := map[string]int64{}, int64(8)
	for turn := int64(1); turn <= 60; turn++ {
		at := turn * 100
		call, end := at-r.Int64N(150), at+r.Int64N(150)
		name := fmt.Sprintf("h%d", r.IntN(6))
		switch {
		case has[name] > 0 && r.IntN(2) == 0:
			free += has[name]
			has[name] = 0
		case has[name] == 0 && free > 0:
			has[name] = 1 + r.Int64N(free)
			free -= has[name]
		default:
			continue
		}
		o := hold(name, has[name], call, end)
		if r.IntN(10) == 0 && has[name] == 0 { // the answer is lost
			o = unknown(o)
		}
		ops = append(ops, o)
	}
	last := int64(10_000)
	doctored = append(append(doctored, ops...), hold("y", 5, last+2, last+3), hold("z", 4, last+4, last+5))
	return ops, doctored
}

// A loan that was there before counts from then on, and may have taken the place of one whose
// end is in the log too.
func TestInitial(t *testing.T) {
	limits := []linear.Limit{{Unit: linear.NodeUnit("n1", "nvidia.com/gpu"), Count: 8}}
	spec := v1alpha1.LoanSpec{
		Job: v1alpha1.JobRef{UID: "j0"}, Borrower: "research", Resource: "nvidia.com/gpu",
		Grants: []v1alpha1.Grant{{Lender: "serving/chat", Node: "n1", Flavor: "h100", Count: 8}},
	}
	initial := []linear.Initial{{Name: "research/z-1", Spec: spec, Grants: spec.Grants, By: began.Add(5 * time.Second)}}
	took := linear.Requests([]auditlog.Write{request(1, "create", "a-1", createLoan, 201), request(2, "delete", "a-1", "", 200)}, limits, initial, nil)
	if r := check(t, took); len(r.Illegal) > 0 {
		t.Errorf("it took the place of another: %v", r.Illegal)
	}
	twice := linear.Requests([]auditlog.Write{request(6, "create", "a-1", createLoan, 201)}, limits, initial, nil)
	if r := check(t, twice); len(r.Illegal) != 1 {
		t.Errorf("its units are lent again, and that is found illegal: %v", r.Illegal)
	}
}

// An old leader's request counts from when it was asked: one that was on its way when the new
// leader's was answered is no breach.
func TestStale(t *testing.T) {
	status := func(epoch int) string { return fmt.Sprintf(`{"spec":{"epoch":1},"status":{"epoch":%d}}`, epoch) }
	tests := []struct {
		name   string
		writes []auditlog.Write
		want   int
	}{
		{"one leader after the other", []auditlog.Write{request(1, "update", "a-1", status(1), 200), request(2, "update", "a-1", status(2), 200)}, 0},
		{"refused", []auditlog.Write{request(1, "update", "a-1", status(2), 200), request(2, "update", "a-1", status(1), 403)}, 0},
		{"on its way", []auditlog.Write{request(1, "update", "a-1", status(2), 200), request(1, "update", "b-1", status(1), 200)}, 0},
		{"the same loan", []auditlog.Write{request(1, "update", "a-1", status(2), 200), request(2, "update", "a-1", status(1), 200)}, 1},
		{"another loan", []auditlog.Write{request(1, "update", "a-1", status(2), 200), request(2, "update", "b-1", status(1), 200)}, 1},
		{"a new loan", []auditlog.Write{request(1, "update", "a-1", status(2), 200), request(2, "create", "b-1", `{"spec":{"epoch":1}}`, 201)}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := linear.Stale(test.writes); len(got) != test.want {
				t.Errorf("got %q, want %d", got, test.want)
			}
		})
	}
}

const (
	createLoan = `{"spec":{"job":{"uid":"j1"},"borrower":"research","resource":"nvidia.com/gpu","grants":[{"lender":"serving/chat","node":"n1","flavor":"h100","count":8}]}}`
	returnLoan = `{"status":{"conditions":[{"type":"Returned","status":"True"}]}}`
	shedLoan   = `{"status":{"shed":[{"lender":"serving/chat","node":"n1","flavor":"h100","count":5}]}}`
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// request is a write that was asked for at a second and answered half a second later.
func request(second int, verb, name, body string, code int) auditlog.Write {
	w := auditlog.Write{
		Verb: verb, Group: "ebbtide.dev", Resource: "loans", Namespace: "research", Name: name, Code: code, Body: []byte(body),
		Asked: began.Add(time.Duration(second) * time.Second),
	}
	if verb == "update" {
		w.Subresource = "status"
	}
	if code != 0 {
		w.Answered = w.Asked.Add(500 * time.Millisecond)
	}
	return w
}

// What the audit log has of Loans becomes a history of units, jobs and quotas.
func TestRequests(t *testing.T) {
	limits := []linear.Limit{
		{Unit: linear.NodeUnit("n1", "nvidia.com/gpu"), Count: 8, From: began, Until: began},
		{Unit: linear.LimitUnit("research", "h100"), Count: 8, From: began, Until: began},
	}
	other := `{"spec":{"job":{"uid":"j2"},"borrower":"research","resource":"nvidia.com/gpu","grants":[{"lender":"serving/chat","node":"n1","flavor":"h100","count":5}]}}`
	node, quota, job := linear.NodeUnit("n1", "nvidia.com/gpu"), linear.LimitUnit("research", "h100"), linear.JobUnit("j1")
	tests := []struct {
		name    string
		writes  []auditlog.Write
		ended   map[string]time.Time
		illegal []string
	}{
		{"lent, returned, lent", []auditlog.Write{
			request(1, "create", "a-1", createLoan, 201), request(2, "update", "a-1", returnLoan, 200), request(3, "delete", "a-1", "", 200),
			request(4, "create", "b-1", other, 201),
		}, nil, nil},
		{"a refused lend", []auditlog.Write{request(1, "create", "a-1", createLoan, 201), request(2, "create", "b-1", other, 409)}, nil, nil},
		{"a lend that failed", []auditlog.Write{request(1, "create", "a-1", createLoan, 500), request(2, "create", "b-1", other, 201)}, nil, nil},
		{"a lend that was never answered", []auditlog.Write{request(1, "create", "a-1", createLoan, 0), request(2, "create", "b-1", other, 201)}, nil, nil},
		{"a part given back", []auditlog.Write{
			request(1, "create", "a-1", createLoan, 201), request(2, "update", "a-1", shedLoan, 200), request(3, "create", "b-1", other, 201),
		}, nil, nil},
		{"ended by somebody else", []auditlog.Write{request(1, "create", "a-1", createLoan, 201), request(5, "create", "b-1", other, 201)},
			map[string]time.Time{"research/a-1": began.Add(3 * time.Second)}, nil},

		{"lent twice", []auditlog.Write{request(1, "create", "a-1", createLoan, 201), request(2, "create", "b-1", other, 201)}, nil, []string{node, quota}},
		{"a return that was refused", []auditlog.Write{
			request(1, "create", "a-1", createLoan, 201), request(2, "update", "a-1", returnLoan, 409), request(3, "create", "b-1", other, 201),
		}, nil, []string{node, quota}},
		{"a lend that was never answered and is known to have been", []auditlog.Write{
			request(1, "create", "a-1", createLoan, 0), request(2, "update", "a-1", `{"status":{}}`, 200), request(3, "create", "b-1", other, 201),
		}, nil, []string{node, quota}},
		{"two loans of a job", []auditlog.Write{
			request(1, "create", "a-1", createLoan, 201), request(2, "update", "a-1", shedLoan, 200),
			request(3, "create", "a-2", `{"spec":{"job":{"uid":"j1"},"borrower":"research","resource":"nvidia.com/gpu","grants":[{"node":"n9","flavor":"h100","count":1}]}}`, 201),
		}, nil, []string{job}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := check(t, linear.Requests(test.writes, limits, nil, test.ended))
			if len(r.Illegal) != len(test.illegal) {
				t.Errorf("illegal: %v, want %v", r.Illegal, test.illegal)
			}
			for _, unit := range test.illegal {
				if r.Illegal[unit] == "" {
					t.Errorf("illegal: %v, want %v", r.Illegal, test.illegal)
				}
			}
		})
	}
}
