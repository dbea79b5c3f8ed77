// The command ebbtide-broker reads the load of online services, lends what they
// leave idle to training jobs, and takes it back. It also replays recorded
// decisions and checks ledgers, offline.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ebbtide/ebbtide/broker/internal/controller"
)

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintf(os.Stderr, "ebbtide-broker: %v\n", err)
		}
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var config, kubeconfig, namespace, ack, replicaListen, replicaHost string
	var verbosity int
	cmd := &cobra.Command{
		Use:           "ebbtide-broker",
		Short:         "Lend the GPUs that online inference leaves idle, and take them back in time",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return setUpLogging(verbosity)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := controller.LoadConfig(config)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			c.Ledger.CheckCommand = []string{self, "ledger", "check", "--quick"}
			if err := c.Ledger.Override(ack, replicaListen, replicaHost, c.LeaderElection.Enabled); err != nil {
				return err
			}
			restConfig, err := loadKubeconfig(kubeconfig)
			if err != nil {
				return err
			}
			return controller.Run(cmd.Context(), restConfig, cmp.Or(kubeconfig, os.Getenv("KUBECONFIG")), namespace, c)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "configuration file (BrokerConfiguration); absent: the defaults")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file; absent: $KUBECONFIG, or the pod's service account")
	cmd.Flags().StringVar(&namespace, "namespace", "ebbtide-system", "namespace of the Lease that elects the leader")
	cmd.Flags().StringVar(&ack, "ledger-ack", "", "local or replica, in place of ledger.ack: who must have an entry on disk before something is lent")
	cmd.Flags().StringVar(&replicaListen, "replica-listen", "", "host:port where a leader serves its ledger to followers, in place of ledger.replica.bindAddress")
	cmd.Flags().StringVar(&replicaHost, "replica-host", "", "address at which followers reach this broker, in place of ledger.replica.advertiseHost")
	cmd.PersistentFlags().IntVarP(&verbosity, "verbosity", "v", 0, "log level: 0 loans and evictions, 2 every decision, 4 details")
	cmd.AddCommand(newReplayCommand(), newLedgerCommand())
	return cmd
}
