package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/access/terms"
	"github.com/ebbtide/ebbtide/broker/internal/cli/loopback"
)

func newDashboardCommand(s *session) *cobra.Command {
	var port uint16
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Serve the broker's page on this machine, for your browser",
		Long: `Serve the broker's page on this machine, for your browser, until Ctrl-C.

The leading broker is reached as by the other commands, also when another one comes to lead.
The page is for this machine alone, and shows nothing until you sign in there with a token:
the command shows the broker nobody, and so nobody else on the machine can ask as you.`,
		Example: `  kubectl ebbtide dashboard

  # At a port of your choice, at which nothing else was served before
  kubectl ebbtide dashboard --port 8090`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.dashboard(cmd.Context(), port) },
	}
	cmd.Flags().Uint16Var(&port, "port", 0, "Port of 127.0.0.1 to serve it at; default any that is free")
	return cmd
}

func (s *session) dashboard(ctx context.Context, port uint16) error {
	ns, _, err := s.namespace()
	if err != nil {
		return err
	}
	if account := s.who.Account; account != "" {
		ns, name, _ := strings.Cut(account, "/")
		return fmt.Errorf("--broker-account: the page asks as whoever signs in there; sign in with a token of the account: %s", tokenOf(name, ns))
	}
	s.who.Nobody = true
	broker, err := s.broker()
	if err != nil {
		return err
	}
	if !broker.Verified() {
		return errors.New("--broker: the page sends a token, which goes over https:// only")
	}
	err = broker.HasPage(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return nil // Ctrl-C is how one leaves
	case err != nil:
		return err
	}
	server := &loopback.Server{Broker: broker, Port: port, Say: s.note}
	return server.Run(ctx, func(address string) {
		fmt.Fprintln(s.Streams.Out, address)
		s.note("Open it, and sign in with a token that the API server accepts. One that is good for the broker alone:")
		s.note("  %s", tokenOf("ACCOUNT", ns))
		s.note("Ctrl-C ends it. Sign out before that where others use this machine too.")
	})
}

// tokenOf is how somebody makes a token of a service account, for brokers.
func tokenOf(account, namespace string) string {
	return fmt.Sprintf("kubectl create token %s -n %s --audience %s --duration 1h", account, namespace, terms.Audience)
}
