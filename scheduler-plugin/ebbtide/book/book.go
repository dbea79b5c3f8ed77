// Package book is what the scheduler plugin knows of loans: the API's objects, held
// by informers, and the pure rules that read them.
//
// A Book decides nothing. It says which loan a pod runs on and whether that loan is
// open. An answer that is not certain (a PriorityClass does not exist) is a *Refusal
// with the reason, never a guess. Everything is rebuilt from the API at the start;
// nothing here is lost with the process.
package book

import (
	"fmt"
	"sort"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
)

// Names of the indexes that a Book needs on its loans.
const (
	byJob  = "job"
	byNode = "node"
)

// LoanIndexers are the indexes that New expects on the loans it is given.
func LoanIndexers() cache.Indexers {
	return cache.Indexers{
		byJob: func(obj any) ([]string, error) {
			loan, ok := obj.(*v1alpha1.Loan)
			if !ok {
				return nil, nil
			}
			keys := lineage.LoanKeys(&loan.Spec.Job)
			out := make([]string, len(keys))
			for i, key := range keys {
				out[i] = jobKey(loan.Namespace, key)
			}
			return out, nil
		},
		byNode: func(obj any) ([]string, error) {
			loan, ok := obj.(*v1alpha1.Loan)
			if !ok {
				return nil, nil
			}
			return Nodes(loan), nil
		},
	}
}

func jobKey(namespace string, key lineage.Key) string { return namespace + "/" + string(key) }

// Refusal says why a question has no answer. Reason is one sentence for the
// pod's owner.
type Refusal struct{ Reason string }

// Error returns the reason.
func (r *Refusal) Error() string { return r.Reason }

// Refuse returns a *Refusal.
func Refuse(format string, args ...any) error { return &Refusal{Reason: fmt.Sprintf(format, args...)} }

// Book answers from caches. It is safe for concurrent use.
type Book struct {
	loans   cache.Indexer
	classes schedulinglisters.PriorityClassLister
	chains  *lineage.Lineage
}

// New returns a Book over caches. loans must have LoanIndexers; chains knows whose pod a
// pod is.
func New(loans cache.Indexer, classes schedulinglisters.PriorityClassLister, chains *lineage.Lineage) *Book {
	return &Book{loans: loans, classes: classes, chains: chains}
}

// LoanOf returns the latest loan of the job that the pod is of, open or not, or nil.
// That is a job in its chain of controllers, by their exact UIDs, or the group that it
// names (see lineage.Keys). No other label, and no name that a tenant may write, leads
// anywhere.
//
// A pod that asks for units and is in no queue by its own label has none, whoever
// controls it: it counts against its tenant's quota, and nobody can add that label to it
// later, as groups and controllers can be.
func (b *Book) LoanOf(pod *corev1.Pod) *v1alpha1.Loan {
	keys, _ := b.chains.Keys(pod)
	for _, key := range keys {
		if loan := b.latest(pod.Namespace, key); loan != nil {
			if !Queued(pod) && len(Requests(pod, nil)) > 0 {
				return nil
			}
			return loan
		}
	}
	return nil
}

// LoanOfJob returns the latest loan of the job of that UID, or nil.
func (b *Book) LoanOfJob(namespace string, uid types.UID) *v1alpha1.Loan {
	return b.latest(namespace, lineage.JobKey(uid))
}

func (b *Book) latest(namespace string, key lineage.Key) *v1alpha1.Loan {
	objs, err := b.loans.ByIndex(byJob, jobKey(namespace, key))
	if err != nil {
		return nil
	}
	var latest *v1alpha1.Loan
	for _, obj := range objs {
		if loan, ok := obj.(*v1alpha1.Loan); ok && (latest == nil || supersedes(loan, latest)) {
			latest = loan
		}
	}
	return latest
}

// supersedes reports whether a loan is a later one than another of the same job, or of
// the same group of pods, for which one pod after the other may have stood.
func supersedes(a, b *v1alpha1.Loan) bool {
	if a.Spec.Job.UID == b.Spec.Job.UID {
		return a.Spec.Attempt > b.Spec.Attempt
	}
	return Before(b, a)
}

// LoansOn returns the loans that hold units on the node, oldest first.
func (b *Book) LoansOn(node string) []*v1alpha1.Loan {
	objs, err := b.loans.ByIndex(byNode, node)
	if err != nil {
		return nil
	}
	return sortLoans(objs)
}

// Loans returns all loans, oldest first.
func (b *Book) Loans() []*v1alpha1.Loan { return sortLoans(b.loans.List()) }

func sortLoans(objs []any) []*v1alpha1.Loan {
	loans := make([]*v1alpha1.Loan, 0, len(objs))
	for _, obj := range objs {
		if loan, ok := obj.(*v1alpha1.Loan); ok {
			loans = append(loans, loan)
		}
	}
	sort.Slice(loans, func(i, j int) bool { return Before(loans[i], loans[j]) })
	return loans
}

// CheckPriority refuses a pod whose priority is above the highest class that the
// tenant's pods may use. The error is a *Refusal.
func (b *Book) CheckPriority(pod *corev1.Pod, tenant, highest string) error {
	class, err := b.classes.Get(highest)
	if err != nil {
		return Refuse("the highest priority class %s of tenant %s does not exist", highest, tenant)
	}
	if Priority(pod) > class.Value {
		return Refuse("priority %d of the pod is above %s (%d), the highest class of tenant %s", Priority(pod), highest, class.Value, tenant)
	}
	return nil
}

// ClassPriority returns the value of a priority class, and whether it exists.
func (b *Book) ClassPriority(name string) (int32, bool) {
	class, err := b.classes.Get(name)
	if err != nil {
		return 0, false
	}
	return class.Value, true
}
