package dra

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/mig"
)

// checkpointFile is in the folder that New is given.
const checkpointFile = "dra.json"

// checkpoint is what must outlive the process: what the cards' numbers are, and what
// was made for which claims.
type checkpoint struct {
	// Cards by UUID.
	Cards map[string]*card `json:"cards"`
	// Claims by UID.
	Claims map[types.UID]*Claim `json:"claims"`
}

// card is what is known of a GPU for good.
type card struct {
	// Number names its devices.
	Number int `json:"number"`
	// Board is what it can be cut into, as last read; nil for a GPU that was never in MIG
	// mode.
	Board *mig.Geometry `json:"board,omitempty"`
	// Product and MemoryMiB as last read.
	Product   string `json:"product,omitempty"`
	MemoryMiB int64  `json:"memoryMiB,omitempty"`
	// MIG as last read.
	MIG bool `json:"mig,omitempty"`
}

// Claim is what was made for a ResourceClaim.
type Claim struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Pods are those that the claim was reserved for when it was prepared last.
	Pods []Pod `json:"pods,omitempty"`
	// Devices in the order of the allocation.
	Devices []Held `json:"devices"`
	// Done: all devices are there. Going: they are being destroyed, as no pod needs them
	// any more. Between the two it is being made, or that failed.
	Done  bool `json:"done,omitempty"`
	Going bool `json:"going,omitempty"`
}

// Pod is one that a claim is reserved for.
type Pod struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

// Held is one device of a claim.
type Held struct {
	Request string `json:"request"`
	Device  string `json:"device"`
	GPU     string `json:"gpu"`
	// At is where on the card it is; nil: it is the whole GPU.
	At *mig.Placed `json:"at,omitempty"`
	// UUID and Generation of what was made; empty before that.
	UUID       string `json:"uuid,omitempty"`
	Generation int64  `json:"generation,omitempty"`
}

// clone returns a copy that can be changed.
func (c *Claim) clone() *Claim {
	out := *c
	out.Pods, out.Devices = slices.Clone(c.Pods), slices.Clone(c.Devices)
	return &out
}

// sorted returns the claims by UID.
func (c *checkpoint) sorted() []*Claim {
	out := make([]*Claim, 0, len(c.Claims))
	for _, uid := range slices.Sorted(maps.Keys(c.Claims)) {
		out = append(out, c.Claims[uid])
	}
	return out
}

// sealed is the file: the checkpoint and a sum that tells whether it is whole.
type sealed struct {
	Sum  uint32          `json:"sum"`
	Data json.RawMessage `json:"data"`
}

// readCheckpoint returns an empty one where there is no file. A file that is not whole is
// an error: going on without it would make the claims' instances nobody's.
func readCheckpoint(dir string) (*checkpoint, error) {
	path := filepath.Join(dir, checkpointFile)
	empty := &checkpoint{Cards: map[string]*card{}, Claims: map[types.UID]*Claim{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	var s sealed
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("read the checkpoint %s: %w", path, err)
	}
	if crc32.ChecksumIEEE(s.Data) != s.Sum {
		return nil, fmt.Errorf("read the checkpoint %s: its sum does not match; drain the node and remove the file", path)
	}
	if err := json.Unmarshal(s.Data, empty); err != nil {
		return nil, fmt.Errorf("read the checkpoint %s: %w", path, err)
	}
	return empty, nil
}

// write replaces the file, all of it or nothing, and returns when the disk has it.
func (c *checkpoint) write(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	raw, err := json.Marshal(sealed{Sum: crc32.ChecksumIEEE(data), Data: data})
	if err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	return replaceFile(filepath.Join(dir, checkpointFile), raw)
}

// nextSuffix is of files that are being written.
const nextSuffix = ".next"

// replaceFile writes beside the file, and puts what it wrote into its place.
func replaceFile(path string, content []byte) error {
	next := path + nextSuffix
	file, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
