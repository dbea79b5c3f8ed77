package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// listing is what commands have in common that show one resource, those of a
// namespace or all.
type listing struct {
	*session
	out           *output
	allNamespaces bool

	name string // empty: no certain one
	ns   string
	api  client.Reader
}

func newListing(s *session) listing { return listing{session: s, out: newOutput("wide")} }

func (o *listing) addFlags(cmd *cobra.Command, plural string) {
	o.out.addFlags(cmd)
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, plural+" of all namespaces")
}

// complete reads the arguments, checks them with the flags, and finds the cluster.
func (o *listing) complete(args []string, kind string) (err error) {
	if len(args) > 0 {
		o.name = args[0]
	}
	if o.name != "" && o.allNamespaces {
		return fmt.Errorf("a %s's name and --all-namespaces exclude each other", kind)
	}
	if err := o.out.validate(); err != nil {
		return err
	}
	if o.ns, _, err = o.namespace(); err != nil {
		return err
	}
	o.api, err = o.cluster()
	return err
}

// scope restricts a list to a namespace, or not.
func scope(ns string, everywhere bool) []client.ListOption {
	if everywhere {
		return nil
	}
	return []client.ListOption{client.InNamespace(ns)}
}

func inNamespace(ns string, everywhere bool) string {
	if everywhere {
		return ""
	}
	return fmt.Sprintf(" in namespace %q", ns)
}
