package escapes

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

// forgedLoan claims eight GPUs for red's waiting job.
func forgedLoan() *v1alpha1.Loan {
	return &v1alpha1.Loan{
		ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "forged"},
		Spec: v1alpha1.LoanSpec{
			Job:     v1alpha1.JobRef{APIVersion: "batch/v1", Kind: "Job", Name: "waiting", UID: "5b0b6d2e"},
			Attempt: 1, Borrower: red, Queue: "paused", Resource: string(gpu), Pods: 1, UnitsPerPod: 8,
			Grants: []v1alpha1.Grant{{Node: "gpu-1", Flavor: "h100", Count: 8}}, OpID: "op", Epoch: 1,
		},
	}
}

// loanOfRunning is the loan that red's running job is on, if it has one.
func (w *town) loanOfRunning(ctx context.Context) (*v1alpha1.Loan, error) {
	loan, err := w.loanOf(ctx, red, "running")
	if err == nil && loan == nil {
		err = fmt.Errorf("job running has no loan")
	}
	return loan, err
}

// rewrite has marvin write the status of the running job's loan. The broker may have written
// it since it was read, which the API server tells before it asks who may.
func (w *town) rewrite(ctx context.Context, change func(status *v1alpha1.LoanStatus)) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		loan, err := w.loanOfRunning(ctx)
		if err != nil {
			return err
		}
		change(&loan.Status)
		return w.marvin.Status().Update(ctx, loan)
	})
}

// forgeries are ways out by writing what only Ebbtide writes.
func forgeries() []way {
	const onlyBroker = "loans.ebbtide.dev: only the broker writes Loans"
	status := func(patch string) func(context.Context, *town) (client.Object, error) {
		return func(ctx context.Context, w *town) (client.Object, error) {
			queue := &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "default"}}
			return nil, w.marvin.Status().Patch(ctx, queue, client.RawPatch(types.MergePatchType, []byte(patch)))
		}
	}
	return []way{
		{"forging the attempt annotation", change("waiting", `{"metadata": {"annotations": {"ebbtide.dev/attempt": "1"}}}`),
			forbidden("metadata.annotations[ebbtide.dev/attempt]: only the broker writes it")},
		{"forging the annotation that a job was taken back", change("running", `{"metadata": {"annotations": {"ebbtide.dev/taken-back": "1"}}}`),
			forbidden("metadata.annotations[ebbtide.dev/taken-back]: only the scheduler writes it")},
		{"forging Ebbtide's annotations at creation", submit(queued(red, "try", "paused", 1, 1, func(job *batchv1.Job) {
			job.Annotations = map[string]string{v1alpha1.AnnotationAttempt: "7", v1alpha1.AnnotationTakenBack: "7"}
		})), buysNothing(hasNoneOf(v1alpha1.AnnotationAttempt, v1alpha1.AnnotationTakenBack))},
		{"putting the notice of a reclaim off", alter(`{"metadata": {"annotations": {"ebbtide.dev/reclaim-by": "2099-01-01T00:00:00Z"}}}`),
			forbidden("metadata.annotations[ebbtide.dev/reclaim-by]: only the broker and the scheduler write it")},
		{"giving a running pod another slice of a GPU", alter(`{"metadata": {"annotations": {"ebbtide.dev/mig-instances": "GPU-a/7g.40gb@0#1"}}}`),
			forbidden("metadata.annotations[ebbtide.dev/mig-instances]: only the scheduler writes it")},
		{"a pod that brings the slice that it wants", run(gpuPod(red, "try", gpu, "1", func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{v1alpha1.AnnotationInstances: "GPU-a/7g.40gb@0#1"}
		})), forbidden("metadata.annotations[ebbtide.dev/mig-instances]: only the scheduler writes it")},
		{"a label of Ebbtide's that nobody knows yet", run(gpuPod(red, "try", gpu, "1", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"ebbtide.dev/exempt": "true"}
		})), forbidden("metadata.labels[ebbtide.dev/*]")},
		{"making a GPUNode", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}})
		}, noRole("create", "gpunodes")},
		{"making a GPUNode as the namespace's administrator", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.marvin.Create(ctx, &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}})
		}, forbidden(`User "marvin" cannot create resource "gpunodes"`)},
		{"having a GPU cut anew", func(ctx context.Context, w *town) (client.Object, error) {
			node := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}}
			return nil, w.mallory.Patch(ctx, node, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"reshapes": []}}`)))
		}, noRole("patch", "gpunodes")},
		{"saying that a GPU's slices are free", func(ctx context.Context, w *town) (client.Object, error) {
			node := &v1alpha1.GPUNode{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}}
			return nil, w.mallory.Status().Patch(ctx, node, client.RawPatch(types.MergePatchType, []byte(`{"status": {"gpus": []}}`)))
		}, noRole("patch", "gpunodes/status")},
		{"forging checkpoint annotations", func(ctx context.Context, w *town) (client.Object, error) {
			made := queued(red, "try", "default", 4, 4, func(job *batchv1.Job) {
				job.Annotations = map[string]string{v1alpha1.AnnotationLastCheckpoint: "2999-01-01T00:00:00Z", v1alpha1.AnnotationCheckpointInterval: "-1h"}
			})
			return made, w.mallory.Create(ctx, made)
		}, jobWaits("OverBorrowingLimit", "NoLendableUnits")},
		{"creating a Loan", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, forgedLoan())
		}, noRole("create", "loans")},
		{"creating a Loan as the namespace's administrator", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.marvin.Create(ctx, forgedLoan())
		}, forbidden(onlyBroker)},
		{"deleting a Loan as the namespace's administrator", func(ctx context.Context, w *town) (client.Object, error) {
			loan, err := w.loanOfRunning(ctx)
			if err != nil {
				return nil, err
			}
			return nil, w.marvin.Delete(ctx, loan)
		}, forbidden(onlyBroker)},
		{"the status of a Loan as the namespace's administrator", func(ctx context.Context, w *town) (client.Object, error) {
			// Its epoch stays: another policy refuses to have that taken away, and which of two
			// refusals the API server tells is chance.
			return nil, w.rewrite(ctx, func(status *v1alpha1.LoanStatus) { *status = v1alpha1.LoanStatus{Epoch: status.Epoch} })
		}, forbidden(onlyBroker)},
		{"the epoch of a Loan as the namespace's administrator", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.rewrite(ctx, func(status *v1alpha1.LoanStatus) { status.Epoch-- })
		}, forbidden("denied request")},
		{"the status of one's own queue", func(ctx context.Context, w *town) (client.Object, error) {
			queue := &v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "default"}}
			return nil, w.mallory.Status().Patch(ctx, queue, client.RawPatch(types.MergePatchType, []byte(`{"status": {"pending": 0, "admitted": 9}}`)))
		}, noRole("patch", "trainingqueues/status")},
		{"the status of one's own queue as the namespace's administrator", status(`{"status": {"pending": 0, "admitted": 9}}`),
			forbidden("status: only the broker writes it")},
		{"the admitted condition of a job", func(ctx context.Context, w *town) (client.Object, error) {
			_, err := w.mallory.kube.BatchV1().Jobs(red).Patch(ctx, "waiting", types.StrategicMergePatchType,
				[]byte(`{"status": {"conditions": [{"type": "ebbtide.dev/Admitted", "status": "True"}]}}`), metav1.PatchOptions{}, "status")
			return nil, err
		}, noRole("patch", "jobs/status")},
		{"a pod's status", func(ctx context.Context, w *town) (client.Object, error) {
			pod, err := w.podOf(ctx, red, "running")
			if err != nil {
				return nil, err
			}
			_, err = w.mallory.kube.CoreV1().Pods(red).Patch(ctx, pod.Name, types.StrategicMergePatchType,
				[]byte(`{"status": {"phase": "Succeeded", "conditions": [{"type": "DisruptionTarget", "status": "True"}]}}`), metav1.PatchOptions{}, "status")
			return nil, err
		}, noRole("patch", "pods/status")},
		{"acting as the broker", func(ctx context.Context, w *town) (client.Object, error) {
			config := rest.CopyConfig(w.mallory.config)
			config.Impersonate.UserName = "system:serviceaccount:ebbtide-system:ebbtide-broker"
			kube, err := kubernetes.NewForConfig(config)
			if err != nil {
				return nil, err
			}
			_, err = kube.BatchV1().Jobs(red).Patch(ctx, "waiting", types.MergePatchType, []byte(`{"spec": {"suspend": false}}`), metav1.PatchOptions{})
			return nil, err
		}, forbidden(`User "mallory" cannot impersonate`)},
		{"the broker's token", func(ctx context.Context, w *town) (client.Object, error) {
			_, err := w.mallory.kube.CoreV1().ServiceAccounts("ebbtide-system").CreateToken(ctx, "ebbtide-broker", &authenticationv1.TokenRequest{
				Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)},
			}, metav1.CreateOptions{})
			return nil, err
		}, noRole("create", "serviceaccounts/token")},
	}
}

// hasNoneOf: the API server took the annotations off.
func hasNoneOf(keys ...string) func(context.Context, *town, client.Object) (bool, string) {
	return func(ctx context.Context, w *town, made client.Object) (bool, string) {
		var job batchv1.Job
		if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &job); err != nil {
			return false, err.Error()
		}
		for _, key := range keys {
			if value, found := job.Annotations[key]; found {
				return false, fmt.Sprintf("%s is %q", key, value)
			}
		}
		return true, ""
	}
}

// quotaOf red, as the user reads it.
func tenantQuota() *v1alpha1.TenantQuota {
	return &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: red}}
}

// objectWays are ways out through the objects that tenants may write, and those
// that they may not.
func objectWays() []way {
	policy := func(spec v1alpha1.LendingPolicySpec) func(context.Context, *town) (client.Object, error) {
		return func(ctx context.Context, w *town) (client.Object, error) {
			made := &v1alpha1.LendingPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"}, Spec: spec}
			return made, w.mallory.Create(ctx, made)
		}
	}
	target := v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "chat"}
	return []way{
		{"a larger quota", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Patch(ctx, tenantQuota(), client.RawPatch(types.MergePatchType, []byte(`{"spec": {"weight": 1000}}`)))
		}, noRole("patch", "tenantquotas")},
		{"a quota of one's own", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.marvin.Create(ctx, &v1alpha1.TenantQuota{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: v1alpha1.TenantQuotaSpec{
				Namespaces: &metav1.LabelSelector{}, Flavors: []v1alpha1.FlavorQuota{{Name: "h100", Resource: string(gpu), Nominal: 64}},
			}})
		}, forbidden(`User "marvin" cannot create resource "tenantquotas"`)},
		{"owning a thousand million units", policy(v1alpha1.LendingPolicySpec{TargetRef: target, Owned: ptr.To[int64](1_000_000_000)}),
			invalid("spec.owned", "less than or equal to 1000000")},
		{"lending another tenant's service", policy(v1alpha1.LendingPolicySpec{TargetRef: target, Owned: ptr.To[int64](8)}),
			buysNothing(isNotAccepted)},
		{"lending another tenant's service by its path", policy(v1alpha1.LendingPolicySpec{
			TargetRef: v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "../../blue/deployments/chat"},
		}), invalid("spec.targetRef.name")},
		{"a queue with a negative limit", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &v1alpha1.TrainingQueue{
				ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"},
				Spec:       v1alpha1.TrainingQueueSpec{Limits: &v1alpha1.QueueLimits{Flavors: []v1alpha1.FlavorLimit{{Name: "h100", Units: -8}}}},
			})
		}, invalid("spec.limits.flavors[0].units", "greater than or equal to 0")},
		{"a queue with an overflowing weight", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Create(ctx, &v1alpha1.TrainingQueue{
				ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "try"},
				Spec:       v1alpha1.TrainingQueueSpec{Weight: ptr.To[int64](1 << 62)},
			})
		}, invalid("spec.weight", "less than or equal to 1000")},
		{"another tenant's loans", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.List(ctx, &v1alpha1.LoanList{}, client.InNamespace(blue))
		}, noRole("list", "loans")},
		{"removing the namespace's ResourceQuota", func(ctx context.Context, w *town) (client.Object, error) {
			return nil, w.mallory.Delete(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: red, Name: "pods"}})
		}, noRole("delete", "resourcequotas")},
	}
}

// isNotAccepted: the broker finds no such service in the policy's namespace.
func isNotAccepted(ctx context.Context, w *town, made client.Object) (bool, string) {
	var policy v1alpha1.LendingPolicy
	if err := w.admin.Get(ctx, client.ObjectKeyFromObject(made), &policy); err != nil {
		return false, err.Error()
	}
	for _, c := range policy.Status.Conditions {
		if c.Type == v1alpha1.ConditionAccepted {
			return c.Status == metav1.ConditionFalse && policy.Status.Lendable == 0, fmt.Sprintf("%+v", policy.Status)
		}
	}
	return false, fmt.Sprintf("its conditions are %+v", policy.Status.Conditions)
}
