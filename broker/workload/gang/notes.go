package gang

import (
	"fmt"
	"strconv"
)

// Notes are sentences about what was assumed or left out, each once. The zero Notes are
// empty.
type Notes struct {
	said   []string
	counts map[string]int // of those that are counted
}

// Say adds a sentence.
func (n *Notes) Say(format string, args ...any) { n.add(fmt.Sprintf(format, args...)) }

// Count adds one to a sentence that ends with a number.
func (n *Notes) Count(what string) { n.Add(what, 1) }

// Add is Count for several.
func (n *Notes) Add(what string, several int) {
	if several > 0 {
		n.add(what)
		if n.counts == nil {
			n.counts = map[string]int{}
		}
		n.counts[what] += several
	}
}

func (n *Notes) add(what string) {
	for _, s := range n.said {
		if s == what {
			return
		}
	}
	n.said = append(n.said, what)
}

// List returns the sentences in the order in which they were first told.
func (n *Notes) List() []string {
	var list []string
	for _, what := range n.said {
		if count := n.counts[what]; count > 0 {
			what += ": " + strconv.Itoa(count)
		}
		list = append(list, what)
	}
	return list
}
