// Command controlplane is a whole Kubernetes control plane in one file: its
// first argument names the part to run (etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler), the rest are that part's own flags.
//
// Each part runs as a process of its own, so that a test can kill, freeze or
// restart any one of them. The parts are the upstream commands unchanged.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// parts maps a part's name to its upstream command. etcd is not among them: it
// parses its own arguments.
var parts = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]")
		os.Exit(2)
	}
	part := os.Args[1]
	if part == "etcd" {
		etcdmain.Main(os.Args[1:])
		return
	}
	newCommand, ok := parts[part]
	if !ok {
		fmt.Fprintf(os.Stderr, "controlplane: unknown part %q\n", part)
		os.Exit(2)
	}
	os.Args = os.Args[1:]
	os.Exit(cli.Run(newCommand()))
}
