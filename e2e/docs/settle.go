package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/install"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// started is a program that runs as an object of the cluster says.
type started struct {
	part *lab.Part
	// template is the object's pod template, by which a change is told.
	template   string
	generation int
}

// Settle has run what the cluster says now: the simulated nodes show the pods of brokers
// and schedulers as running, and this starts, restarts and stops the programs themselves.
func (c *Cluster) Settle(ctx context.Context) error {
	if err := c.settle(ctx, "broker", c.brokerTemplate, c.startBroker); err != nil {
		return err
	}
	return c.settle(ctx, "scheduler", c.schedulerTemplate, c.startScheduler)
}

func (c *Cluster) settle(ctx context.Context, name string, template func(context.Context) (string, error),
	start func(ctx context.Context, part string) (*lab.Part, error),
) error {
	wanted, err := template(ctx)
	if err != nil {
		return err
	}
	running := c.ours[name]
	if running == nil {
		running = &started{}
		c.ours[name] = running
	}
	if wanted == running.template {
		return nil
	}
	if running.part != nil {
		if err := running.part.Stop(); err != nil {
			return fmt.Errorf("stop the %s: %w", name, err)
		}
		running.part = nil
	}
	running.template = wanted
	if wanted == "" {
		return nil
	}
	running.generation++
	if running.part, err = start(ctx, fmt.Sprintf("%s-%d", name, running.generation)); err != nil {
		return fmt.Errorf("start the %s as the cluster says: %w", name, err)
	}
	return nil
}

func (c *Cluster) brokerTemplate(ctx context.Context) (string, error) {
	set, err := c.Client().AppsV1().StatefulSets(lab.SystemNamespace).Get(ctx, "ebbtide-broker", metav1.GetOptions{})
	if err != nil {
		return "", unlessGone(err)
	}
	return describe(set.Spec.Replicas, set.Spec.Template)
}

func (c *Cluster) schedulerTemplate(ctx context.Context) (string, error) {
	set, err := c.Client().AppsV1().Deployments(lab.SystemNamespace).Get(ctx, "ebbtide-scheduler", metav1.GetOptions{})
	if err != nil {
		return "", unlessGone(err)
	}
	return describe(set.Spec.Replicas, set.Spec.Template)
}

func unlessGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("read what is installed: %w", err)
}

// describe is empty for what has no replicas.
func describe(replicas *int32, template corev1.PodTemplateSpec) (string, error) {
	if replicas != nil && *replicas == 0 {
		return "", nil
	}
	text, err := json.Marshal(template)
	return string(text), err
}

func (c *Cluster) startBroker(ctx context.Context, part string) (*lab.Part, error) {
	web, err := c.web()
	if err != nil {
		return nil, err
	}
	p, err := install.Broker(ctx, c.Client(), part, func(e lab.Env) map[string]any {
		return map[string]any{
			"prometheus":  map[string]any{"url": e.PrometheusURL},
			"ledger":      map[string]any{"path": filepath.Join(c.volume(), "ledger.db")},
			"http":        map[string]any{"bindAddress": web},
			"metrics":     map[string]any{"bindAddress": "0"},
			"healthProbe": map[string]any{"bindAddress": e.Addr},
		}
	})
	if err != nil {
		return nil, err
	}
	return c.StartBroker(ctx, *p)
}

func (c *Cluster) startScheduler(ctx context.Context, part string) (*lab.Part, error) {
	p, err := install.Scheduler(ctx, c.Client(), part)
	if err != nil {
		return nil, err
	}
	return c.StartScheduler(ctx, *p)
}

// web is where brokers serve their API, one after the other.
func (c *Cluster) web() (string, error) {
	e, err := c.Env(lab.Broker)
	if err != nil {
		return "", err
	}
	return e.Listen("web")
}

// volume is the folder that stands for the broker's volume. It outlives processes.
func (c *Cluster) volume() string { return filepath.Join(c.Lab.Dir(), "volume") }

// provision plays who makes volumes: the lab's nodes have none.
func provision(ctx context.Context, client kubernetes.Interface) error {
	claims := client.CoreV1().PersistentVolumeClaims(lab.SystemNamespace)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := claims.List(ctx, metav1.ListOptions{})
		for i := 0; err == nil && i < len(found.Items); i++ {
			err = bind(ctx, client, &found.Items[i])
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("provision a volume: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// bind binds a claim to a volume of its own, and lets it go when it is deleted.
func bind(ctx context.Context, client kubernetes.Interface, claim *corev1.PersistentVolumeClaim) error {
	claims := client.CoreV1().PersistentVolumeClaims(claim.Namespace)
	if claim.DeletionTimestamp != nil {
		claim.Finalizers = nil
		_, err := claims.Update(ctx, claim, metav1.UpdateOptions{})
		return err
	}
	if claim.Status.Phase == corev1.ClaimBound {
		return nil
	}
	const bound = "pv.kubernetes.io/bind-completed"
	if claim.Annotations[bound] == "" {
		_, err := client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: claim.Name + "-" + string(claim.UID)},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
				AccessModes: claim.Spec.AccessModes,
				ClaimRef:    &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/volumes/" + claim.Name},
				},
			},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		if claim.Annotations == nil {
			claim.Annotations = map[string]string{}
		}
		claim.Annotations[bound], claim.Spec.VolumeName = "yes", claim.Name+"-"+string(claim.UID)
		if claim, err = claims.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	claim.Status.Phase = corev1.ClaimBound
	_, err := claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}
