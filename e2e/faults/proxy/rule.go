package proxy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// Fault is what happens to a call.
type Fault string

const (
	// Delay passes the call on after Rule.For.
	Delay Fault = "Delay"
	// Status answers Rule.Status; the call never reaches the API server. With 429 it says
	// to come back after Rule.For, at least a second.
	Status Fault = "Status"
	// DropReply lets the API server answer, and ends the connection instead of passing the
	// answer on.
	DropReply Fault = "DropReply"
	// Refuse ends the connection at once. It cuts watches that are open.
	Refuse Fault = "Refuse"
	// CutWatch ends a watch, open ones at once and new ones after Rule.For.
	CutWatch Fault = "CutWatch"
	// HoldWatch holds the events of a watch back, from now on for Rule.For; then all of them
	// come. A watch that begins meanwhile is held as long.
	HoldWatch Fault = "HoldWatch"
	// ReplayWatch begins a watch at Rule.Revision, so that the program sees again what it
	// has seen.
	ReplayWatch Fault = "ReplayWatch"
	// OldList answers a list that takes any revision as of Rule.Revision, and refuses to
	// stream lists, so that the program asks for one. A list that must be up to date is let
	// through: no API server, however late its caches are, answers that from the past.
	OldList Fault = "OldList"
)

// Rule says which calls fail, and how. What is empty matches all.
type Rule struct {
	// Client is the program's name in the lab.
	Client string `json:"client,omitempty"`
	// Verbs are those of Kubernetes: get, list, watch, create, update, patch, delete,
	// deletecollection; or Writes for all that change something.
	Verbs []string `json:"verbs,omitempty"`
	// Resources by plural name, with subresources as pods/binding. A resource alone does not
	// match its subresources.
	Resources []string `json:"resources,omitempty"`
	// Except are resources that do not match.
	Except []string `json:"except,omitempty"`

	// Nth is the one matching call that is struck, from 1. Otherwise Share of the matching
	// calls are, from above 0 to 1.
	Nth   int     `json:"nth,omitempty"`
	Share float64 `json:"share,omitempty"`

	Fault    Fault         `json:"fault"`
	For      time.Duration `json:"for,omitempty"`
	Status   int           `json:"status,omitempty"`
	Revision string        `json:"revision,omitempty"`
}

// Writes is the verb of a rule that matches all verbs that change something.
const Writes = "writes"

var writes = []string{"create", "update", "patch", "delete", "deletecollection"}

// Validate reports every field of a rule that makes no sense.
func (r Rule) Validate() error {
	var problems []error
	if (r.Nth > 0) == (r.Share > 0) || r.Nth < 0 || r.Share < 0 || r.Share > 1 {
		problems = append(problems, fmt.Errorf("nth, share: one of them must be given, and share at most 1; they are %d and %g", r.Nth, r.Share))
	}
	switch r.Fault {
	case Delay, HoldWatch:
		if r.For <= 0 {
			problems = append(problems, fmt.Errorf("for: must be above 0 with %s", r.Fault))
		}
	case Status:
		if r.Status < 400 || r.Status > 599 {
			problems = append(problems, fmt.Errorf("status: must be from 400 to 599, is %d", r.Status))
		}
	case ReplayWatch, OldList:
		if r.Revision == "" {
			problems = append(problems, fmt.Errorf("revision: must be given with %s", r.Fault))
		}
	case DropReply, Refuse, CutWatch:
	default:
		problems = append(problems, fmt.Errorf("fault: there is no %q", r.Fault))
	}
	return errors.Join(problems...)
}

// call is one request, as a rule sees it.
type call struct {
	client, verb, resource, name string
	// lenient lists take an answer of any revision, and streams are watches that begin with
	// a list.
	lenient, streams bool
}

func (c call) String() string {
	if c.name == "" {
		return c.client + " " + c.verb + " " + c.resource
	}
	return c.client + " " + c.verb + " " + c.resource + " " + c.name
}

func (r *Rule) matches(c call) bool {
	if r.Client != "" && r.Client != c.client {
		return false
	}
	if len(r.Resources) > 0 && !slices.Contains(r.Resources, c.resource) || slices.Contains(r.Except, c.resource) {
		return false
	}
	if !r.verb(c.verb) {
		return false
	}
	switch r.Fault {
	case CutWatch, HoldWatch, ReplayWatch:
		return c.verb == "watch"
	case OldList:
		return c.lenient || c.streams
	}
	return true
}

func (r *Rule) verb(verb string) bool {
	return len(r.Verbs) == 0 || slices.Contains(r.Verbs, verb) ||
		slices.Contains(r.Verbs, Writes) && slices.Contains(writes, verb)
}

// armed is a rule in force.
type armed struct {
	Rule
	calls  int // that matched
	random *rand.Rand
}

func arm(rule Rule, seed uint64, place int) *armed {
	return &armed{Rule: rule, random: rand.New(rand.NewPCG(seed, uint64(place)))}
}

// strikes counts a matching call and tells whether it is struck.
func (a *armed) strikes() bool {
	a.calls++
	if a.Nth > 0 {
		return a.calls == a.Nth
	}
	return a.random.Float64() < a.Share
}

// reasons of the answers that a program may tell apart.
var reasons = map[int]string{
	http.StatusConflict:            "Conflict",
	http.StatusTooManyRequests:     "TooManyRequests",
	http.StatusInternalServerError: "InternalError",
	http.StatusServiceUnavailable:  "ServiceUnavailable",
	http.StatusGatewayTimeout:      "Timeout",
	http.StatusUnprocessableEntity: "Invalid",
}
