package town

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// moment reads a parameter; usual if it is absent.
func moment(r *http.Request, name string, usual time.Time) time.Time {
	at, err := time.Parse(time.RFC3339, r.URL.Query().Get(name))
	if err != nil {
		return usual
	}
	return at.UTC()
}

var head = map[string]any{"seq": 48213, "hash": strings.Repeat("5eed", 16)}

func (s *Span) sees(c caller) bool { return c.sees(s.Borrower) }

func (t *Town) getTimeline(r *http.Request, c caller) (any, error) {
	q := r.URL.Query()
	from, to := moment(r, "from", t.now.Add(-12*time.Hour)), moment(r, "to", t.now)
	from = from.Truncate(time.Second)
	spans := []Span{}
	for _, s := range t.spans {
		if s.sees(c) && s.From.Before(to) && (s.To.IsZero() || s.To.After(from)) && is(q.Get("loan"), s.Loan) && is(q.Get("tenant"), s.Borrower) && is(q.Get("lender"), s.Lenders[0]) {
			spans = append(spans, s)
		}
	}
	omitted := max(0, len(spans)-10000)
	loads := []LoadLine{}
	for _, s := range t.lenders {
		used := q.Get("loan") == "" && q.Get("tenant") == "" || slices.ContainsFunc(spans, func(span Span) bool { return span.Lenders[0] == s.Name })
		if c.sees(s.Tenant) && is(q.Get("lender"), s.Name) && used {
			loads = append(loads, t.line(s, from, to))
		}
	}
	return map[string]any{"from": from, "to": to, "head": head, "spans": spans[omitted:], "omitted": omitted, "loads": loads, "notes": []string{}}, nil
}

// line is a load between two moments; an hour of one of them is not known.
func (t *Town) line(s *service, from, to time.Time) LoadLine {
	every := max(step, (to.Sub(from) / 288).Truncate(step))
	l := LoadLine{Lender: s.Name, Tenant: s.Tenant, Flavor: s.Flavor, Owned: s.Owned, LowWater: low, HighWater: high, From: from, StepSeconds: every.Seconds(), Source: "Prometheus"}
	for at := from; at.Before(to); at = at.Add(every) {
		i := int(at.Sub(t.now.Add(-back)) / step)
		if i < 0 || i >= len(s.load) || s.Utilization < 0 && t.now.Sub(at) < time.Hour {
			l.Utilization = append(l.Utilization, nil)
			continue
		}
		l.Utilization = append(l.Utilization, &s.load[i])
	}
	return l
}

func (t *Town) getGained(r *http.Request, c caller) (any, error) {
	since := moment(r, "since", t.now.Truncate(24*time.Hour))
	var hours, slowest float64
	var units, loans, reclaims int64
	loan := ""
	for _, s := range t.spans {
		end := s.To
		if end.IsZero() {
			end = t.now
			units += s.Units
		}
		if !s.sees(c) || !end.After(since) {
			continue
		}
		begin := s.From
		if begin.Before(since) {
			begin = since
		} else {
			loans++
		}
		hours += float64(s.Units) * end.Sub(begin).Hours()
		if !s.ReclaimAt.IsZero() && s.ReclaimAt.After(since) {
			reclaims++
			if took := s.To.Sub(s.ReclaimAt).Seconds(); !s.To.IsZero() && took > slowest {
				slowest, loan = took, s.Loan
			}
		}
	}
	body := map[string]any{
		"since": since, "until": t.now, "head": head, "lentGPUHours": hours, "loans": loans, "reclaims": reclaims, "evictions": reclaims, "killed": reclaims / 7, "late": 0, "complete": true,
		"flavors": []map[string]any{{"flavor": "h100", "lentGPUHours": hours, "openUnits": units}},
	}
	if loan != "" {
		body["slowestReturnSeconds"], body["slowestLoan"], body["slowestBoundSeconds"] = slowest, loan, grace.Seconds()
	}
	return body, nil
}

func (t *Town) getQuota(_ *http.Request, c caller) (any, error) {
	rows := []QuotaRow{{Name: "lab", Kind: "Cohort", Weight: 1, Flavors: []QuotaUnits{}}}
	owned, lent := map[string]int64{}, map[string]int64{}
	for _, s := range t.lenders {
		owned[s.Tenant] += s.Owned
		lent[s.Tenant] += s.Lent
	}
	held := map[string]int64{}
	for _, l := range t.loans {
		held[l.Borrower] += l.Units
	}
	names := append([]string{"serving", "media"}, borrowers...)
	slices.Sort(names)
	for i, name := range names {
		row := QuotaRow{Name: name, Kind: "Tenant", Parent: "lab", Depth: 1, Weight: int64(1 + i%2)}
		units := QuotaUnits{Flavor: "h100", Nominal: owned[name], Lent: lent[name]}
		if slices.Contains(borrowers, name) {
			limit, share := int64(8*t.options.NodesPerLender), int64(40+35*i)
			units.Nominal, units.Borrowed, units.BorrowingLimit = 16, held[name], &limit
			units.Used = held[name] + int64(4*i)
			row.Share = &share
		} else {
			for _, s := range t.lenders {
				if s.Tenant == name {
					units.Used += s.Held
				}
			}
		}
		units.Available = max(0, units.Nominal-units.Used)
		if c.sees(name) {
			row.Flavors = []QuotaUnits{units}
		}
		if c.sees(name) {
			rows = append(rows, row)
		}
	}
	body := t.decided()
	body["rows"] = rows
	return body, nil
}

func (t *Town) getLedger(r *http.Request, _ caller) (any, error) {
	entries := []map[string]any{}
	for i, s := range t.spans {
		if s.Loan != r.URL.Query().Get("loan") {
			continue
		}
		add := func(kind string, at time.Time, reason, message string) {
			entries = append(entries, map[string]any{"seq": 3*i + len(entries) + 1, "time": at, "kind": kind, "loan": s.Loan, "job": s.Job, "borrower": s.Borrower, "reason": reason, "message": message})
		}
		add("LEND_INTENT", s.From, "BelowLowWater", fmt.Sprintf("%s lends %d of %s.", s.Lenders[0], s.Units, s.Flavors[0]))
		add("LEND_GRANTED", s.From.Add(time.Second), "BelowLowWater", "")
		if !s.ReclaimAt.IsZero() {
			add("RECLAIM_INTENT", s.ReclaimAt, s.Reason, s.Message)
		}
		if !s.To.IsZero() {
			add(s.End, s.To, "", "")
		}
	}
	return map[string]any{"head": head, "entries": entries}, nil
}

func (t *Town) getReclaims(r *http.Request, _ caller) (any, error) {
	list := []map[string]any{}
	for i, s := range t.spans {
		if s.Loan != r.URL.Query().Get("loan") || s.ReclaimAt.IsZero() {
			continue
		}
		row := map[string]any{"seq": i, "loan": s.Loan, "job": s.Job, "borrower": s.Borrower, "reason": s.Reason, "units": s.Units, "lenders": s.Lenders, "asked": s.ReclaimAt, "boundSeconds": grace.Seconds(), "told": map[string]any{"seconds": 0.4, "pods": 1}}
		if !s.To.IsZero() {
			row["ended"], row["end"] = map[string]any{"seconds": s.To.Sub(s.ReclaimAt).Seconds()}, s.End
		}
		list = append(list, row)
	}
	return map[string]any{"head": head, "reclaims": list}, nil
}

func (t *Town) getStatement(r *http.Request, c caller) (any, error) {
	tenant, month := r.URL.Query().Get("tenant"), r.URL.Query().Get("month")
	if !c.sees(tenant) {
		return nil, fmt.Errorf("user %q may not list loans.ebbtide.dev in all namespaces of tenant %s", "system:serviceaccount:research:viewer", tenant)
	}
	rows := []map[string]any{}
	if month == t.now.Format("2006-01") {
		lends := tenant == "serving" || tenant == "media"
		for _, open := range []bool{false, true} {
			var hours float64
			var units, loans int64
			for _, s := range t.spans {
				mine := s.Borrower == tenant
				if lends {
					at := slices.IndexFunc(t.lenders, func(l *service) bool { return l.Name == s.Lenders[0] })
					mine = t.lenders[at].Tenant == tenant
				}
				if !mine || s.To.IsZero() != open {
					continue
				}
				end := s.To
				if open {
					end = t.now
				}
				hours, units, loans = hours+float64(s.Units)*end.Sub(s.From).Hours(), units+s.Units, loans+1
			}
			row := map[string]any{"flavor": "h100", "role": "Borrower", "borrowedGPUHours": hours, "units": units, "loans": loans}
			if lends {
				row["role"], row["lentGPUHours"] = "Lender", hours
				delete(row, "borrowedGPUHours")
			}
			if open {
				row["open"] = true
			}
			rows = append(rows, row)
		}
	}
	return map[string]any{"tenant": tenant, "month": month, "head": head, "openUntil": t.now, "rows": rows}, nil
}

var errNoJob = errors.New("no such job waits")

func (t *Town) getCounterfactual(r *http.Request, c caller) (any, error) {
	q := r.URL.Query()
	if name := q.Get("lender"); name != "" {
		loans := []map[string]any{}
		var units int64
		for _, l := range t.loans {
			if l.Grants[0].Lender == name && c.all {
				loans = append(loans, map[string]any{"loan": l.Name, "job": l.Job, "borrower": l.Borrower, "units": l.Units, "part": false, "by": t.now.Add(grace), "graceSeconds": grace.Seconds(), "lostWorkSeconds": float64(l.Units) * t.now.Sub(l.Checkpoint).Seconds()})
				units += l.Units
			}
		}
		body := t.decided()
		body["lender"], body["loans"], body["units"], body["leaving"], body["short"], body["others"], body["by"] = name, loans, units, 0, 0, 0, t.now.Add(grace)
		return body, nil
	}
	at := slices.IndexFunc(t.jobs, func(j Job) bool { return j.Job == q.Get("job") && c.sees(j.Tenant) })
	if at < 0 {
		return nil, errNoJob
	}
	j := t.jobs[at]
	body := t.decided()
	body["job"], body["uid"], body["complete"] = j.Job, j.UID, true
	body["sentence"] = fmt.Sprintf("Job %s waits: %s", j.Job, strings.ToLower(j.Message[:1])+j.Message[1:])
	body["chain"] = []map[string]any{
		{"kind": "Job", "subject": j.Job, "reason": j.Reason, "message": j.Message, "since": j.Since},
		{"kind": "Queue", "subject": j.Queue, "reason": "", "message": fmt.Sprintf("is number %d of it", j.Position)},
		{"kind": "Tenant", "subject": j.Tenant, "reason": "", "message": "uses 24 of h100, 16 of them its own; may have 8 more now"},
	}
	body["nearest"] = []map[string]any{
		{"kind": "FewerPods", "text": fmt.Sprintf("With %d pods instead of %d it would be admitted now.", max(1, j.Pods-1), cmp.Or(j.Pods, 1)), "pods": max(1, j.Pods-1)},
		{"kind": "FreeUnits", "text": fmt.Sprintf("With %d more free units of h100 on one node it would be admitted now.", j.UnitsPerPod), "flavor": "h100", "units": j.UnitsPerPod, "nodes": 1},
	}
	body["when"] = map[string]any{"earliest": t.now.Add(20 * time.Minute), "latest": t.now.Add(95 * time.Minute), "returns": 41, "message": "by how units came free in the last week"}
	return body, nil
}
