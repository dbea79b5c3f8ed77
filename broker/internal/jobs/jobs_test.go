package jobs

import (
	"errors"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
)

var (
	now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ref = Ref{Key: types.NamespacedName{Namespace: "research", Name: "tune"}, UID: "tune"}
)

func job(edit func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "research", Name: "tune", UID: "tune", Labels: map[string]string{v1alpha1.LabelQueue: "default"},
			Annotations: map[string]string{v1alpha1.AnnotationAttempt: "2"},
		},
		Spec: batchv1.JobSpec{Suspend: ptr.To(true), Parallelism: ptr.To[int32](2), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Resources: units("4")}},
		}}},
	}
	if edit != nil {
		edit(j)
	}
	return j
}

const gpu = "nvidia.com/gpu"

func units(n string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: resource.MustParse(n)}}
}

// decided is the gang of the job above.
var decided = Gang{Pods: 2, Resource: gpu, UnitsPerPod: 4}

func adapter(objects ...client.Object) (*Batch, client.Client) {
	c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objects...).Build()
	return &Batch{Live: c, Client: c}, c
}

func ended(j *batchv1.Job) {
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
}

func TestResume(t *testing.T) {
	for name, test := range map[string]struct {
		edit    func(*batchv1.Job)
		attempt int32
		changed bool
	}{
		"waits":                {attempt: 3},
		"repeated":             {edit: func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) }, attempt: 2},
		"runs":                 {edit: func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) }, attempt: 3, changed: true},
		"another attempt":      {attempt: 4, changed: true},
		"ended":                {edit: ended, attempt: 3, changed: true},
		"replaced":             {edit: func(j *batchv1.Job) { j.UID = "other" }, attempt: 3, changed: true},
		"more pods":            {edit: func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](3) }, attempt: 3, changed: true},
		"fewer pods":           {edit: func(j *batchv1.Job) { j.Spec.Completions = ptr.To[int32](1) }, attempt: 3, changed: true},
		"bigger pods":          {edit: func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Resources = units("8") }, attempt: 3, changed: true},
		"no units any more":    {edit: func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{} }, attempt: 3, changed: true},
		"counter not a number": {edit: func(j *batchv1.Job) { j.Annotations[v1alpha1.AnnotationAttempt] = "many" }, attempt: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := adapter(job(test.edit))
			if err := b.Resume(t.Context(), ref, test.attempt, decided); errors.Is(err, ErrChanged) != test.changed || (err != nil && !test.changed) {
				t.Fatalf("got %v, want changed: %t", err, test.changed)
			}
			if test.changed {
				return
			}
			got, err := b.Get(t.Context(), b.Live, ref.Key)
			if err != nil || got.Suspended || got.Attempt != test.attempt {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	b, _ := adapter()
	if err := b.Resume(t.Context(), ref, 1, decided); !errors.Is(err, ErrChanged) {
		t.Errorf("a job that is gone: %v", err)
	}
}

func TestSuspend(t *testing.T) {
	running := func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) }
	for name, test := range map[string]struct {
		edit func(*batchv1.Job)
		want bool
	}{
		"runs":      {running, true},
		"suspended": {nil, true},
		"replaced":  {func(j *batchv1.Job) { running(j); j.UID = "other" }, false},
		"ended":     {func(j *batchv1.Job) { running(j); ended(j) }, false},
	} {
		b, _ := adapter(job(test.edit))
		if err := b.Suspend(t.Context(), ref); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := b.Get(t.Context(), b.Live, ref.Key); err != nil || got.Suspended != test.want {
			t.Errorf("%s: suspended is %t, %v", name, got.Suspended, err)
		}
	}
	b, _ := adapter()
	if err := b.Suspend(t.Context(), ref); err != nil {
		t.Errorf("a job that is gone: %v", err)
	}
}

func TestSkipAttempt(t *testing.T) {
	for attempt, want := range map[int32]int32{1: 2, 2: 2, 3: 3} {
		b, _ := adapter(job(nil))
		if err := b.SkipAttempt(t.Context(), ref, attempt); err != nil {
			t.Error(err)
		}
		if got, err := b.Get(t.Context(), b.Live, ref.Key); err != nil || got.Attempt != want || !got.Suspended {
			t.Errorf("skip %d: got %+v, %v", attempt, got, err)
		}
	}
}

// TestTakenBack: the scheduler's mark goes once the broker has stopped the job too.
func TestTakenBack(t *testing.T) {
	for _, suspended := range []bool{true, false} {
		b, _ := adapter(job(func(j *batchv1.Job) {
			j.Spec.Suspend = &suspended
			j.Annotations[v1alpha1.AnnotationTakenBack] = "2"
		}))
		if got, err := b.Get(t.Context(), b.Live, ref.Key); err != nil || got.TakenBack != 2 {
			t.Errorf("before: %+v, %v", got, err)
		}
		for range 2 {
			if err := b.Suspend(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.Get(t.Context(), b.Live, ref.Key)
		if err != nil || got.TakenBack != 0 || !got.Suspended || got.Attempt != 2 {
			t.Errorf("after: %+v, %v", got, err)
		}
	}
}

type store []any

func (s store) List() []any { return s }

// TestList: only queued jobs, and only those of which this version is not known.
func TestList(t *testing.T) {
	free := job(func(j *batchv1.Job) { j.Name, j.UID, j.Labels = "free", "free", nil })
	b, c := adapter(job(nil), free)
	nothing := func(types.UID, string) bool { return false }
	list, err := b.List(t.Context(), c, nothing)
	if err != nil || len(list) != 1 || list[0].Queue != "default" || list[0].Attempt != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	known := func(uid types.UID, version string) bool { return uid == list[0].UID && version == list[0].Version }
	if again, err := b.List(t.Context(), c, known); err != nil || len(again) != 0 {
		t.Errorf("listed again: %+v, %v", again, err)
	}
	b.Store = store{job(nil), free, "something else"}
	if stored, err := b.List(t.Context(), nil, nothing); err != nil || len(stored) != 1 || stored[0].Ref != list[0].Ref {
		t.Errorf("from the store: %+v, %v", stored, err)
	}
}

// TestWaits: a job waits since its condition has said so.
func TestWaits(t *testing.T) {
	at := metav1.Time{Time: now.Add(-time.Hour)}
	for status, want := range map[corev1.ConditionStatus]time.Time{corev1.ConditionFalse: at.UTC(), corev1.ConditionTrue: {}} {
		b, _ := adapter(job(func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: v1alpha1.ConditionAdmitted, Status: status, Reason: "R", LastTransitionTime: at}}
		}))
		if got, err := b.Get(t.Context(), b.Live, ref.Key); err != nil || !got.Waits.Equal(want) || got.Told.Reason != "R" {
			t.Errorf("%s: waits since %s, %v", status, got.Waits, err)
		}
	}
}

func TestGang(t *testing.T) {
	for name, test := range map[string]struct {
		spec batchv1.JobSpec
		want int64
	}{
		"default":             {batchv1.JobSpec{}, 1},
		"parallel":            {batchv1.JobSpec{Parallelism: ptr.To[int32](4)}, 4},
		"fewer than parallel": {batchv1.JobSpec{Parallelism: ptr.To[int32](4), Completions: ptr.To[int32](3)}, 3},
		"in turns":            {batchv1.JobSpec{Parallelism: ptr.To[int32](2), Completions: ptr.To[int32](9)}, 2},
	} {
		if got := gang(&test.spec); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}
