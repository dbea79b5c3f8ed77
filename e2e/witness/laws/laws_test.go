package laws_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/witness/laws"
)

// lend plays a lend of count units to job a, up to its running pod.
func (s *stage) lend(count int64) *v1alpha1.Loan {
	l := active(loanOf("a-1", "a", count))
	s.play(lenderOf(count, 1), loanOf("a-1", "a", count), l, jobOf("a", false), podOf("a-0", "a", "n1", count))
	return l
}

// takeBack plays how it comes back, up to the Loan's end.
func (s *stage) takeBack(l *v1alpha1.Loan) {
	back := returned(asked(l))
	s.play(asked(l), jobOf("a", true))
	s.remove(podOf("a-0", "a", "n1", l.Spec.Grants[0].Count))
	s.play(back, lenderOf(0, 1), unheld(back))
	s.remove(unheld(back))
}

// sliced is a pod that was given slices.
func sliced(name, places string) *corev1.Pod {
	p := podOf(name, "", "n1", 1)
	p.Annotations = map[string]string{v1alpha1.AnnotationInstances: places}
	return p
}

// Every row breaks one law, and only that.
func TestGuilty(t *testing.T) {
	tests := []struct {
		name string
		law  laws.Law // empty: nothing is found
		text string
		play func(s *stage)
	}{
		{"a loan that comes and goes", "", "", func(s *stage) { s.takeBack(s.lend(8)) }},
		{"the next attempt", "", "", func(s *stage) {
			s.takeBack(s.lend(8))
			s.play(lenderOf(8, 1), loanOf("a-2", "a", 8), active(loanOf("a-2", "a", 8)), jobOf("a", false))
		}},
		{"a lend that came to nothing", "", "", func(s *stage) {
			s.play(lenderOf(8, 1), loanOf("a-1", "a", 8), unheld(loanOf("a-1", "a", 8)))
			s.remove(unheld(loanOf("a-1", "a", 8)))
		}},
		{"a new leader", "", "", func(s *stage) {
			l := s.lend(4)
			s.play(headOf("book", 7, 2), epoch(asked(l), 2), lenderOf(4, 2))
		}},
		{"a quota cut below what is lent", "", "", func(s *stage) {
			s.lend(8)
			s.play(quotaOf("research", 0, 2))
		}},
		{"an ended pod makes room", "", "", func(s *stage) {
			p := podOf("x", "", "n1", 8)
			s.play(p)
			p = p.DeepCopy()
			p.Status.Phase = corev1.PodFailed
			s.play(p, podOf("y", "", "n1", 8))
		}},
		{"a loan of slices that the node does not tell of yet", "", "", func(s *stage) {
			l := loanOf("a-1", "a", 2)
			l.Spec.Resource = "nvidia.com/mig-1g.5gb"
			s.play(lenderOf(2, 1), l)
		}},
		{"a slice that was another's", "", "", func(s *stage) {
			s.play(sliced("x", "GPU-1/1g.5gb@4#2"))
			s.remove(sliced("x", "GPU-1/1g.5gb@4#2"))
			s.play(sliced("y", "GPU-1/1g.5gb@4#2"))
		}},
		{"a loan that followed another unseen", "", "", func(s *stage) {
			l := s.lend(8)
			gone := podOf("a-0", "a", "n1", 8)
			gone.Status.Phase = corev1.PodFailed
			s.list(active(loanOf("b-1", "b", 8)), jobOf("b", false), podOf("b-0", "b", "n1", 8), unheld(returned(asked(l))), jobOf("a", true), gone)
			s.play(namespaceOf("research"))
		}},
		{"a node that has just lost a GPU", "", "", func(s *stage) { s.play(nodeOf("n1", 7), podOf("x", "", "n1", 8)) }},

		{"two pods on one GPU", laws.OneHolder, "node n1 has 8 of nvidia.com/gpu, its pods hold 9: serving/x serving/y", func(s *stage) {
			s.play(podOf("x", "", "n1", 8), podOf("y", "", "n1", 1))
		}},
		{"a pod on a node that lost a GPU long ago", laws.OneHolder, "has 7 of nvidia.com/gpu, its pods hold 8", func(s *stage) {
			s.play(nodeOf("n1", 7))
			s.pass(time.Minute)
			s.play(podOf("x", "", "n1", 8))
		}},
		{"two pods on one slice", laws.OneHolder, "the slice at GPU-1@4 is pod serving/x's and pod serving/y's", func(s *stage) {
			s.play(sliced("x", "GPU-1/1g.5gb@4#2"), sliced("z", "GPU-2/1g.5gb@4#2"), sliced("y", "GPU-1/1g.5gb@0#1,GPU-1/2g.10gb@4#3"))
		}},
		{"two loans of one job", laws.OneHolder, "the job of loan research/a-2 has another open loan, research/a-1", func(s *stage) {
			s.lend(4)
			s.play(lenderOf(8, 1), loanOf("a-2", "a", 4))
		}},
		{"two loans of one unit", laws.OneHolder, "node n1 has 8 of nvidia.com/gpu, open loans hold 9", func(s *stage) {
			s.play(quotaOf("research", 0, 9))
			s.lend(8)
			s.play(lenderOf(9, 1), loanOf("b-1", "b", 1))
		}},
		{"lent again before it is returned", laws.OneHolder, "open loans hold 9", func(s *stage) {
			s.play(quotaOf("research", 0, 9))
			s.play(asked(s.lend(8)), lenderOf(9, 1), loanOf("b-1", "b", 1))
		}},
		{"returned while a pod holds", laws.OneHolder, "loan research/a-1 is returned while pod research/a-0 holds its units", func(s *stage) {
			l := s.lend(8)
			s.play(asked(l), jobOf("a", true), returned(asked(l)))
		}},
		{"lent twice unseen", laws.OneHolder, "node n1 has 8 of nvidia.com/gpu, its pods hold 9", func(s *stage) {
			s.list(podOf("x", "", "n1", 8), podOf("y", "", "n1", 1))
			s.play(namespaceOf("research"))
		}},
		{"a name used twice", laws.OneName, "the name of loan research/a-1 is used again", func(s *stage) {
			s.takeBack(s.lend(8))
			l := loanOf("a-1", "a", 8)
			l.UID = "other"
			s.play(lenderOf(8, 1), l)
		}},
		{"a reclaim called off", laws.Phases, "was Reclaiming and is not any more", func(s *stage) {
			l := s.lend(8)
			s.play(asked(l), with(asked(l), v1alpha1.LoanReclaiming, metav1.ConditionFalse))
		}},
		{"a return called off", laws.Phases, "was Returned and is not any more", func(s *stage) {
			l := s.lend(8)
			s.remove(podOf("a-0", "a", "n1", 8))
			s.play(returned(l), with(returned(l), v1alpha1.LoanReturned, metav1.ConditionFalse))
		}},
		{"asked back and never lent", laws.Phases, "is asked back and never was Active", func(s *stage) {
			s.play(lenderOf(8, 1), loanOf("a-1", "a", 8), asked(loanOf("a-1", "a", 8)))
		}},
		{"active after its end", laws.Phases, "becomes Active after its end had begun", func(s *stage) {
			l := s.lend(8)
			s.remove(podOf("a-0", "a", "n1", 8))
			s.play(returned(l), active(returned(l)))
		}},
		{"another spec", laws.Phases, "the spec of loan research/a-1 has changed", func(s *stage) {
			l := s.lend(4).DeepCopy()
			l.Spec.Grants[0].Lender = "serving/other"
			s.play(l)
		}},
		{"what was shed comes back", laws.Phases, "holds 8 units after 4", func(s *stage) {
			l := s.lend(8)
			shed := l.DeepCopy()
			shed.Status.Shed = []v1alpha1.Grant{{Lender: "serving/chat", Node: "n1", Flavor: "h100", Count: 4}}
			s.play(shed, l)
		}},
		{"a loan's epoch falls", laws.Epochs, "status.epoch of loan research/a-1 falls from 2 to 1", func(s *stage) {
			l := s.lend(8)
			s.play(epoch(l, 2), asked(l))
		}},
		{"a lender's epoch falls", laws.Epochs, "status.epoch of lender serving/chat falls from 2 to 1", func(s *stage) {
			s.play(lenderOf(8, 2), lenderOf(0, 1))
		}},
		{"the published head falls", laws.Epochs, "the published head falls from 9 to 8", func(s *stage) {
			s.play(headOf("book", 9, 1), headOf("book", 8, 1))
		}},
		{"the published epoch falls", laws.Epochs, "the published head is written with epoch 1 after the published head was with 2", func(s *stage) {
			s.play(headOf("book", 9, 2), headOf("book", 10, 1))
		}},
		{"an old leader makes a loan", laws.Epochs, "loan research/a-1 is written with epoch 1 after the published head was with 2", func(s *stage) {
			s.play(lenderOf(8, 1), headOf("book", 9, 2), loanOf("a-1", "a", 8))
		}},
		{"an old leader asks back", laws.Epochs, "loan research/a-1 is written with epoch 1 after lender serving/chat was with 2", func(s *stage) {
			l := s.lend(8)
			s.play(lenderOf(8, 2), asked(l))
		}},
		{"let go of while its job runs", laws.Finalizer, "is let go of while its job research/a may run", func(s *stage) {
			s.play(unheld(s.lend(8)))
		}},
		{"let go of while a pod holds", laws.Finalizer, "is let go of while pod research/a-0 holds its units", func(s *stage) {
			l := s.lend(8)
			s.play(jobOf("a", true), unheld(l))
		}},
		{"gone while its job runs", laws.Finalizer, "may run", func(s *stage) { s.remove(s.lend(8)) }},
		{"a loan that nobody counted", laws.Lent, "lender serving/chat says that it lends 0, and open loans hold 8 of it", func(s *stage) {
			s.play(loanOf("a-1", "a", 8))
		}},
		{"a lender that forgets", laws.Lent, "says that it lends 3, and open loans hold 4", func(s *stage) {
			s.lend(4)
			s.play(lenderOf(3, 1))
		}},
		{"more than may be borrowed", laws.Quota, "the loans of tenant research hold 8 of h100, and it may have 7", func(s *stage) {
			s.play(quotaOf("research", 0, 7))
			s.pass(time.Minute)
			s.lend(8)
		}},
		{"more than its own", laws.Quota, "hold 1 of its own h100, and it was promised 0", func(s *stage) {
			l := loanOf("a-1", "a", 1)
			l.Spec.Grants[0].Lender = ""
			s.play(l)
		}},
		{"a quota that is gone", laws.Quota, "was promised 0", func(s *stage) {
			s.play(quotaOf("research", 1, 0))
			s.pass(time.Minute)
			s.remove(quotaOf("research", 1, 0))
			s.pass(time.Minute)
			l := loanOf("a-1", "a", 1)
			l.Spec.Grants[0].Lender = ""
			s.play(l)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStage()
			test.play(s)
			if test.law == "" {
				if len(s.breaches) > 0 {
					t.Errorf("a lawful history is found guilty: %v", s.breaches)
				}
				return
			}
			if len(s.breaches) != 1 || s.breaches[0].Law != test.law || !strings.Contains(s.breaches[0].Text, test.text) {
				t.Errorf("got %v, want one breach of %q with %q", s.breaches, test.law, test.text)
			}
		})
	}
}

// What is not as it should be keeps a world from being settled, and nothing else does.
func TestUnsettled(t *testing.T) {
	tests := []struct {
		name, want string // empty: settled
		play       func(s *stage)
	}{
		{"nothing is lent", "", func(*stage) {}},
		{"lent and running", "", func(s *stage) { s.lend(8) }},
		{"taken back", "", func(s *stage) { s.takeBack(s.lend(8)) }},
		{"an online pod for which there is no room anywhere", "", func(s *stage) { s.play(podOf("x", "", "", 9)) }},
		{"an online pod beyond its tenant's quota", "", func(s *stage) {
			s.play(nodeOf("n2", 8), podOf("x", "", "n1", 8), podOf("y", "", "", 1))
		}},
		{"a loan in quarantine", "", func(s *stage) {
			l := s.lend(8)
			p := podOf("a-0", "a", "n1", 8)
			p.DeletionTimestamp = &metav1.Time{Time: began}
			s.play(with(asked(l), "Quarantined", metav1.ConditionTrue), p, jobOf("a", true))
		}},

		{"being asked back", "loan research/a-1 is being asked back", func(s *stage) { s.play(asked(s.lend(8))) }},
		{"returned and there", "loan research/a-1 has been returned and is still there", func(s *stage) {
			l := s.lend(8)
			s.remove(podOf("a-0", "a", "n1", 8))
			s.play(returned(l), jobOf("a", true), lenderOf(0, 1))
		}},
		{"not active yet", "loan research/a-1 is not Active", func(s *stage) { s.play(lenderOf(8, 1), loanOf("a-1", "a", 8)) }},
		{"its job is suspended", "loan research/a-1 is of a job that is suspended", func(s *stage) {
			s.play(lenderOf(8, 1), loanOf("a-1", "a", 8), active(loanOf("a-1", "a", 8)))
		}},
		{"its job is gone", "loan research/a-1 is of a job that is gone", func(s *stage) {
			s.lend(8)
			s.remove(jobOf("a", false))
		}},
		{"pods are missing", "loan research/a-1 is for 1 pods, of which 0 run", func(s *stage) {
			s.lend(8)
			s.remove(podOf("a-0", "a", "n1", 8))
		}},
		{"a job without a loan", "job research/a may run and has no loan", func(s *stage) { s.play(jobOf("a", false)) }},
		{"a lender counts what is back", "lender serving/chat says that it lends 8, and open loans hold 0", func(s *stage) { s.play(lenderOf(8, 1)) }},
		{"a pod is being deleted", "pod serving/x is being deleted", func(s *stage) {
			p := podOf("x", "", "n1", 1)
			p.DeletionTimestamp = &metav1.Time{Time: began}
			s.play(p)
		}},
		{"an online pod waits beside free units", "pod serving/x waits, and could go to node n1", func(s *stage) { s.play(podOf("x", "", "", 8)) }},
		{"an online pod waits for what is lent", "pod serving/x waits, and could go to node n1", func(s *stage) {
			s.lend(8)
			s.play(podOf("x", "", "", 1))
		}},
		{"loans and online pods on the same units", "node n1 has 8 of nvidia.com/gpu, loans and pods hold 9", func(s *stage) {
			s.play(podOf("x", "", "n1", 1))
			s.play(lenderOf(8, 1), loanOf("a-1", "a", 8), active(loanOf("a-1", "a", 8)), jobOf("a", false), podOf("a-0", "a", "n1", 7))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStage()
			test.play(s)
			got := s.w.Unsettled()
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || got[0] != test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A queue whose jobs may start at another time says nothing new; one with another order does.
func TestStirred(t *testing.T) {
	queue := func(position int32, start time.Time) *v1alpha1.TrainingQueue {
		return &v1alpha1.TrainingQueue{
			ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "q"},
			Status:     v1alpha1.TrainingQueueStatus{Waiting: []v1alpha1.QueuedJob{{Name: "a", Position: position, EstimatedStart: &metav1.Time{Time: start}}}},
		}
	}
	s := newStage()
	s.play(queue(1, began), queue(1, began.Add(time.Hour)))
	if at, which := s.w.Stirred(); !at.IsZero() {
		t.Errorf("queue %s stirs at %s with another estimate", which, at)
	}
	s.play(queue(2, began))
	if at, which := s.w.Stirred(); !at.Equal(s.now) || which != "research/q" {
		t.Errorf("queue %q stirs at %s, want research/q at %s: it has another order", which, at, s.now)
	}
}
