package proxy

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// kind is a kind of fault that may be drawn for a while.
type kind struct {
	name  string
	rules func(random *rand.Rand) []Rule
}

// upTo draws a time from least to most.
func upTo(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// kinds are all that are drawn from.
var kinds = []kind{
	{name: "slow", rules: func(random *rand.Rand) []Rule {
		return []Rule{{Share: 0.5, Fault: Delay, For: upTo(random, 50*time.Millisecond, time.Second), Except: []string{"leases"}}}
	}},
	{name: "conflicts", rules: func(*rand.Rand) []Rule {
		return []Rule{{Verbs: []string{Writes}, Share: 0.3, Fault: Status, Status: http.StatusConflict}}
	}},
	{name: "too many requests", rules: func(*rand.Rand) []Rule {
		return []Rule{{Share: 0.2, Fault: Status, Status: http.StatusTooManyRequests, For: time.Second}}
	}},
	{name: "internal errors", rules: func(random *rand.Rand) []Rule {
		return []Rule{{Share: 0.1 + 0.4*random.Float64(), Fault: Status, Status: http.StatusInternalServerError}}
	}},
	{name: "replies lost", rules: func(random *rand.Rand) []Rule {
		return []Rule{{Verbs: []string{Writes}, Share: 0.1 + 0.4*random.Float64(), Fault: DropReply}}
	}},
	{name: "watches held", rules: func(random *rand.Rand) []Rule {
		return []Rule{{Share: 1, Fault: HoldWatch, For: upTo(random, 2*time.Second, 10*time.Second)}}
	}},
	{name: "watches cut", rules: func(random *rand.Rand) []Rule {
		return []Rule{{Share: 0.7, Fault: CutWatch, For: upTo(random, 100*time.Millisecond, 2*time.Second)}}
	}},
	{name: "partition", rules: func(*rand.Rand) []Rule {
		return []Rule{{Share: 1, Fault: Refuse}}
	}},
}

// least is the share of the calls that fail with nothing else drawn.
const least = 0.2

// Fail draws kinds of faults and sets their rules; it returns their names. Each time a random
// half of the kinds is left out, since all at once hide what each does; and they are for one
// of the clients, or all. Clear ends them. What no API server does is not among them: a watch
// that begins before the revision that it was asked for.
func (r *Rig) Fail(random *rand.Rand, clients ...string) (string, error) {
	client := ""
	if n := random.IntN(len(clients) + 1); n < len(clients) {
		client = clients[n]
	}
	var names []string
	var rules []Rule
	for _, k := range kinds {
		if random.IntN(2) == 0 || k.name == "partition" && random.IntN(3) > 0 {
			continue
		}
		names = append(names, k.name)
		rules = append(rules, k.rules(random)...)
	}
	if len(rules) == 0 {
		names, rules = []string{"replies lost"}, []Rule{{Verbs: []string{Writes}, Share: least, Fault: DropReply}}
	}
	for i := range rules {
		rules[i].Client = client
	}
	if client == "" {
		client = "everybody"
	}
	return strings.Join(names, ", ") + " for " + client, r.Set(rules...)
}
