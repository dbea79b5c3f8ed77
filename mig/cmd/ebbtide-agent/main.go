// The command ebbtide-agent runs on every node with GPUs that are cut into slices: it
// publishes what is there, and changes layouts as the broker asks. It also reads all that
// a node's driver says, and examines whether the node can be lent on.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/mig/agent/kubelet"
)

// stateFolder is where the journal is.
const stateFolder = "/var/lib/ebbtide-agent"

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintf(os.Stderr, "ebbtide-agent: %v\n", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var verbosity int
	o := options{}
	cmd := &cobra.Command{
		Use:           "ebbtide-agent",
		Short:         "Publish a node's GPUs and slices, and change their layouts as the broker asks",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			flags := flag.NewFlagSet("klog", flag.ContinueOnError)
			klog.InitFlags(flags)
			ctrl.SetLogger(klog.Background())
			return flags.Set("v", fmt.Sprint(verbosity))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "name of the node; absent: $NODE_NAME")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; absent: $KUBECONFIG, or the pod's service account")
	f.StringVar(&o.stateDir, "state-dir", stateFolder, "folder of the journal, which must outlive the pod and the node's reboots")
	f.StringVar(&o.allocation, "allocation", string(v1alpha1.AllocationDevicePlugin), "who hands slices to pods: DevicePlugin (NVIDIA's) or DynamicResources (this agent, by claims)")
	f.StringVar(&o.kubelet, "kubelet-socket", kubelet.Socket, "where the kubelet says which pod has which device")
	f.StringArrayVar(&o.plugins, "device-plugin-selector", []string{"app.kubernetes.io/name=nvidia-device-plugin", "app=nvidia-device-plugin-daemonset"},
		"label selector of NVIDIA's device plugin's pods, which are restarted after a change; may be given several times")
	f.StringVar(&o.prometheus, "prometheus", "", "Prometheus with the metrics of dcgm-exporter, for the activity of slices where the driver does not measure it")
	o.listen.flags(f)
	f.DurationVar(&o.interval, "interval", 2*time.Second, "how often the GPUs are read")
	o.doctor.flags(f)
	cmd.PersistentFlags().IntVarP(&verbosity, "verbosity", "v", 0, "log level: 0 changes of layouts, 1 each step, 2 what waits and why, 4 details")
	cmd.AddCommand(newProbeCommand(), newDoctorCommand(), newAdoptCommand())
	return cmd
}
