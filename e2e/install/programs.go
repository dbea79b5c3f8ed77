package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// Broker is the broker as its StatefulSet in the cluster says. Of its configuration it gets
// what belongs to the machine it runs on, local: addresses, the ledger's path, Prometheus.
func Broker(ctx context.Context, client kubernetes.Interface, name string, local func(lab.Env) map[string]any) (*lab.Program, error) {
	set, err := client.AppsV1().StatefulSets(lab.SystemNamespace).Get(ctx, "ebbtide-broker", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read how the broker runs: %w", err)
	}
	text, args, err := configured(ctx, client, &set.Spec.Template.Spec, "ebbtide-broker")
	if err != nil {
		return nil, err
	}
	return &lab.Program{
		Name: name, Args: func(lab.Env) []string { return args },
		Config: func(e lab.Env) ([]byte, error) {
			config := map[string]any{}
			if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
				return nil, fmt.Errorf("read the broker's configuration: %w", err)
			}
			maps.Copy(config, local(e))
			return yaml.Marshal(config)
		},
	}, nil
}

// Scheduler is a scheduler as its Deployment in the cluster says.
func Scheduler(ctx context.Context, client kubernetes.Interface, name string) (*lab.Program, error) {
	set, err := client.AppsV1().Deployments(lab.SystemNamespace).Get(ctx, "ebbtide-scheduler", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read how schedulers run: %w", err)
	}
	text, args, err := configured(ctx, client, &set.Spec.Template.Spec, "ebbtide-scheduler")
	if err != nil {
		return nil, err
	}
	return &lab.Program{
		Name: name, Args: func(lab.Env) []string { return args },
		Config: func(lab.Env) ([]byte, error) { return []byte(text), nil },
	}, nil
}

// configured finds the file that a pod's only container is given with --config, in the
// ConfigMap that is mounted there, and its other arguments.
func configured(ctx context.Context, client kubernetes.Interface, pod *corev1.PodSpec, account string) (text string, others []string, err error) {
	if pod.ServiceAccountName != account || len(pod.Containers) != 1 {
		return "", nil, fmt.Errorf("a pod of %s runs as %q, in %d containers", account, pod.ServiceAccountName, len(pod.Containers))
	}
	path := ""
	for _, argument := range pod.Containers[0].Args {
		if value, found := strings.CutPrefix(argument, "--config="); found {
			path = value
			continue
		}
		others = append(others, argument)
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		file, inside := strings.CutPrefix(path, mount.MountPath+"/")
		if !inside {
			continue
		}
		for _, volume := range pod.Volumes {
			if volume.Name != mount.Name || volume.ConfigMap == nil {
				continue
			}
			m, err := client.CoreV1().ConfigMaps(lab.SystemNamespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
			if err != nil {
				return "", nil, fmt.Errorf("read the configuration of %s: %w", account, err)
			}
			if m.Data[file] == "" {
				return "", nil, fmt.Errorf("ConfigMap %s has no %s", m.Name, file)
			}
			return m.Data[file], others, nil
		}
	}
	return "", nil, errors.New("no ConfigMap is mounted where " + account + " reads its configuration, " + path)
}
