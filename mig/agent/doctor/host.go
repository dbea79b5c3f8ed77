package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/mig/device"
)

// Host is a node whose file system is at Root.
type Host struct {
	// Root is / on the node itself, and where it is mounted in a container.
	Root string
	// Config is the runtime's file of settings, seen from the node; empty: where NVIDIA's
	// packages and its operator have it.
	Config string
	// Describer is the driver; nil: there is none to ask.
	Describer device.Describer
	// Policies says whether the API server refuses pods that name devices; nil: it is not
	// known.
	Policies func(context.Context) (bool, error)
}

// Where the parts of NVIDIA's container toolkit are, by its packages and by its operator.
var (
	configs = []string{
		"/etc/nvidia-container-runtime/config.toml",
		"/usr/local/nvidia/toolkit/.config/nvidia-container-runtime/config.toml",
	}
	tools = []string{"/usr/local/nvidia/toolkit/nvidia-ctk", "/usr/bin/nvidia-ctk", "/usr/local/bin/nvidia-ctk"}
)

// Driver is the version that the driver says.
func (h Host) Driver(ctx context.Context) (string, error) {
	if h.Describer == nil {
		return "", errors.New("the driver is not available")
	}
	facts, err := h.Describer.Describe(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the driver for its version: %w", err)
	}
	if facts.Simulated {
		return "", errors.New("the driver is simulated")
	}
	return facts.Driver, nil
}

var toolkitVersion = regexp.MustCompile(`version[: ]+v?([0-9]+\.[0-9]+\.[0-9]+\S*)`)

// toolTime is how long a tool may take to say its version.
const toolTime = 10 * time.Second

// Toolkit is the oldest version that a toolkit on the node says it is: which of several
// is used cannot be seen.
func (h Host) Toolkit(ctx context.Context) (string, error) {
	oldest := ""
	for _, tool := range tools {
		there, err := h.there(tool)
		if err != nil {
			return "", err
		}
		if !there {
			continue
		}
		found, err := h.ask(ctx, tool)
		if err != nil {
			return "", err
		}
		if oldest == "" || atLeast("", found, strings.TrimPrefix(oldest, "v"), nil, "").Result == Failed {
			oldest = found
		}
	}
	if oldest == "" {
		return "", fmt.Errorf("nvidia-ctk is at none of %s", strings.Join(tools, ", "))
	}
	return oldest, nil
}

// there reports whether the node has a file, or a link in its place, which may lead to
// where it cannot be followed from here.
func (h Host) there(file string) (bool, error) {
	path, link := h.Root, false
	for part := range strings.SplitSeq(strings.Trim(file, "/"), "/") {
		path = filepath.Join(path, part)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && link:
			return false, fmt.Errorf("look for %s: %s leads nowhere from here", file, filepath.Dir(path))
		case errors.Is(err, fs.ErrNotExist):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("look for %s: %w", file, err)
		}
		link = info.Mode()&fs.ModeSymlink != 0
	}
	return true, nil
}

// ask runs a tool of the node in the node's file system.
func (h Host) ask(ctx context.Context, tool string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	command := exec.CommandContext(ctx, tool, "--version")
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	command.Dir = "/"
	if h.Root != "/" {
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: h.Root}
	}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("run %s --version: %w", tool, err)
	}
	m := toolkitVersion.FindStringSubmatch(out.String())
	if m == nil {
		return "", fmt.Errorf("%s --version does not say one: %.100q", tool, out.String())
	}
	return m[1], nil
}

// Settings are the runtime's. With several files, as the operator beside a package leaves
// them, the worst of each counts: which is used cannot be seen.
func (h Host) Settings(context.Context) (Settings, error) {
	files := configs
	if h.Config != "" {
		files = []string{h.Config}
	}
	var all Settings
	for _, file := range files {
		there, err := h.there(file)
		if err != nil {
			return Settings{}, err
		}
		if !there {
			continue
		}
		text, err := os.ReadFile(filepath.Join(h.Root, file))
		if err != nil {
			return Settings{}, fmt.Errorf("read %s: %w", file, err)
		}
		s, err := ReadSettings(file, text)
		if err != nil {
			return Settings{}, err
		}
		all.File = strings.TrimPrefix(all.File+", "+s.File, ", ")
		all.EnvironmentWhenUnprivileged = all.EnvironmentWhenUnprivileged || s.EnvironmentWhenUnprivileged
		all.VolumeMounts = all.VolumeMounts || s.VolumeMounts
		all.Unsafe = append(all.Unsafe, s.Unsafe...)
	}
	if all.File == "" {
		return Settings{}, fmt.Errorf("there is no file of settings: %s", strings.Join(files, ", "))
	}
	return all, nil
}

// Refuses asks Policies.
func (h Host) Refuses(ctx context.Context) (bool, error) {
	if h.Policies == nil {
		return false, errors.New("no API server was asked")
	}
	return h.Policies(ctx)
}
