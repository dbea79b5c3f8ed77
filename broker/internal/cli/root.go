package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
)

// Exit codes.
const (
	// ExitOK: the question was answered, or the change was made.
	ExitOK = 0
	// ExitError: bad usage, a refusal, an unknown name, nothing to ask.
	ExitError = 1
	// ExitBroken: ledger check read a ledger, and it is not sound; or replay decided
	// otherwise than was recorded.
	ExitBroken = 3
)

// errBroken makes Run return ExitBroken. What is broken has been said by then.
var errBroken = errors.New("the ledger is not sound")

// Env is what the commands take from their surroundings.
type Env struct {
	Streams genericiooptions.IOStreams
	Clock   clock.PassiveClock
	Getenv  func(string) string
}

// Run executes the command line args (without the program's name) and returns
// its exit code.
func Run(ctx context.Context, env Env, args []string) int {
	root := NewCommand(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errBroken), errors.Is(err, errOtherPlan):
		return ExitBroken
	}
	fmt.Fprintf(env.Streams.ErrOut, "error: %s\n", strings.TrimSpace(err.Error()))
	if errors.Is(err, access.ErrUnreachable) {
		fmt.Fprintln(env.Streams.ErrOut, `"kubectl ebbtide doctor" looks for what is amiss`)
	}
	return ExitError
}

// NewCommand is the tree of commands.
func NewCommand(env Env) *cobra.Command {
	s := &session{Env: env, config: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   "kubectl-ebbtide",
		Short: "Lend the GPUs that online inference leaves idle to training jobs",
		Long: `Lend the GPUs that online inference leaves idle to training jobs, and see who
holds what, why a job waits, and what every loan cost.

Exit codes: 0 answered or done; 1 an error; 3 "ledger check" found a ledger that
is not sound, or "replay" another plan than was recorded.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl ebbtide"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(env.Streams.In)
	root.SetOut(env.Streams.Out)
	root.SetErr(env.Streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee '%s --help' for usage", err, cmd.CommandPath())
	})

	flags := root.PersistentFlags()
	s.config.AddFlags(flags)
	// All of kubectl's connection flags work; help shows those people use.
	shown := map[string]bool{"namespace": true, "context": true, "kubeconfig": true}
	for _, name := range connectionFlags(s.config) {
		if !shown[name] {
			flags.Lookup(name).Hidden = true
		}
	}
	flags.StringVar(&s.brokerURL, "broker", "",
		"URL of the broker's API; default $EBBTIDE_BROKER, or else the leading broker's pod, through the API server")
	flags.StringVar(&s.who.Account, "broker-account", "",
		"Ask the broker as this service account (namespace/name), by a token that is good for nothing else")
	flags.StringVar(&s.who.Authority, "broker-ca", "",
		"PEM file by which the broker's certificate is verified; default $EBBTIDE_BROKER_CA")

	flags.BoolVar(&s.noColor, "no-color", false, "No colours, also on a terminal; the same as $NO_COLOR")

	root.AddCommand(
		newSubmitCommand(s), newQueueCommand(s), newLoansCommand(s), newLendersCommand(s), newQuotaCommand(s), newGPUsCommand(s),
		newExplainCommand(s), newWhenCommand(s), newWhyEvictedCommand(s), newTimelineCommand(s), newTopCommand(s), newDashboardCommand(s), newLedgerCommand(s),
		newReclaimCommand(s), newPauseCommand(s), newResumeCommand(s), newDoctorCommand(s),
		newSimulateCommand(s), newWhatifCommand(s), newReplayCommand(s),
	)
	return root
}

// exactlyOne takes one argument, and else says of what.
func exactlyOne(say string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New(say)
		}
		return nil
	}
}

// connectionFlags are the names of the flags that config adds.
func connectionFlags(config *genericclioptions.ConfigFlags) []string {
	scratch := &cobra.Command{}
	config.AddFlags(scratch.Flags())
	var names []string
	scratch.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// session is one invocation: its surroundings and its connection flags.
type session struct {
	Env
	config    *genericclioptions.ConfigFlags
	brokerURL string
	who       access.Identity
	noColor   bool
}

// namespace is the one the user works in, and whether -n says so.
func (s *session) namespace() (name string, explicit bool, err error) {
	name, explicit, err = s.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", false, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return name, explicit, nil
}

func (s *session) cluster() (client.Client, error) {
	config, err := s.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return access.NewCluster(config)
}

// broker is where --broker, $EBBTIDE_BROKER or the cluster says, in this order.
func (s *session) broker() (*access.Broker, error) {
	at := s.brokerURL
	if at == "" {
		at = s.Getenv("EBBTIDE_BROKER")
	}
	if s.who.Authority == "" {
		s.who.Authority = s.Getenv("EBBTIDE_BROKER_CA")
	}
	if strings.HasPrefix(at, "http:") {
		return access.NewBrokerAt(at, nil) // which is told nothing about anybody
	}
	config, err := s.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	s.who.Config = config
	if at != "" {
		return access.NewBrokerAt(at, &s.who)
	}
	api, err := access.NewCluster(config)
	if err != nil {
		return nil, err
	}
	return access.NewBrokerInCluster(&s.who, api), nil
}

// note writes a line for the person, beside the answer.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.Streams.ErrOut, format+"\n", args...)
}
