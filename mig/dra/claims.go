package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/mig/device"
	"github.com/ebbtide/ebbtide/mig/dra/pool"
)

// Prepare makes what was allocated to the claim, and returns its devices with their
// UUIDs. What a call before made is not made again. A claim that fails is tried again by
// who called, and what was made of it stays until then, or until Unprepare.
func (n *Node) Prepare(ctx context.Context, claim *resourcev1.ResourceClaim) (*Claim, error) {
	n.calls.Lock()
	defer n.calls.Unlock()
	c, maker, err := n.begin(claim)
	if err != nil {
		return nil, fmt.Errorf("prepare claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	n.options.Failpoint(FailClaimBegun)
	for i := range c.Devices {
		if err := makeDevice(ctx, maker, &c.Devices[i]); err != nil {
			return nil, fmt.Errorf("prepare claim %s/%s: device %s: %w", claim.Namespace, claim.Name, c.Devices[i].Device, err)
		}
	}
	n.options.Failpoint(FailClaimMade)
	if err := n.writeCDI(c); err != nil {
		return nil, err
	}
	n.options.Failpoint(FailClaimTold)
	c.Done = true
	if err := n.put(c); err != nil {
		return nil, err
	}
	n.options.Failpoint(FailClaimDone)
	return c, nil
}

// begin keeps in the checkpoint, before anything is made, what is to be.
func (n *Node) begin(claim *resourcev1.ResourceClaim) (*Claim, Maker, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.maker == nil {
		return nil, nil, errors.New("the agent is not ready")
	}
	c := n.state.Claims[claim.UID]
	if c == nil {
		var err error
		if c, err = n.admit(claim); err != nil {
			return nil, nil, err
		}
	}
	c = c.clone()
	c.Pods, c.Done, c.Going = reservedFor(claim), false, false
	return c, n.maker, n.putLocked(c)
}

// put keeps a claim in the checkpoint.
func (n *Node) put(c *Claim) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.putLocked(c)
}

func (n *Node) putLocked(c *Claim) error {
	was := n.state.Claims[c.UID]
	n.state.Claims[c.UID] = c.clone()
	err := n.keep()
	if err != nil {
		if n.state.Claims[c.UID] = was; was == nil {
			delete(n.state.Claims, c.UID)
		}
	}
	return err
}

func reservedFor(claim *resourcev1.ResourceClaim) []Pod {
	var out []Pod
	for _, r := range claim.Status.ReservedFor {
		if r.APIGroup == "" && r.Resource == "pods" {
			out = append(out, Pod{Name: r.Name, UID: r.UID})
		}
	}
	return out
}

// admit reads what was allocated, and refuses what another claim has: the allocator
// should never have given it twice.
func (n *Node) admit(claim *resourcev1.ResourceClaim) (*Claim, error) {
	c := &Claim{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}
	if claim.Status.Allocation == nil {
		return nil, errors.New("it is not allocated")
	}
	for _, r := range claim.Status.Allocation.Devices.Results {
		if r.Driver != Driver {
			continue
		}
		if r.Pool != n.options.Node {
			return nil, fmt.Errorf("device %s is of pool %s, and this is node %s", r.Device, r.Pool, n.options.Node)
		}
		if r.AdminAccess != nil && *r.AdminAccess {
			return nil, fmt.Errorf("device %s: admin access is not offered", r.Device)
		}
		gpu, at, err := n.find(r.Device)
		if err != nil {
			return nil, err
		}
		d := Held{Request: r.Request, Device: r.Device, GPU: gpu, At: at}
		if err := n.whyNot(c, &d); err != nil {
			return nil, fmt.Errorf("device %s: %w", r.Device, err)
		}
		c.Devices = append(c.Devices, d)
	}
	return c, nil
}

// whyNot refuses a device that a claim cannot have: as another has it, or an instance
// that is not ours is in its place, or its GPU is not fit, or the place is not of the
// layout: a claim may tolerate a taint, and then it still gets nothing that was counted as
// another's.
func (n *Node) whyNot(own *Claim, d *Held) error {
	board := n.state.Cards[d.GPU].Board
	for _, other := range append(n.state.sorted(), own) {
		for _, h := range other.Devices {
			if h.GPU == d.GPU && (d.At == nil || h.At == nil || pool.Overlap(board, *d.At, *h.At)) {
				return fmt.Errorf("claim %s/%s has %s", other.Namespace, other.Name, h.Device)
			}
		}
	}
	g, seen := n.gpus[d.GPU]
	switch {
	case !seen:
		return fmt.Errorf("GPU %s: %w", d.GPU, device.ErrLost)
	case !g.Healthy:
		return fmt.Errorf("GPU %s: %s: %w", d.GPU, g.Problem, device.ErrLost)
	case g.MIG != (d.At != nil):
		return fmt.Errorf("GPU %s: its MIG mode has changed: %w", d.GPU, device.ErrNotSupported)
	case d.At == nil:
		return nil
	}
	layout, foreign := n.layout(&g)
	for _, at := range foreign {
		if pool.Overlap(board, at, *d.At) {
			return fmt.Errorf("an instance of profile %d at %d is in its place, which is not the driver's to give", at.Profile, at.Start)
		}
	}
	if !slices.Contains(layout, *d.At) {
		return errors.New("it is not of the card's layout, and published with a taint")
	}
	return nil
}

// makeDevice makes one device, if it is not there.
func makeDevice(ctx context.Context, maker Maker, d *Held) error {
	if d.At == nil {
		d.UUID = d.GPU
		return nil
	}
	instance, generation, err := maker.Make(ctx, d.GPU, *d.At)
	if err != nil {
		return err
	}
	d.UUID, d.Generation = instance.UUID, generation
	return nil
}

// Unprepare destroys what Prepare made for the claim. A claim that is not known needs
// nothing. After an error the rest is tried again by who called.
func (n *Node) Unprepare(ctx context.Context, uid types.UID) error {
	n.calls.Lock()
	defer n.calls.Unlock()
	return n.unprepare(ctx, uid)
}

// unprepare is for who holds calls.
func (n *Node) unprepare(ctx context.Context, uid types.UID) error {
	c, maker, err := n.end(uid)
	if c == nil || err != nil {
		return err
	}
	n.options.Failpoint(FailClaimGoing)
	for _, d := range c.Devices {
		if d.At == nil {
			continue
		}
		if err := maker.Unmake(ctx, d.GPU, *d.At); err != nil {
			return fmt.Errorf("let go of claim %s/%s: device %s: %w", c.Namespace, c.Name, d.Device, err)
		}
	}
	n.options.Failpoint(FailClaimUnmade)
	if err := n.removeCDI(uid); err != nil {
		return err
	}
	n.options.Failpoint(FailClaimUntold)
	if err := n.drop(uid); err != nil {
		return err
	}
	n.options.Failpoint(FailClaimDropped)
	return nil
}

// end returns what to destroy for a claim, which it writes down first; nil for a claim
// that is not known.
func (n *Node) end(uid types.UID) (*Claim, Maker, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.state.Claims[uid]
	switch {
	case c == nil:
		return nil, nil, nil
	case n.maker == nil:
		return nil, nil, errors.New("the agent is not ready")
	}
	c = c.clone()
	if !c.Going {
		c.Done, c.Going = false, true
		return c, n.maker, n.putLocked(c)
	}
	return c, n.maker, nil
}

func (n *Node) drop(uid types.UID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.state.Claims[uid]
	delete(n.state.Claims, uid)
	err := n.keep()
	if err != nil {
		n.state.Claims[uid] = was
	}
	return err
}

// Claims are the UIDs of all claims that are prepared, or half so.
func (n *Node) Claims() []types.UID {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []types.UID
	for _, c := range n.state.sorted() {
		out = append(out, c.UID)
	}
	return out
}
