// Package install plays who installs Ebbtide: with helm, with kubectl and overlays, by the
// rights that the documentation names, on an API server of a lab.
//
// It promises that what a person types here reaches the API server through the same programs
// and with the same rights as anywhere, and that what is started of Ebbtide afterwards is
// started as the objects in the cluster say: by their arguments, their ConfigMaps and their
// service accounts. It refuses to apply anything by other ways.
package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
)

// Person is somebody with a kubeconfig and the two programs.
type Person struct {
	// Kubeconfig says who it is.
	Kubeconfig string
	// Bin holds kubectl and helm, Root is the checkout in which they are run, and Home is
	// where they keep what they keep.
	Bin, Root, Home string
}

// Kubectl runs kubectl and returns what it printed; an error has what it complained of.
func (p *Person) Kubectl(ctx context.Context, args ...string) (string, error) {
	return p.run(ctx, "", build.Kubectl, args...)
}

// Helm runs helm, with input for those of its flags that read "-".
func (p *Person) Helm(ctx context.Context, input string, args ...string) (string, error) {
	return p.run(ctx, input, build.Helm, args...)
}

func (p *Person) run(ctx context.Context, input, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.Bin, program), args...)
	cmd.Dir = p.Root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.Kubeconfig, "HOME="+p.Home,
		"HELM_CACHE_HOME="+p.Home, "HELM_CONFIG_HOME="+p.Home, "HELM_DATA_HOME="+p.Home)
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, complaint.String())
	}
	return out.String(), nil
}

// Count is how many manifests were applied, and how many refused.
type Count struct {
	Applied  int `json:"manifestsApplied"`
	Rejected int `json:"rejected"`
}

// ApplyOverlay applies a kustomization on the server's side, and counts.
func (p *Person) ApplyOverlay(ctx context.Context, folder string, count *Count) error {
	out, err := p.Kubectl(ctx, "apply", "--server-side", "-k", folder)
	count.Applied += strings.Count(out, " serverside-applied\n")
	if err != nil {
		count.Rejected += max(strings.Count(err.Error(), "Error from server"), 1)
	}
	return err
}

// InstallChart installs a chart, or upgrades its release, with values as YAML, and counts.
func (p *Person) InstallChart(ctx context.Context, release, chart, values string, count *Count) error {
	_, err := p.Helm(ctx, values, "upgrade", "--install", release, chart, "--namespace", "ebbtide-system", "--values", "-")
	if err != nil {
		count.Rejected++
		return err
	}
	manifest, err := p.Helm(ctx, "", "get", "manifest", release, "--namespace", "ebbtide-system")
	count.Applied += strings.Count("\n"+manifest, "\nkind: ")
	return err
}
