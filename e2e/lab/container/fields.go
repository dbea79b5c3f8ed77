package container

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// field is what a fieldPath of the downward API says of a pod.
func field(pod *corev1.Pod, ip, path string) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.annotations":
			return pod.Annotations[key], nil
		case "metadata.labels":
			return pod.Labels[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return ip, nil
	}
	return "", fmt.Errorf("%w: fieldPath %s: it is not known here", ErrRefused, path)
}

// subscript reads "metadata.labels['key']".
func subscript(path string) (name, key string, ok bool) {
	name, rest, ok := strings.Cut(path, "['")
	if !ok || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return name, strings.TrimSuffix(rest, "']"), true
}

// formatMap writes a map as a downward API volume does.
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, m[key]))
	}
	return strings.Join(lines, "\n")
}

// shown is one file that shows a field of the pod.
type shown struct {
	path, field string
	last        *string
}

// refresh writes the file if it has changed. Who reads it sees the old contents or the
// new.
func (s *shown) refresh(pod *corev1.Pod, ip string) error {
	text, err := field(pod, ip, s.field)
	if err != nil {
		return err
	}
	if s.last != nil && *s.last == text {
		return nil
	}
	if err := place(s.path, []byte(text)); err != nil {
		return err
	}
	s.last = &text
	return nil
}

// place puts a file into a volume, whole.
func place(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write into a volume: %w", err)
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, text, 0o600); err != nil {
		return fmt.Errorf("write into a volume: %w", err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("write into a volume: %w", err)
	}
	return nil
}
