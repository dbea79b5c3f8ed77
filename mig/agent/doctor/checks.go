package doctor

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// The oldest versions that are let through.
const (
	// minDriver is R510: an older driver does not allow a slice of three beside one of
	// four, so that the layouts which are planned for may not be there.
	minDriver = "510.0"
	// minToolkit has the repairs of CVE-2024-0132 and CVE-2025-23266, by which a container
	// gets out onto its node, and with that at all of its GPUs.
	minToolkit = "1.17.8"
)

func checkDriver(ctx context.Context, n Node) Check {
	found, err := n.Driver(ctx)
	return atLeast(CheckDriver, found, minDriver, err,
		"update NVIDIA's driver: before R510 slices of three and four are not allowed together, and plans count on it")
}

func checkToolkit(ctx context.Context, n Node) Check {
	found, err := n.Toolkit(ctx)
	return atLeast(CheckToolkit, found, minToolkit, err,
		"update NVIDIA's container toolkit: before "+minToolkit+" a container can get out onto its node (CVE-2024-0132, CVE-2025-23266) and at all of its GPUs")
}

func atLeast(name, found, least string, err error, todo string) Check {
	if err != nil {
		return Check{Name: name, Result: Unknown, Found: err.Error(), Todo: todo}
	}
	v, err := version.ParseGeneric(strings.TrimPrefix(found, "v"))
	if err != nil {
		return Check{Name: name, Result: Unknown, Found: fmt.Sprintf("version %q cannot be read", found), Todo: todo}
	}
	c := Check{Name: name, Result: OK, Found: found, Todo: todo}
	// A release candidate of the version is before it.
	if before := v.LessThan(version.MustParseGeneric(least)); before || strings.Contains(found, least+"-rc") {
		c.Result, c.Found = Failed, fmt.Sprintf("%s is before %s", found, least)
	}
	return c
}

// Settings are those of NVIDIA's container runtime that matter here.
type Settings struct {
	// File is where they were read.
	File string
	// EnvironmentWhenUnprivileged: NVIDIA_VISIBLE_DEVICES, which an image can set, gives
	// GPUs to any container. It is the default.
	EnvironmentWhenUnprivileged bool
	// VolumeMounts: mounts under /var/run/nvidia-container-devices give GPUs.
	VolumeMounts bool
	// Unsafe are features that are on and take files of the container for the node's.
	Unsafe []string
}

func checkEnvironment(s Settings, _ bool, _ error) Check {
	c := Check{
		Name: CheckEnvironment, Result: OK, Found: "NVIDIA_VISIBLE_DEVICES of unprivileged containers is ignored",
		Todo: "set accept-nvidia-visible-devices-envvar-when-unprivileged = false in " + s.File + ", and have the device plugin pass devices as volume mounts or by CDI",
	}
	if s.EnvironmentWhenUnprivileged {
		c.Result, c.Found = Failed, "a pod whose image or environment says NVIDIA_VISIBLE_DEVICES=all sees all GPUs of the node"
	}
	return c
}

func checkVolumeMounts(s Settings, refuses bool, err error) Check {
	if !s.VolumeMounts {
		return Check{Name: CheckVolumeMounts, Result: OK, Found: "mounts that name devices are ignored"}
	}
	return refused(CheckVolumeMounts, "mounts under /var/run/nvidia-container-devices give GPUs", refuses, err)
}

func checkDeviceNames(_ Settings, refuses bool, err error) Check {
	return refused(CheckDeviceNames, "annotations cdi.k8s.io/* may give GPUs", refuses, err)
}

// refused is a check of what is open on the node, and closed if the API server refuses
// pods that use it.
func refused(name, open string, refuses bool, err error) Check {
	c := Check{Name: name, Todo: "apply Ebbtide's admission policies (deploy/kustomize/cluster)"}
	switch {
	case err != nil:
		c.Result, c.Found = Unknown, fmt.Sprintf("%s; whether the API server refuses pods that use it is not known: %v", open, err)
	case refuses:
		c.Result, c.Found = OK, open+"; the API server refuses pods that use it"
	default:
		c.Result, c.Found = Failed, open+", and the API server does not refuse pods that use it"
	}
	return c
}

func checkFromContainer(s Settings, _ bool, _ error) Check {
	if len(s.Unsafe) == 0 {
		return Check{Name: CheckFromContainer, Result: OK, Found: "no program or library of a container is used on the node"}
	}
	return Check{
		Name: CheckFromContainer, Result: Failed,
		Found: "the runtime uses files of the container: " + strings.Join(s.Unsafe, ", "),
		Todo:  "take these out of " + s.File,
	}
}
