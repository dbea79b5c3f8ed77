// Package install plays who installs Ebbtide: with helm, with kubectl and overlays, by the
// commands and the rights that the documentation names, on an API server of a lab.
//
// It promises that what a person types here reaches the API server through the same programs
// and with the same rights as anywhere, that what was applied is counted by what the API
// server says of it, and that what is started of Ebbtide afterwards is started as the objects
// in the cluster say: by their arguments, their ConfigMaps and their service accounts. It
// refuses to apply anything by other ways.
package install

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Person is somebody with a kubeconfig, a shell and the two programs.
type Person struct {
	// Kubeconfig says who it is.
	Kubeconfig string
	// Bin holds kubectl and helm, Root is the checkout in which they are run, and Home is
	// where they keep what they keep.
	Bin, Root, Home string
}

// Type has bash run a script, which ends at the first command that fails, and returns what it
// printed, complaints and all.
func (p *Person) Type(ctx context.Context, script string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = p.Root
	cmd.Env = append(os.Environ(), "PATH="+p.Bin+":"+os.Getenv("PATH"), "KUBECONFIG="+p.Kubeconfig, "HOME="+p.Home,
		"HELM_CACHE_HOME="+p.Home, "HELM_CONFIG_HOME="+p.Home, "HELM_DATA_HOME="+p.Home)
	// What bash started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return string(out), nil
}
