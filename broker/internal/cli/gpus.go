package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/lineage"
	"github.com/ebbtide/ebbtide/broker/view"
)

type gpusOptions struct {
	*session
	out *output
	api client.Reader
}

func newGPUsCommand(s *session) *cobra.Command {
	o := &gpusOptions{session: s, out: newOutput("wide")}
	cmd := &cobra.Command{
		Use:     "gpus [NODE]",
		Aliases: []string{"gpu", "gpunodes"},
		Short:   "Show how the GPUs of nodes are cut, and who has which slice",
		Long: `Show how the GPUs of nodes are cut, and who has which slice.

Only nodes with an ebbtide-agent are shown. LAYOUT draws the memory slots of a GPU in
MIG mode from the first to the last; each slice takes as many letters as slots:

  -  nobody has it                  p  nobody has it, and it is kept for services
  S  a pod that is on no loan       P  such a pod, and it is kept for services
  L  a pod on a loan                h  a pod that you may not read
  x  foreign, stuck or a remnant    ?  the agent does not know
  .  a slot without a slice

CHANGE is what slices are being made into for a job, and how far that is. HEARD is
how long ago the agent last read the GPU.`,
		Example: `  # All nodes
  kubectl ebbtide gpus

  # One node, and which pods have what
  kubectl ebbtide gpus gpu-0 -o wide`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeFirst(s, completeGPUNodes),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := o.out.validate(); err != nil {
				return err
			}
			if o.api, err = o.cluster(); err != nil {
				return err
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(cmd.Context(), name)
		},
	}
	o.out.addFlags(cmd)
	return cmd
}

func (o *gpusOptions) run(ctx context.Context, name string) error {
	list, err := listGPUNodes(ctx, o.api, name)
	if err != nil {
		return err
	}
	if printed, err := o.out.found(list, name != "", o.Streams.Out); printed {
		return err
	}
	if len(list.Items) == 0 {
		o.note("No GPUNodes found: no node has an ebbtide-agent.")
		return nil
	}
	borrowers := o.borrowers(ctx, list.Items)
	var rows []view.GPU
	for i := range list.Items {
		rows = append(rows, viewGPUs(&list.Items[i], borrowers, o.Clock.Now())...)
	}
	return o.out.table(view.GPUs(rows, o.Clock.Now()), nil, o.Streams.Out)
}

// listGPUNodes are all, by name, or the one of that name.
func listGPUNodes(ctx context.Context, api client.Reader, name string) (*v1alpha1.GPUNodeList, error) {
	list := &v1alpha1.GPUNodeList{}
	if name != "" {
		var one v1alpha1.GPUNode
		err := api.Get(ctx, client.ObjectKey{Name: name}, &one)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("gpunode %q not found: the node has no ebbtide-agent, or there is no such node", name)
		}
		if err != nil {
			return nil, fmt.Errorf("read gpunode %s: %w", name, err)
		}
		list.Items = append(list.Items, one)
	} else if err := api.List(ctx, list); err != nil {
		return nil, fmt.Errorf("list gpunodes: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.GPUNode) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("GPUNode"))
	}
	return list, nil
}

// borrowers tells of the pods that hold something whether they are on a loan; a pod that
// could not be read is not in it.
func (o *gpusOptions) borrowers(ctx context.Context, nodes []v1alpha1.GPUNode) map[types.NamespacedName]bool {
	found := map[types.NamespacedName]bool{}
	var hidden []string
	for _, ns := range holdersNamespaces(nodes) {
		var pods corev1.PodList
		loans, err := listLoans(ctx, o.api, ns, false)
		if err == nil {
			err = o.api.List(ctx, &pods, client.InNamespace(ns))
		}
		if err != nil {
			hidden = append(hidden, ns)
			continue
		}
		keys := map[lineage.Key]bool{}
		for i := range loans.Items {
			if state, _ := view.LoanState(viewConditions(loans.Items[i].Status.Conditions)); state != view.StateReturned {
				for _, key := range lineage.LoanKeys(&loans.Items[i].Spec.Job) {
					keys[key] = true
				}
			}
		}
		chains := newChains(ctx, o.api)
		for i := range pods.Items {
			pod := &pods.Items[i]
			chains.Chain(pod) // learns who is above it
			of, _ := chains.Keys(pod)
			found[client.ObjectKeyFromObject(pod)] = slices.ContainsFunc(of, func(k lineage.Key) bool { return keys[k] })
		}
	}
	if len(hidden) > 0 {
		o.note("note: whether pods in %s are on loans is not shown: you may not read them", strings.Join(hidden, ", "))
	}
	return found
}

// holdersNamespaces are those of the pods that hold something.
func holdersNamespaces(nodes []v1alpha1.GPUNode) []string {
	var all []string
	note := func(holder *v1alpha1.GPUHolder) {
		if holder != nil {
			all = append(all, holder.Namespace)
		}
	}
	for i := range nodes {
		for j := range nodes[i].Status.GPUs {
			gpu := &nodes[i].Status.GPUs[j]
			note(gpu.Holder)
			for k := range gpu.Instances {
				note(gpu.Instances[k].Holder)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func viewGPUs(node *v1alpha1.GPUNode, borrowers map[types.NamespacedName]bool, now time.Time) []view.GPU {
	var out []view.GPU
	pinned := map[string]map[[2]int32]bool{}
	for _, kept := range node.Spec.Pinned {
		pinned[kept.GPU] = map[[2]int32]bool{}
		for _, at := range kept.Places {
			pinned[kept.GPU][[2]int32{at.Profile, at.Start}] = true
		}
	}
	for i := range node.Status.GPUs {
		gpu := &node.Status.GPUs[i]
		v := view.GPU{
			Node: node.Name, UUID: gpu.UUID, Product: gpu.Product, Heard: node.Status.Heartbeat.Time,
			State: stateOfGPU(node, gpu, now), Making: changes(node, gpu.UUID),
			Whole: view.Slice{Hold: holdOf(gpu.Holder, gpu.Processes, false, borrowers), Holder: holderName(gpu.Holder)},
		}
		for j := range node.Status.Boards {
			if board := &node.Status.Boards[j]; gpu.MIG && board.Name == gpu.Board {
				v.Slots = int(board.Slots)
				v.Slices = viewSlices(gpu, board, pinned[gpu.UUID], borrowers)
			}
		}
		out = append(out, v)
	}
	return out
}

func viewSlices(gpu *v1alpha1.GPUStatus, board *v1alpha1.MIGBoard, pinned map[[2]int32]bool, borrowers map[types.NamespacedName]bool) []view.Slice {
	var list []view.Slice
	for i := range gpu.Instances {
		in := &gpu.Instances[i]
		s := view.Slice{Profile: in.Name, Start: int(in.Start), Size: 1, Holder: holderName(in.Holder), Kept: pinned[[2]int32{in.Profile, in.Start}]}
		for j := range board.Profiles {
			if p := &board.Profiles[j]; p.Profile == in.Profile {
				s.Profile, s.Size = p.Name, int(p.Memory)
			}
		}
		switch in.State {
		case v1alpha1.InstanceReady, v1alpha1.InstanceAbsent:
			processes := in.Processes
			if in.State == v1alpha1.InstanceAbsent {
				processes = new(int32)
			}
			s.Hold = holdOf(in.Holder, processes, s.Kept, borrowers)
		default:
			s.Hold = view.HoldBad
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b view.Slice) int { return cmp.Compare(a.Start, b.Start) })
	return list
}

// holdOf says who has a slice, or a GPU.
func holdOf(holder *v1alpha1.GPUHolder, processes *int32, pinned bool, borrowers map[types.NamespacedName]bool) view.Hold {
	if holder == nil {
		switch {
		case processes == nil:
			return view.HoldUnknown
		case *processes > 0:
			return view.HoldSome
		case pinned:
			return view.HoldKept
		}
		return view.HoldFree
	}
	borrows, read := borrowers[types.NamespacedName{Namespace: holder.Namespace, Name: holder.Name}]
	switch {
	case !read:
		return view.HoldSome
	case borrows:
		return view.HoldLoan
	case pinned:
		return view.HoldPinned
	}
	return view.HoldService
}

func holderName(holder *v1alpha1.GPUHolder) string {
	if holder == nil {
		return ""
	}
	return holder.Namespace + "/" + holder.Name
}

// changes are what the GPU's slices are being made into.
func changes(node *v1alpha1.GPUNode, gpu string) []string {
	var list []string
	for i := range node.Spec.Reshapes {
		r := &node.Spec.Reshapes[i]
		if r.GPU != gpu {
			continue
		}
		state := "Wanted"
		for j := range node.Status.Reshapes {
			if node.Status.Reshapes[j].ID == r.ID {
				state = node.Status.Reshapes[j].State
			}
		}
		list = append(list, fmt.Sprintf("%dx%s:%s", len(r.Create), r.Create[0].Name, state))
	}
	return list
}

// stateOfGPU is Ready, or what is wrong with it.
func stateOfGPU(node *v1alpha1.GPUNode, gpu *v1alpha1.GPUStatus, now time.Time) string {
	// This sees one heartbeat and no change of it: it can go by its own clock only.
	if now.Sub(node.Status.Heartbeat.Time) > v1alpha1.SilentAfter {
		return "AgentSilent"
	}
	if !gpu.Healthy {
		return "Unhealthy"
	}
	for _, kind := range []string{v1alpha1.GPUNodeReady, v1alpha1.GPUNodeLendable} {
		if c := meta.FindStatusCondition(node.Status.Conditions, kind); c == nil || c.Status != metav1.ConditionTrue {
			reason := "Unknown"
			if c != nil {
				reason = c.Reason
			}
			return "Not" + kind + ":" + reason
		}
	}
	return "Ready"
}

func completeGPUNodes(ctx context.Context, api client.Reader, _ string) ([]string, error) {
	list, err := listGPUNodes(ctx, api, "")
	if err != nil {
		return nil, err
	}
	return namesOf(list.Items), nil
}
