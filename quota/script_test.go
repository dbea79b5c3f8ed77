package quota

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// Every example of the reference is run, and says what it says there.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/quota.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?ms)^### ([^\n]*)\n[^#]*?^```quota\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if all := bytes.Count(page, []byte("```quota\n")); all != len(examples) || all < 10 {
		t.Fatalf("%d examples, of which %d have a heading of their own", all, len(examples))
	}
	for _, e := range examples {
		t.Run(e[1], func(t *testing.T) {
			datadriven.RunTestFromString(t, e[2], new(script).run)
		})
	}
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, new(script).run)
	})
}

// script runs one example: a tree, and what is used, asked for and taken back in it.
type script struct {
	cluster
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	commands := map[string]func(*datadriven.TestData, []string) string{
		"tree": s.plantTree, "pods": s.pods, "job": s.job, "end": s.end, "show": s.show,
		"lately": s.lately, "compare": s.compare, "take": s.take,
	}
	command, known := commands[d.Cmd]
	if !known {
		d.Fatalf(t, "no such command")
	}
	var args []string
	for _, a := range d.CmdArgs {
		args = append(args, a.String())
	}
	return command(d, args)
}

// plantTree reads a tree: a node is below the last one with a smaller indent. What has
// nodes below it is a cohort.
func (s *script) plantTree(d *datadriven.TestData, _ []string) string {
	s.world, s.jobs = new(world), nil
	type level struct{ indent, node int }
	var above []level
	for line := range strings.Lines(d.Input) {
		name, quota, _ := strings.Cut(strings.TrimSpace(line), ":")
		if slice, whole, ok := strings.Cut(name, " of "); ok {
			f := Flavor{Name: slice, SliceOf: whole}
			must(fmt.Sscanf(quota, "%d compute, %d memory", &f.Compute, &f.Memory))
			s.flavors = append(s.flavors, f)
			continue
		}
		n := Node{Name: name}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		for len(above) > 0 && above[len(above)-1].indent >= indent {
			above = above[:len(above)-1]
		}
		if len(above) > 0 {
			parent := &s.nodes[above[len(above)-1].node]
			n.Parent, parent.Cohort = parent.Name, true
		}
		n.promise(quota)
		above = append(above, level{indent, len(s.nodes)})
		s.nodes = append(s.nodes, n)
	}
	for i := range s.nodes {
		for _, f := range s.flavors {
			s.nodes[i].Quotas = append(s.nodes[i].Quotas, Quota{Flavor: f.Name})
		}
	}
	s.plant()
	var out strings.Builder
	for _, p := range s.tree.Problems() {
		fmt.Fprintf(&out, "%s: %s\n", p.Node, p.Message)
	}
	return out.String()
}

// promise reads a quota such as "h100 16, borrow 8, lend 4, weight 2".
func (n *Node) promise(text string) {
	for part := range strings.SplitSeq(text, ",") {
		word, number, _ := strings.Cut(strings.TrimSpace(part), " ")
		if word == "" {
			continue
		}
		amount := Amount(must(strconv.ParseInt(number, 10, 64)))
		switch last := len(n.Quotas) - 1; word {
		case "weight":
			n.Weight = (*int64)(&amount)
		case "borrow":
			n.Quotas[last].BorrowingLimit = &amount
		case "lend":
			n.Quotas[last].LendingLimit = &amount
		default:
			n.Quotas = append(n.Quotas, Quota{Flavor: word, Nominal: amount})
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *script) node(name string) NodeID {
	id, ok := s.tree.Tenant(name)
	if !ok {
		id, ok = s.tree.Cohort(name)
	}
	if !ok {
		panic("no node " + name)
	}
	return id
}

// read reads TENANT FLAVOR UNITS and the options.
func (s *script) read(name string, args []string) *job {
	f, ok := s.tree.Flavor(args[1])
	if !ok {
		panic("no flavor " + args[1])
	}
	j := &job{Held: Held{Name: name, Tenant: s.node(args[0]), Flavor: f, Units: Amount(must(strconv.ParseInt(args[2], 10, 64)))}}
	for _, option := range args[3:] {
		switch word, number, _ := strings.Cut(option, "="); word {
		case "priority":
			j.Priority = int32(must(strconv.Atoi(number)))
		case "young":
			j.Young = true
		case "taken-back":
			j.takenBack = true
		default:
			panic("no option " + option)
		}
	}
	return j
}

func (s *script) pods(_ *datadriven.TestData, args []string) string {
	j := s.read("", args)
	s.tree.Use(j.Tenant, j.Flavor, j.Units)
	return ""
}

func (s *script) job(_ *datadriven.TestData, args []string) string {
	j := s.read(args[0], args[1:])
	if room := s.tree.Available(j.Tenant, j.Flavor); j.Units > room {
		return fmt.Sprintf("does not fit: %d available", room)
	}
	return s.start(j)
}

func (s *script) start(j *job) string {
	s.admit(j)
	s.jobs = append(s.jobs, j)
	if j.Own {
		return "runs on its own quota"
	}
	return "runs, and may be taken back"
}

func (s *script) end(_ *datadriven.TestData, args []string) string {
	for _, j := range s.jobs {
		if j.Name == args[0] && j.running {
			s.stop(j)
			return ""
		}
	}
	panic("no job " + args[0])
}

func (s *script) lately(_ *datadriven.TestData, args []string) string {
	j := s.read("", args)
	s.tree.Remember(j.Tenant, j.Flavor, int64(j.Units)*1000)
	return ""
}

func (s *script) show(_ *datadriven.TestData, args []string) string {
	f, ok := s.tree.Flavor(args[0])
	if !ok {
		panic("no flavor " + args[0])
	}
	out := fmt.Sprintf("%-12s %5s %5s %9s %10s %9s\n", "", "quota", "used", "borrowed", "available", "share")
	for i := range s.nodes {
		n := s.node(s.nodes[i].Name)
		name := strings.Repeat("  ", s.tree.nodes[n].depth) + s.nodes[i].Name
		out += fmt.Sprintf("%-12s %5d %5d %9d %10d %9s\n", name, s.tree.Subtree(n, f), s.tree.Used(n, f), s.tree.Borrowed(n, f), s.tree.Available(n, f), s.tree.Share(n))
	}
	return out
}

func (s *script) compare(_ *datadriven.TestData, args []string) string {
	f, _ := s.tree.Flavor(args[0])
	var ids [2]NodeID
	var shares [2][]Share
	out := ""
	for i, arg := range args[1:] {
		name, units, _ := strings.Cut(arg, "=")
		ids[i] = s.node(name)
		shares[i] = s.tree.SharesWith(ids[i], f, Amount(must(strconv.ParseInt(units, 10, 64))), nil)
		out += fmt.Sprintf("%s would have %s\n", name, shares[i])
	}
	return out + []string{"the first goes first", "no difference", "the second goes first"}[1+s.tree.Compare(ids[0], shares[0], ids[1], shares[1])]
}

func (s *script) take(_ *datadriven.TestData, args []string) string {
	rules := bothRules
	if last := args[len(args)-1]; strings.HasPrefix(last, "rule=") {
		rules, args = []FairRule{FairRule(strings.TrimPrefix(last, "rule="))}, args[:len(args)-1]
	}
	j := s.read(args[0], args[1:])
	held, whose := s.held()
	victims, causes, ok := s.tree.TakeBack(j.claim(), held, rules, always)
	if !ok {
		return "takes nothing"
	}
	out := ""
	for i, v := range victims {
		s.stop(whose[v])
		out += fmt.Sprintf("takes %s: %s\n", held[v].Name, causes[i])
	}
	return out + s.start(j)
}

func TestShareString(t *testing.T) {
	for want, s := range map[string]Share{"0": 0, "0.25": 250_000, "1.5": 1_500_000, "0.000001": 1, "infinite": Infinite} {
		if got := s.String(); got != want {
			t.Errorf("%d is %s, want %s", int64(s), got, want)
		}
	}
}
