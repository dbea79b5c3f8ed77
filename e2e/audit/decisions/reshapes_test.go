package decisions

import (
	"testing"

	"github.com/ebbtide/ebbtide/broker/lend"
	"github.com/ebbtide/ebbtide/mig"
)

// A loan on a slice of four that was made of a lender's slices is a victim like any other:
// its end brings these back, and it is spared where others do.
func TestLoansOnReshapedCards(t *testing.T) {
	board, _ := mig.Board("A100-40GB")
	pinned := []mig.Instance{{Placed: mig.Placed{Start: 4}}, {Placed: mig.Placed{Start: 5}}, {Placed: mig.Placed{Start: 6}}}
	four := mig.Instance{Placed: mig.Placed{Profile: 3}}
	// node is one whose card is reshaped, or is just being.
	node := func(name string, made bool) lend.Node {
		n := lend.Node{Name: name, Schedulable: true, Units: []lend.Units{{Flavor: "1g", Capacity: 3, Online: 3}, {Flavor: "4g", Capacity: 1}}}
		card := lend.Card{Board: board.Board}
		if card.UUID, card.Instances = "gpu-"+name, pinned; made {
			card.Instances = append([]mig.Instance{four}, pinned...)
		}
		n.Cards = []lend.Card{card}
		n.Reshapes = []lend.Reshape{{ID: name, GPU: card.UUID, Lender: "chat", From: "1g", Count: 4, To: "4g", Made: 1}}
		return n
	}
	loan := func(name, node string) lend.Loan {
		return lend.Loan{Name: name, Grants: []lend.Grant{{Lender: "chat", Node: node, Flavor: "4g", Count: 1}}}
	}
	for _, test := range []struct {
		name  string
		nodes []lend.Node
		loans []lend.Loan
		owed  int64
		want  int
	}{
		{"needed", []lend.Node{node("a", true)}, []lend.Loan{loan("x", "a")}, 1, 0},
		{"more than it brings back", []lend.Node{node("a", true)}, []lend.Loan{loan("x", "a")}, 5, 0},
		{"an idle card is shaped back", []lend.Node{node("a", true), node("b", true)}, []lend.Loan{loan("x", "a")}, 4, 1},
		{"an idle card is not enough", []lend.Node{node("a", true), node("b", true)}, []lend.Loan{loan("x", "a")}, 5, 0},
		{"one that is under way tells nothing", []lend.Node{node("a", true), node("b", false)}, []lend.Loan{loan("x", "a")}, 4, 0},
		{"another loan stays", []lend.Node{node("a", true), node("b", true)}, []lend.Loan{loan("x", "a"), loan("y", "b")}, 4, 0},
	} {
		in := &lend.Snapshot{
			Nodes: test.nodes, Loans: test.loans, Boards: []mig.Geometry{board},
			Flavors: []lend.Flavor{{Name: "1g", Profile: "1g.5gb"}, {Name: "4g", Profile: "4g.20gb"}},
		}
		r := &reclaim{victims: []victim{{"x", test.loans[0].Grants}}, owed: map[string][]Shape{"1g": {{1, test.owed}}}}
		if got := r.needless(in); len(got) != test.want {
			t.Errorf("%s: %v, want %d needless", test.name, got, test.want)
		}
	}
}
