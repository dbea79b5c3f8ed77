package container

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// prepare finds out all that the process of a pod needs, and makes its folders.
func (r *Runtime) prepare(ctx context.Context, pod *corev1.Pod) (*Container, error) {
	if err := r.check(pod); err != nil {
		return nil, err
	}
	spec := &pod.Spec.Containers[0]
	c := &Container{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Node: pod.Spec.NodeName,
		ip: r.address(pod.UID), path: r.Programs[spec.Image],
		folder: filepath.Join(r.Dir, "pods", string(pod.UID)),
		log:    filepath.Join(r.Logs, fmt.Sprintf("%s_%s_%s.log", pod.Namespace, pod.Name, pod.UID)),
	}
	err := c.furnish(ctx, r, pod, spec)
	if err != nil {
		r.mu.Lock()
		delete(r.taken, c.ip)
		r.mu.Unlock()
		return nil, fmt.Errorf("prepare pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return c, nil
}

func (c *Container) furnish(ctx context.Context, r *Runtime, pod *corev1.Pod, spec *corev1.Container) error {
	if err := os.MkdirAll(filepath.Join(c.folder, "root"), 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	mounts, err := r.mounts(ctx, c, pod)
	if err != nil {
		return err
	}
	if err := c.Refresh(pod); err != nil {
		return err
	}
	variables, err := r.variables(pod, spec, c.ip)
	if err != nil {
		return err
	}
	known := map[string]string{}
	for _, v := range variables {
		known[v.Name] = v.Value
		c.environ = append(c.environ, v.Name+"="+located(v.Value, mounts))
	}
	// The program stands for the image, and so for the first word of a command.
	words := spec.Args
	if len(spec.Command) > 0 {
		words = append(append([]string{}, spec.Command[1:]...), spec.Args...)
	}
	for _, word := range words {
		c.args = append(c.args, relocated(expand(word, known), mounts))
	}
	return nil
}

// check refuses pods that one process cannot stand for.
func (r *Runtime) check(pod *corev1.Pod) error {
	spec := &pod.Spec
	switch {
	case len(spec.Containers) != 1 || len(spec.InitContainers) > 0:
		return fmt.Errorf("%w: spec.containers: it must have one, and no init containers, since a program is to run", ErrRefused)
	case spec.RestartPolicy != corev1.RestartPolicyNever:
		return fmt.Errorf("%w: spec.restartPolicy: must be Never, since a program runs once", ErrRefused)
	case len(spec.Containers[0].EnvFrom) > 0:
		return fmt.Errorf("%w: spec.containers[0].envFrom: it is not known here", ErrRefused)
	case spec.HostNetwork:
		return fmt.Errorf("%w: spec.hostNetwork: a program has an address of its own", ErrRefused)
	}
	return nil
}

// variables are those of the container, after those that every pod has.
func (r *Runtime) variables(pod *corev1.Pod, spec *corev1.Container, ip string) ([]corev1.EnvVar, error) {
	host, port, err := net.SplitHostPort(r.APIServer)
	if err != nil {
		return nil, fmt.Errorf("read the API server's address: %w", err)
	}
	all := []corev1.EnvVar{
		{Name: "PATH", Value: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{Name: "HOSTNAME", Value: pod.Name},
		{Name: "KUBERNETES_SERVICE_HOST", Value: host},
		{Name: "KUBERNETES_SERVICE_PORT", Value: port},
	}
	known := map[string]string{}
	for _, v := range all {
		known[v.Name] = v.Value
	}
	for _, v := range spec.Env {
		switch {
		case v.ValueFrom == nil:
			v.Value = expand(v.Value, known)
		case v.ValueFrom.FieldRef != nil:
			if v.Value, err = field(pod, ip, v.ValueFrom.FieldRef.FieldPath); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: variable %s: only a value or a fieldRef is known here", ErrRefused, v.Name)
		}
		known[v.Name] = v.Value
		all = append(all, corev1.EnvVar{Name: v.Name, Value: v.Value})
	}
	return all, nil
}

// expand puts in the values of $(NAME), as Kubernetes does: what is not known stays,
// and $$ is a $.
func expand(text string, known map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		value, is := known[name]
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed && is:
			b.WriteString(value)
			text = rest
		default:
			b.WriteByte('$')
			text = after
		}
	}
}

// relocated is a word of the command line that may name a path, or be --flag=PATH.
func relocated(word string, mounts []mount) string {
	if flag, value, is := strings.Cut(word, "="); is && strings.HasPrefix(flag, "-") {
		return flag + "=" + located(value, mounts)
	}
	return located(word, mounts)
}

// located is the path on this machine for one in the container; the innermost mount
// counts. What is in no mount stays as it is.
func located(path string, mounts []mount) string {
	best := mount{}
	for _, m := range mounts {
		if len(m.path) > len(best.path) && (path == m.path || strings.HasPrefix(path, m.path+"/")) {
			best = m
		}
	}
	if best.path == "" {
		return path
	}
	return best.folder + strings.TrimPrefix(path, best.path)
}
