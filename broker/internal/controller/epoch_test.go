package controller

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// managed is a manager of whom nothing is asked but to read.
type managed struct {
	manager.Manager
	api client.Reader
}

func (m managed) GetAPIReader() client.Reader { return m.api }

type recorded int64

func (r recorded) Epoch() int64 { return int64(r) }

// TestEpoch: a leader's epoch is above every trace that another left, also where the ledger's
// volume was lost and what was published with it: else the API server refused what it writes,
// or took what an earlier one writes.
func TestEpoch(t *testing.T) {
	loan := func(made, wrote int64) client.Object {
		return &v1alpha1.Loan{
			ObjectMeta: metav1.ObjectMeta{Namespace: "research", Name: "tune-1"},
			Spec:       v1alpha1.LoanSpec{Epoch: made}, Status: v1alpha1.LoanStatus{Epoch: wrote},
		}
	}
	policy := &v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "chat"}, Status: v1alpha1.LendingPolicyStatus{Epoch: 11}}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ebbtide-system", Name: LeaseName},
		Spec:       coordinationv1.LeaseSpec{LeaseTransitions: ptr.To[int32](20)},
	}
	for name, test := range map[string]struct {
		book      int64
		published int64
		election  bool
		objects   []client.Object
		want      int64
	}{
		"the first":                      {want: 1},
		"by the ledger":                  {book: 30, published: 12, objects: []client.Object{loan(9, 9)}, want: 31},
		"by what was published":          {published: 12, objects: []client.Object{loan(9, 9)}, want: 13},
		"by who made a Loan":             {objects: []client.Object{loan(9, 0)}, want: 10},
		"by who wrote a Loan last":       {objects: []client.Object{loan(9, 10)}, want: 11},
		"by who wrote a LendingPolicy":   {objects: []client.Object{loan(9, 10), policy}, want: 12},
		"by the elections":               {election: true, objects: []client.Object{loan(9, 10), policy, lease}, want: 21},
		"but not where none is held":     {objects: []client.Object{lease}, want: 1},
		"by a Loan of more than those":   {election: true, objects: []client.Object{loan(40, 41), lease}, want: 42},
		"a Loan of one and no disk left": {published: 3, objects: []client.Object{loan(3, 5)}, want: 6},
	} {
		t.Run(name, func(t *testing.T) {
			b := &broker{
				mgr:       managed{api: fake.NewClientBuilder().WithScheme(Scheme()).WithObjects(test.objects...).Build()},
				namespace: "ebbtide-system",
			}
			b.config.LeaderElection.Enabled = test.election
			got, err := b.epoch(t.Context(), recorded(test.book), test.published)
			if err != nil || got != test.want {
				t.Errorf("epoch %d, %v; want %d", got, err, test.want)
			}
		})
	}
}
