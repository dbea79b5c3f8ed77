package rounds

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/faults/stage"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	// reached is how long a process may take until it stands at a point, restarted how long
	// one that is started may: its predecessor's Lease has to run out.
	reached   = 12 * time.Second
	restarted = stage.LeaseDuration + 9*time.Second
	// unwatched is for how long a broker is away while the scheduler takes units back.
	unwatched = 2 * time.Second
	// anywhere is within how long after the load has moved a process is killed that is
	// killed anywhere.
	anywhere = 3 * time.Second
	// ready is how long a part of the control plane may take to be ready again.
	ready = 30 * time.Second
	// foreign is the finalizer of somebody who does not take it off.
	foreign = "faults.ebbtide.dev/held"
)

// move lets the load rise or fall.
func (r *rig) move(ctx context.Context, t tide, random *rand.Rand) error {
	most := int(r.town.Owned() / stage.GPUsPerReplica)
	requests := 1.0
	switch t {
	case ebb:
		r.replicas = 1
	case flood:
		requests = stage.Slots * float64(2+random.IntN(most-1))
	case surge:
		r.replicas = int32(most/2 + 1 + random.IntN(most-most/2))
		requests = 3 * float64(r.replicas)
	}
	return r.town.Move(ctx, r.replicas, requests)
}

// strike moves the load and breaks what the fault says, and mends it as far as somebody has
// to.
func (r *rig) strike(ctx context.Context, f *fault, random *rand.Rand) error {
	switch f.how {
	case halt:
		return r.freeze(ctx, f, random)
	case lose:
		return r.loseNode(ctx, f, random)
	case stick:
		return r.holdPod(ctx, f, random)
	}
	if f.alone {
		if err := r.kill(ctx, lab.Broker); err != nil {
			return err
		}
	}
	if err := r.killAt(ctx, f, random); err != nil {
		return err
	}
	if f.alone && f.part != lab.Broker {
		if err := r.start(ctx, lab.Broker); err != nil {
			return err
		}
	}
	if f.how == wipe {
		if err := r.destroy(); err != nil {
			return err
		}
	}
	if err := r.start(ctx, f.part); err != nil {
		return err
	}
	for _, point := range f.starts {
		if err := r.killStarting(ctx, f.part, point); err != nil {
			return err
		}
	}
	return nil
}

// killAt kills the process where the fault says. One that does not come there is killed all
// the same.
func (r *rig) killAt(ctx context.Context, f *fault, random *rand.Rand) error {
	points := r.town.Points[f.part]
	late := f.alone && f.part == lab.Broker // it has to find what the scheduler did
	if late {
		if err := errors.Join(r.move(ctx, f.tide, random), pause(ctx, unwatched), r.start(ctx, f.part)); err != nil {
			return err
		}
	}
	if f.point != "" {
		if err := points.Arm(ctx, f.point); err != nil {
			return err
		}
	}
	if !late {
		if err := r.move(ctx, f.tide, random); err != nil {
			return err
		}
	}
	if f.point == "" {
		if err := pause(ctx, time.Duration(random.Int64N(int64(anywhere)))); err != nil {
			return err
		}
		return r.kill(ctx, f.part)
	}
	if points.Await(ctx, f.point, reached) {
		r.result.Reached[f.point]++
	} else {
		r.result.Missed[f.point]++
		r.say("          it did not come to %s: %s", f.point, r.why(ctx))
	}
	return r.kill(ctx, f.part)
}

// why tells what the lender and the first job that waits say of themselves.
func (r *rig) why(ctx context.Context) string {
	s, err := r.readState(ctx)
	if err != nil {
		return err.Error()
	}
	said := fmt.Sprintf("%d loans", len(s.loans.Items))
	for i := range s.policies.Items {
		p := &s.policies.Items[i]
		said += fmt.Sprintf("; %d lent", p.Status.Lent)
		for _, c := range p.Status.Conditions {
			said += fmt.Sprintf("; %s=%s: %s", c.Type, c.Status, c.Message)
		}
	}
	for i := range s.jobs.Items {
		for _, c := range s.jobs.Items[i].Status.Conditions {
			if string(c.Type) == v1alpha1.ConditionAdmitted && c.Status == corev1.ConditionFalse {
				return said + fmt.Sprintf("; job %s waits: %s", s.jobs.Items[i].Name, c.Message)
			}
		}
	}
	return said
}

// killStarting kills a program that is being started at a point, and starts it again.
func (r *rig) killStarting(ctx context.Context, part, point string) error {
	points := r.town.Points[part]
	if err := points.Arm(ctx, point); err != nil {
		return err
	}
	if !points.Await(ctx, point, restarted) {
		r.result.Missed[point]++
		points.Disarm(ctx, point)
		return nil
	}
	r.result.Reached[point]++
	if err := r.kill(ctx, part); err != nil {
		return err
	}
	return r.start(ctx, part)
}

// kill ends a process. If it is the broker's, what it had acknowledged must be in the file
// that it leaves.
func (r *rig) kill(ctx context.Context, part string) error {
	if part == lab.Broker {
		r.acks.look(ctx)
	}
	if err := r.town.Part(part).Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", part, err)
	}
	r.result.Sigkills++
	if part == lab.Broker {
		r.result.BrokerKills++
		return r.examine()
	}
	return nil
}

// start starts a part again, and waits for those of the control plane.
func (r *rig) start(ctx context.Context, part string) error {
	p := r.town.Part(part)
	if err := p.Start(); err != nil {
		return fmt.Errorf("start %s: %w", part, err)
	}
	if part != lab.KubeAPIServer && part != lab.Etcd {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	return r.town.Part(lab.KubeAPIServer).WaitReady(ctx)
}

// destroy takes the ledger's files away, as a disk does that is gone.
func (r *rig) destroy() error {
	path, err := r.town.LedgerPath()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(strings.TrimSuffix(path, ".db") + "*")
	if err != nil {
		return fmt.Errorf("find the ledger: %w", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("destroy the ledger: %w", err)
		}
	}
	r.acks.destroyed()
	return nil
}

// freeze stops a process for longer than the broker's Lease lasts.
func (r *rig) freeze(ctx context.Context, f *fault, random *rand.Rand) error {
	if err := r.move(ctx, f.tide, random); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(random.Int64N(int64(anywhere)))); err != nil {
		return err
	}
	p := r.town.Part(f.part)
	if err := p.Freeze(); err != nil {
		return fmt.Errorf("stop %s: %w", f.part, err)
	}
	err := pause(ctx, stage.LeaseDuration+time.Second+time.Duration(random.Int64N(int64(2*time.Second))))
	r.result.Sigstops++
	return errors.Join(err, p.Thaw())
}

// loseNode takes a node off the network for a while.
func (r *rig) loseNode(ctx context.Context, f *fault, random *rand.Rand) error {
	node := stage.NodeName(random.IntN(r.c.Stage.Nodes))
	if err := r.town.LoseNode(ctx, node); err != nil {
		return err
	}
	err := r.move(ctx, f.tide, random)
	if err == nil {
		err = pause(ctx, 3*time.Second+time.Duration(random.Int64N(int64(3*time.Second))))
	}
	return errors.Join(err, r.town.RecoverNode(ctx, node))
}

// holdPod lets a finalizer keep a training pod for longer than its grace.
func (r *rig) holdPod(ctx context.Context, f *fault, random *rand.Rand) error {
	pods := r.town.Client().CoreV1().Pods(stage.Training)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var held []corev1.Pod
	for _, pod := range list.Items {
		if pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil {
			held = append(held, pod)
		}
	}
	if len(held) == 0 {
		return r.move(ctx, f.tide, random)
	}
	pod := held[random.IntN(len(held))]
	patch := func(what string) error {
		_, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(what), metav1.PatchOptions{})
		if err != nil {
			return fmt.Errorf("patch pod %s: %w", pod.Name, err)
		}
		return nil
	}
	if err := patch(fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, foreign)); err != nil {
		return err
	}
	if err := r.move(ctx, f.tide, random); err != nil {
		return err
	}
	if err := pause(ctx, 2*stage.MaxGrace); err != nil {
		return err
	}
	return patch(fmt.Sprintf(`{"metadata":{"$deleteFromPrimitiveList/finalizers":[%q]}}`, foreign))
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
