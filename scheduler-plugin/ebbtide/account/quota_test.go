package account

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// What is used of one reading of a quota says nothing about another, whether or not
// the two have as many pools.
func TestUsedOfAQuotaThatChanged(t *testing.T) {
	for name, flavors := range map[string][]v1alpha1.FlavorQuota{
		"another pool":       {gpus("a100", "a100", 4), gpus("h100", "h100", 4)},
		"other pools":        {gpus("a100", "a100", 4)},
		"another nominal":    {gpus("h100", "h100", 2)},
		"the tenant is gone": nil,
	} {
		c := newCluster()
		c.SetQuota(quotaOf("a", "x", gpus("h100", "h100", 4)))
		c.SetNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "m", Labels: map[string]string{"team": "x"}}})
		c.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "1", Labels: map[string]string{"gpu": "h100"}}})
		c.Assume(podOf("p", "m", "", 0, map[corev1.ResourceName]int64{gpu: 4}), "1")
		before, err := c.Tenant("m")
		if err != nil {
			t.Fatal(err)
		}
		if got := before.Left(0, c.Used(before, "", 0)); got != 0 {
			t.Errorf("%s: before, %d units are left", name, got)
		}
		if flavors == nil {
			c.DropQuota("a")
		} else {
			c.SetQuota(quotaOf("a", "x", flavors...))
		}
		if use := c.Used(before, "", 0); use != nil {
			t.Errorf("%s: used = %v of a quota that is no more", name, use)
		}
		if flavors == nil {
			continue
		}
		if now, _ := c.Tenant("m"); c.Used(now, "", 0) == nil {
			t.Errorf("%s: nothing is known of the quota's present state", name)
		}
	}
}

func TestOverdrawn(t *testing.T) {
	for name, tc := range map[string]struct {
		bare, loan, other int64
		lender            string
		excuse            bool
		want              string
	}{
		"room for both":                     {bare: 2, loan: 2},
		"one unit too many":                 {bare: 3, loan: 2, want: "a/h100"},
		"another loan has the rest":         {loan: 2, other: 3, want: "a/h100"},
		"but that one may wait":             {loan: 2, other: 3, excuse: true},
		"lent units are nobody's own quota": {bare: 4, loan: 2, lender: "b/svc"},
	} {
		c := small()
		c.Assume(podOf("p", "m", "", 0, map[corev1.ResourceName]int64{gpu: tc.bare}), "1")
		for uid, count := range map[types.UID]int64{"l": tc.loan, "o": tc.other} {
			if count > 0 {
				c.SetLoan(&v1alpha1.Loan{
					ObjectMeta: metav1.ObjectMeta{UID: uid, Namespace: "m"},
					Spec: v1alpha1.LoanSpec{
						Borrower: "a", Resource: gpu, Job: v1alpha1.JobRef{UID: "job-" + uid}, Pods: 1, UnitsPerPod: count,
						Grants: []v1alpha1.Grant{{Lender: tc.lender, Flavor: "h100", Node: "1", Count: count}},
					},
				})
			}
		}
		var excused []types.UID
		if tc.excuse {
			excused = append(excused, "o", "l", "unknown")
		}
		got := ""
		if tenant, flavor, over := c.Overdrawn("l", excused...); over {
			got = fmt.Sprint(tenant, "/", flavor)
		}
		if got != tc.want {
			t.Errorf("%s: overdrawn = %q, want %q", name, got, tc.want)
		}
	}
}
