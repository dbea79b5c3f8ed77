package lend

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"
)

// args reads a script line's arguments. A value that cannot be read panics: the
// script is part of the test.
type args struct{ *datadriven.TestData }

// name is the i-th argument without a value.
func (a args) name(i int) string {
	if i < len(a.CmdArgs) && len(a.CmdArgs[i].Vals) == 0 {
		return a.CmdArgs[i].Key
	}
	return ""
}

func (a args) text(key, otherwise string) string {
	for _, arg := range a.CmdArgs {
		if arg.Key == key && len(arg.Vals) == 1 {
			return arg.Vals[0]
		}
	}
	return otherwise
}

func (a args) flag(key string) bool {
	return slices.ContainsFunc(a.CmdArgs, func(arg datadriven.CmdArg) bool { return arg.Key == key })
}

func (a args) number(key string, otherwise int64) int64 {
	text := a.text(key, "")
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(a.Pos + ": " + err.Error())
	}
	return n
}

func (a args) share(key string, otherwise float64) float64 {
	text := a.text(key, "")
	if text == "" {
		return otherwise
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil {
		panic(a.Pos + ": " + err.Error())
	}
	return v / 100
}

func (a args) duration(key string, otherwise time.Duration) time.Duration {
	text := a.text(key, "")
	if text == "" {
		return otherwise
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		panic(a.Pos + ": " + err.Error())
	}
	return v
}

// flavors are the keys with values that are none of the others.
func (a args) flavors(others ...string) []string {
	var out []string
	for _, arg := range a.CmdArgs {
		if len(arg.Vals) == 1 && !slices.Contains(others, arg.Key) {
			out = append(out, arg.Key)
		}
	}
	slices.Sort(out)
	return out
}

// limit is a number, or nil where it is absent.
func (a args) limit(key string) *int64 {
	if !a.flag(key) {
		return nil
	}
	n := a.number(key, 0)
	return &n
}

// quotas are one of each flavor, with the same limits.
func (a args) quotas() []Quota {
	var out []Quota
	for _, f := range a.flavors("cohort", "parent", "weight", "borrow", "lend", "held") {
		out = append(out, Quota{
			Flavor: f, Nominal: a.number(f, 0), Held: a.number("held", 0), BorrowingLimit: a.limit("borrow"), LendingLimit: a.limit("lend"),
		})
	}
	return out
}

// draws reads LIMIT:AMOUNT.
func (a args) draws() []Draw {
	name, amount, found := strings.Cut(a.text("draws", ""), ":")
	if !found {
		return nil
	}
	n, err := strconv.ParseInt(amount, 10, 64)
	if err != nil {
		panic(a.Pos + ": " + err.Error())
	}
	return []Draw{{Limit: name, Amount: n}}
}
