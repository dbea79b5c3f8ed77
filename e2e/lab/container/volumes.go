package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// rootCA is the configMap in which a cluster publishes its authority.
const rootCA = "kube-root-ca.crt"

// tokenSeconds is how long a token is valid if the volume does not say.
const tokenSeconds = 3600

// mount is a path in the container, and the folder that stands for it.
type mount struct{ path, folder string }

// mounts makes the folders of all volumes that the container mounts. What of them is to
// follow the pod is added to c.
func (r *Runtime) mounts(ctx context.Context, c *Container, pod *corev1.Pod) ([]mount, error) {
	folders := map[string]string{}
	var all []mount
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if _, made := folders[m.Name]; !made {
			folder, err := r.volume(ctx, c, pod, m.Name)
			if err != nil {
				return nil, err
			}
			folders[m.Name] = folder
		}
		folder := filepath.Join(folders[m.Name], filepath.Clean("/"+m.SubPath))
		if m.SubPathExpr != "" {
			return nil, fmt.Errorf("%w: volumeMounts %s: subPathExpr is not understood", ErrRefused, m.Name)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("make volume %s: %w", m.Name, err)
		}
		all = append(all, mount{filepath.Clean(m.MountPath), folder})
	}
	return all, nil
}

// volume returns the folder of one volume, filled.
func (r *Runtime) volume(ctx context.Context, c *Container, pod *corev1.Pod, name string) (string, error) {
	own := filepath.Join(c.folder, "volumes", name)
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Name != name:
		case v.EmptyDir != nil:
			return own, nil
		case v.HostPath != nil:
			return filepath.Join(r.Dir, "nodes", pod.Spec.NodeName, filepath.Clean("/"+v.HostPath.Path)), nil
		case v.NFS != nil:
			return r.NFS(v.NFS.Server, v.NFS.Path)
		case v.DownwardAPI != nil:
			return own, c.show(own, v.DownwardAPI.Items)
		case v.Projected != nil:
			return own, r.project(ctx, c, pod, own, v.Projected)
		default:
			return "", fmt.Errorf("%w: volume %s: only emptyDir, hostPath, nfs, downwardAPI and projected are known here", ErrRefused, name)
		}
	}
	return "", fmt.Errorf("%w: volumeMounts: there is no volume %s", ErrRefused, name)
}

// NFS is the folder that stands for a path of a server's.
func (r *Runtime) NFS(server, path string) (string, error) {
	if server == "" || strings.HasPrefix(server, ".") || strings.ContainsRune(server, filepath.Separator) {
		return "", fmt.Errorf("%w: nfs: %q is not a server", ErrRefused, server)
	}
	return filepath.Join(r.Dir, "nfs", server, filepath.Clean("/"+path)), nil
}

// show has fields of the pod shown in a folder.
func (c *Container) show(folder string, items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return fmt.Errorf("%w: downwardAPI %s: only a fieldRef is known here", ErrRefused, item.Path)
		}
		c.shown = append(c.shown, shown{path: inside(folder, item.Path), field: item.FieldRef.FieldPath})
	}
	return nil
}

func (r *Runtime) project(ctx context.Context, c *Container, pod *corev1.Pod, folder string, p *corev1.ProjectedVolumeSource) error {
	for _, source := range p.Sources {
		var err error
		switch {
		case source.DownwardAPI != nil:
			err = c.show(folder, source.DownwardAPI.Items)
		case source.ServiceAccountToken != nil:
			err = r.token(ctx, pod, folder, source.ServiceAccountToken)
		case source.ConfigMap != nil && source.ConfigMap.Name == rootCA:
			for _, item := range source.ConfigMap.Items {
				err = place(inside(folder, item.Path), r.CA)
			}
		default:
			err = fmt.Errorf("%w: projected volume: only downwardAPI, serviceAccountToken and the configMap %s are known here", ErrRefused, rootCA)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// token writes a token that ends with the pod. It is not renewed.
func (r *Runtime) token(ctx context.Context, pod *corev1.Pod, folder string, p *corev1.ServiceAccountTokenProjection) error {
	text, err := r.Tokens.Token(ctx, pod, p.Audience, ptr.Deref(p.ExpirationSeconds, tokenSeconds))
	if err != nil {
		return fmt.Errorf("ask for a token of service account %s/%s: %w", pod.Namespace, pod.Spec.ServiceAccountName, err)
	}
	return place(inside(folder, p.Path), []byte(text))
}

// inside is a path below folder, whatever it says.
func inside(folder, path string) string {
	return filepath.Join(folder, filepath.Clean("/"+path))
}
