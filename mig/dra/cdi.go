package dra

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
)

// CDI is how the container runtime learns what to put into a container: a file for each
// claim, with one device for each of the claim's. The device has the variable and the
// mount by which NVIDIA's container runtime takes devices from those who may be trusted
// with it (accept-nvidia-visible-devices-as-volume-mounts): the variable alone, which any
// image can set, is to be ignored of unprivileged containers.
const (
	cdiVersion = "0.5.0"
	cdiKind    = "ebbtide.dev/claim"
	// visibleDevices is where NVIDIA's runtime looks for mounts that name devices.
	visibleDevices = "/var/run/nvidia-container-devices"
)

type cdiSpec struct {
	Version string      `json:"cdiVersion"`
	Kind    string      `json:"kind"`
	Devices []cdiDevice `json:"devices"`
}

type cdiDevice struct {
	Name  string   `json:"name"`
	Edits cdiEdits `json:"containerEdits"`
}

type cdiEdits struct {
	Env    []string   `json:"env"`
	Mounts []cdiMount `json:"mounts"`
}

type cdiMount struct {
	Host      string   `json:"hostPath"`
	Container string   `json:"containerPath"`
	Options   []string `json:"options"`
}

func cdiName(claim types.UID, device string) string { return fmt.Sprintf("%s-%s", claim, device) }

// CDIDevice is the device's name for the container runtime.
func (c *Claim) CDIDevice(d *Held) string { return cdiKind + "=" + cdiName(c.UID, d.Device) }

func (n *Node) cdiFile(claim types.UID) string {
	return filepath.Join(n.options.CDI, fmt.Sprintf("%s-%s.json", Driver, claim))
}

func (n *Node) writeCDI(c *Claim) error {
	spec := cdiSpec{Version: cdiVersion, Kind: cdiKind, Devices: []cdiDevice{}}
	for i := range c.Devices {
		d := &c.Devices[i]
		spec.Devices = append(spec.Devices, cdiDevice{Name: cdiName(c.UID, d.Device), Edits: cdiEdits{
			Env:    []string{"NVIDIA_VISIBLE_DEVICES=" + visibleDevices},
			Mounts: []cdiMount{{Host: "/dev/null", Container: visibleDevices + "/" + d.UUID, Options: []string{"ro", "bind"}}},
		}})
	}
	content, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return fmt.Errorf("write the CDI devices of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return replaceFile(n.cdiFile(c.UID), content)
}

func (n *Node) removeCDI(claim types.UID) error {
	for _, file := range []string{n.cdiFile(claim), n.cdiFile(claim) + nextSuffix} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the CDI devices of claim %s: %w", claim, err)
		}
	}
	return nil
}
