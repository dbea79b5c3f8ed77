package ledger

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Correct makes the entry by which an administrator moves balances, because an earlier entry,
// about, was wrong. It refuses what has no actor, reason or postings, and postings that do not
// add up to 0 per flavor or are of a lender or borrower without a balance. The same correction
// twice is one: its operation is made of what it says.
func Correct(about *Entry, actor, reason string, postings []Posting, balances []Balance) (Entry, error) {
	for _, f := range []struct{ name, text string }{{"actor", actor}, {"reason", reason}} {
		if strings.TrimSpace(f.text) == "" {
			return Entry{}, invalid(f.name, "is required")
		}
	}
	if err := checkName("actor", actor); err != nil {
		return Entry{}, err
	}
	if len(postings) == 0 {
		return Entry{}, invalid("postings", "are required")
	}
	for i, p := range postings {
		at := fmt.Sprintf("postings[%d]", i)
		if p.UnitMS == 0 {
			return Entry{}, invalid(at, "of nothing moves nothing")
		}
		known := slices.ContainsFunc(balances, func(b Balance) bool { return b.Account == p.Account && b.Flavor == p.Flavor })
		if p.Account.Name != "" && !known {
			return Entry{}, invalid(at, "%s %s has no balance of %s", p.Account.Side, p.Account.Name, p.Flavor)
		}
	}
	payload, err := json.Marshal(CorrectionPayload{Actor: actor, Postings: postings})
	if err != nil {
		return Entry{}, fmt.Errorf("write the postings: %w", err)
	}
	if _, err := readPostings(payload); err != nil {
		return Entry{}, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", about.Seq, reason, payload))
	return Entry{
		Kind: Correction, OpID: fmt.Sprintf("correct-%x", sum[:12]), Corrects: about.Seq, Reason: "Corrected",
		Loan: about.Loan, Job: about.Job, JobUID: about.JobUID, Borrower: about.Borrower,
		Message: fmt.Sprintf("%s (%s: %s)", reason, actor, inWords(postings)), Payload: payload,
	}, nil
}

// inWords are postings for people.
func inWords(postings []Posting) string {
	words := make([]string, len(postings))
	for i, p := range postings {
		sign := "+"
		if p.UnitMS < 0 {
			sign, p.UnitMS = "-", -p.UnitMS
		}
		account := string(p.Account.Side)
		if p.Account.Name != "" {
			account += "/" + p.Account.Name
		}
		words[i] = fmt.Sprintf("%s %s%s of a unit of %s", account, sign, time.Duration(p.UnitMS)*time.Millisecond, p.Flavor)
	}
	return strings.Join(words, ", ")
}

// ParsePosting reads ACCOUNT:FLAVOR:UNITMS or, for other accounts than a borrower's,
// ACCOUNT:FLAVOR:UNITMS:TENANT, whose statement the posting is in. The tenant may be empty
// where it is not known.
func ParsePosting(text string) (Posting, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 3 || len(parts) > 4 {
		return Posting{}, fmt.Errorf("%q is not ACCOUNT:FLAVOR:UNITMS[:TENANT]", text)
	}
	p := Posting{Flavor: parts[1]}
	if err := p.Account.UnmarshalText([]byte(parts[0])); err != nil {
		return p, err
	}
	var err error
	if p.UnitMS, err = strconv.ParseInt(parts[2], 10, 64); err != nil {
		return p, fmt.Errorf("%q: %q is not a number of unit-milliseconds", text, parts[2])
	}
	borrower := p.Account.Side == BorrowerAccount
	switch {
	case p.Flavor == "":
		return p, fmt.Errorf("%q has no flavor", text)
	case borrower && len(parts) == 4:
		return p, fmt.Errorf("%q: a borrower is its own tenant", text)
	case !borrower && len(parts) == 3:
		return p, fmt.Errorf("%q must end with :TENANT, whose statement it is in", text)
	case !borrower:
		p.Tenant = parts[3]
	}
	return p, nil
}
