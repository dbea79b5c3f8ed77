package gather

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

const indexLabel = "example.com/index"

// numberedLoan is of five pods of one unit, of which the job can do with two, on nodes a
// (three) and b (two).
func numberedLoan() *v1alpha1.Loan {
	return &v1alpha1.Loan{Spec: v1alpha1.LoanSpec{
		Pods: 5, MinPods: 2, UnitsPerPod: 1, IndexLabel: indexLabel, Grants: []v1alpha1.Grant{
			{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 3}, {Lender: "serving/chat", Node: "b", Flavor: "h100", Count: 2},
		},
	}}
}

// numberedPods are described as "index@node", where ! is one that is going.
func numberedPods(description string) (pods []*corev1.Pod) {
	for _, word := range strings.Fields(description) {
		number, node, _ := strings.Cut(strings.TrimSuffix(word, "!"), "@")
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "tune-" + word}, Spec: corev1.PodSpec{NodeName: strings.TrimSuffix(node, "!")}}
		if number != "" {
			p.Labels = map[string]string{indexLabel: number}
		}
		if strings.HasSuffix(word, "!") {
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}
		pods = append(pods, p)
	}
	return pods
}

// TestShedOrder: which pods go is known only if all of them are there.
func TestShedOrder(t *testing.T) {
	shed := func(object *v1alpha1.Loan) {
		object.Status.Shedding = []v1alpha1.Grant{{Lender: "serving/chat", Node: "b", Flavor: "h100", Count: 1}}
	}
	for name, test := range map[string]struct {
		pods string
		edit func(*v1alpha1.Loan)
		want []string // nil: not elastic
	}{
		"all":                        {pods: "0@a 3@b 1@a 4@a 2@b", want: []string{"a", "b", "b"}},
		"with a master":              {pods: "0@a 3@b 0@a 1@a 2@b", want: []string{"b", "b", "a"}},
		"not all numbers":            {pods: "0@a 10@b 1@a 9@a 2@b", want: nil},
		"one is going already":       {pods: "0@a 1@a 2@b 3@a 4@b", edit: shed, want: []string{"a", "b"}},
		"one is going, and dying":    {pods: "0@a 1@a 2@b 3@a 4@b!", edit: shed, want: []string{"a", "b"}},
		"the last has ended":         {pods: "0@a 1@a 2@b 3@b"},
		"one in between has ended":   {pods: "0@a 1@a 2@b 4@b"},
		"one is there twice":         {pods: "0@a 1@a 2@b 3@b 3@a"},
		"one waits for its node":     {pods: "0@a 1@a 2@b 3@b 4@"},
		"one is going by itself":     {pods: "0@a 1@a 2@b 3@b! 4@a"},
		"one has no number":          {pods: "0@a 1@a 2@b 3@b @a"},
		"nor any":                    {pods: "@a @a @b @b @a"},
		"no such number":             {pods: "0@a 1@a 2@b 3@b -4@a"},
		"too many":                   {pods: "0@a 1@a 2@b 3@b 4@a 5@a"},
		"none yet":                   {},
		"only the minimum may wait":  {pods: "0@ 1@a! 2@b 3@b 4@a", want: []string{"a", "b", "b"}},
		"all that can go have gone":  {pods: "0@a 1@a", edit: func(o *v1alpha1.Loan) { o.Status.Shed = numberedShed() }, want: []string{}},
		"whichever, with no label":   {pods: "@a @a", edit: func(o *v1alpha1.Loan) { o.Spec.IndexLabel = "" }, want: []string{}},
		"rigid, whatever the labels": {pods: "0@a 1@a 2@b 3@b 4@a", edit: func(o *v1alpha1.Loan) { o.Spec.MinPods = 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			object := numberedLoan()
			if test.edit != nil {
				test.edit(object)
			}
			l := newLoan(object)
			l.pods = numberedPods(test.pods)
			got := l.finish(nil, 0, time.Now())
			if (got.MinPods == 0) != (test.want == nil) {
				t.Fatalf("at least %d pods, in the order %q", got.MinPods, got.ShedOrder)
			}
			if diff := cmp.Diff(strings.Join(test.want, " "), strings.Join(got.ShedOrder, " ")); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func numberedShed() []v1alpha1.Grant {
	return []v1alpha1.Grant{{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 1}, {Lender: "serving/chat", Node: "b", Flavor: "h100", Count: 2}}
}

// TestLeavingByNumber: those of the highest numbers go, on the nodes where the job gives
// units back, even where another one is on its way out.
func TestLeavingByNumber(t *testing.T) {
	object := numberedLoan()
	object.Status.Shedding = []v1alpha1.Grant{
		{Lender: "serving/chat", Node: "a", Flavor: "h100", Count: 1}, {Lender: "serving/chat", Node: "b", Flavor: "h100", Count: 1},
	}
	pods := numberedPods("0@a! 1@b 2@a 3@b 4@a")
	var names []string
	for _, p := range Leaving(pods, object) {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"tune-4@a", "tune-3@b"}, names); diff != "" {
		t.Errorf("leaving (-want +got):\n%s", diff)
	}
	object.Spec.IndexLabel = ""
	names = nil
	for _, p := range Leaving(pods, object) {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"tune-0@a!", "tune-3@b"}, names); diff != "" {
		t.Errorf("of those that may go in any order (-want +got):\n%s", diff)
	}
}
