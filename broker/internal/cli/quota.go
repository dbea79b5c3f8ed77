package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/view"
)

// errNoTree is what quota says where no broker has it.
var errNoTree = errors.New("the broker shows you no tenant: it takes the verb list on loans.ebbtide.dev in all of a tenant's namespaces")

func newQuotaCommand(s *session) *cobra.Command {
	out := newOutput()
	cmd := &cobra.Command{
		Use:     "quota [TENANT]",
		Aliases: []string{"quotas"},
		Short:   "Show the tree of tenants: what is nominal, used, lent and borrowed",
		Long: `Show the tree of tenants: what is nominal, used, lent and borrowed.

A cohort stands above its cohorts and tenants. LENT is what a tenant's services lend to
others, BORROWED what its jobs have of others; AVAILABLE is how much more could be had
without anything being taken back. One sees the tenants in all of whose namespaces one
may list Loans, and the names of the cohorts above them.`,
		Example: `  kubectl ebbtide quota

  # One tenant
  kubectl ebbtide quota research`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.validate(); err != nil {
				return err
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return showQuota(cmd.Context(), s, out, name)
		},
	}
	out.addFlags(cmd)
	return cmd
}

func showQuota(ctx context.Context, s *session, out *output, name string) error {
	broker, err := s.broker()
	if err != nil {
		return err
	}
	done := s.working("asking the broker")
	rows, err := broker.Quota(ctx)
	done()
	if err != nil {
		return err
	}
	if name != "" {
		var names []string
		for _, r := range rows {
			names = append(names, r.Name)
		}
		rows = slices.DeleteFunc(rows, func(r view.QuotaRow) bool { return r.Name != name })
		if len(rows) == 0 {
			return fmt.Errorf("tenant %q is not one that you may see; those are: %s", name, cmp.Or(strings.Join(names, ", "), "none"))
		}
	}
	if len(rows) == 0 {
		return errNoTree
	}
	if out.isText() {
		_, err := fmt.Fprint(s.Streams.Out, view.QuotaTree(rows))
		return err
	}
	items := make([]any, len(rows))
	for i := range rows {
		items[i] = quotaItem{answersVersion, "Quota", map[string]string{"name": rows[i].Name}, rows[i].Kind, quotaFields(rows[i])}
	}
	return out.answers("Quota", items, nil, s.Streams.Out)
}

// quotaItem is a row as an object: its own kind says what it is.
type quotaItem struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Of         string            `json:"of"`
	*quotaRest
}

type quotaRest struct {
	Parent  string            `json:"parent,omitempty"`
	Depth   int               `json:"depth"`
	Weight  int64             `json:"weight,omitempty"`
	Share   int64             `json:"share,omitempty"`
	Flavors []view.QuotaUnits `json:"flavors"`
}

func quotaFields(r view.QuotaRow) *quotaRest {
	return &quotaRest{r.Parent, r.Depth, r.Weight, r.Share, r.Flavors}
}
