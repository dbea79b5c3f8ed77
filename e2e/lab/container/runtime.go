// Package container runs a pod's container as a real process on this machine.
//
// A program takes the place of an image. Its process gets the container's arguments
// and variables, a folder of its own as working directory, an address of its own on
// loopback, and the pod's volumes as folders below the runtime's; where an argument or
// a variable names a path in a volume, it is given the folder's, since there is no
// file system to mount it into.
//
// It promises that a pod is run once, by one process; that no process is left when the
// runtime is closed, or when the process that made it dies; and that what the downward
// API shows in a volume follows the pod.
//
// It refuses, with a reason, what it cannot give a process: more than one container,
// init containers, restarts, volumes and variables of other kinds than those named at
// [Runtime.Start]. It isolates nothing: programs are the caller's own.
package container

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab/process"
)

// ErrRefused is in the errors about pods that can never be run. All others may pass.
var ErrRefused = errors.New("the lab cannot run this pod")

// Tokens makes tokens of a pod's service account.
type Tokens interface {
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (string, error)
}

// Options says where a Runtime works.
type Options struct {
	// Programs are paths of programs by the image that they stand for.
	Programs map[string]string
	// Dir holds the folders of pods and volumes, Logs the output of the processes. Both
	// are made.
	Dir, Logs string
	// APIServer is the "host:port" that pods are told, and CA its authority in PEM.
	APIServer string
	CA        []byte
	Tokens    Tokens
	Starter   *process.Starter
}

// Runtime runs pods. Its methods may be called from any goroutine, those about one pod
// by one at a time.
type Runtime struct {
	Options

	mu     sync.Mutex
	pods   map[types.UID]*Container
	taken  map[string]bool // addresses
	closed bool
}

// NewRuntime returns a Runtime, if all programs are there.
func NewRuntime(o Options) (*Runtime, error) {
	for image, path := range o.Programs {
		info, err := os.Stat(path)
		switch {
		case image == "" || !filepath.IsAbs(path):
			return nil, fmt.Errorf("program %q for image %q: an image and an absolute path must be given", path, image)
		case err != nil:
			return nil, fmt.Errorf("program for image %s: %w", image, err)
		case info.IsDir() || info.Mode()&0o111 == 0:
			return nil, fmt.Errorf("program for image %s: %s is not a program", image, path)
		}
	}
	for _, folder := range []string{o.Dir, o.Logs} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for programs: %w", err)
		}
	}
	return &Runtime{Options: o, pods: map[types.UID]*Container{}, taken: map[string]bool{}}, nil
}

// Runs tells whether a container of the pod is one of the programs. A nil Runtime has
// none.
func (r *Runtime) Runs(pod *corev1.Pod) bool {
	if r == nil {
		return false
	}
	for _, c := range pod.Spec.Containers {
		if r.Programs[c.Image] != "" {
			return true
		}
	}
	return false
}

// Get returns the pod's container, or nil if it was not started.
func (r *Runtime) Get(pod types.UID) *Container {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods[pod]
}

// All returns the containers that were started and not removed.
func (r *Runtime) All() []*Container {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*Container
	for _, c := range r.pods {
		all = append(all, c)
	}
	return all
}

// Start starts the pod's container, once: later calls return the same one, ended or
// not.
//
// A pod may have volumes of the kinds emptyDir, hostPath (a folder for each node and
// path), nfs (one for each server and path, the same on all nodes), downwardAPI, and
// projected of downwardAPI, serviceAccountToken and the configMap kube-root-ca.crt; and
// variables that are given or come from a fieldRef.
func (r *Runtime) Start(ctx context.Context, pod *corev1.Pod) (*Container, error) {
	if c := r.Get(pod.UID); c != nil {
		return c, nil
	}
	c, err := r.prepare(ctx, pod)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.New("start a program: the runtime is closed")
	}
	if err := c.start(r.Starter); err != nil {
		delete(r.taken, c.ip)
		return nil, err
	}
	r.pods[pod.UID] = c
	return c, nil
}

// address gives a pod one of 127.0.0.0/8, which are all this machine's own. That it
// depends on the UID keeps labs beside each other apart.
func (r *Runtime) address(pod types.UID) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(pod)) // it never fails
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := hash.Sum32(); ; n++ {
		// Not the first of them, which everybody uses, nor what looks like a network.
		ip := net.IPv4(127, byte(1+n>>16%250), byte(n>>8), byte(1+n%250)).String()
		if !r.taken[ip] {
			r.taken[ip] = true
			return ip
		}
	}
}

// Remove kills what is left of a pod and removes its folder; its log, and what it wrote
// elsewhere, stays.
func (r *Runtime) Remove(pod types.UID) error {
	c := r.Get(pod)
	if c == nil {
		return nil
	}
	c.end()
	r.mu.Lock()
	delete(r.pods, pod)
	delete(r.taken, c.ip)
	r.mu.Unlock()
	if err := os.RemoveAll(c.folder); err != nil {
		return fmt.Errorf("remove the folder of a pod: %w", err)
	}
	return nil
}

// Close kills all processes, and starts no more.
func (r *Runtime) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, c := range r.All() {
		c.end()
	}
}
