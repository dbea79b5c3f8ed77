package cli

import (
	"context"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lister gives the names that may come next.
type lister func(ctx context.Context, api client.Reader, ns string) ([]string, error)

// completeFirst completes the first argument with names from the cluster. What
// cannot be read is not suggested; completion has no place for errors.
func completeFirst(s *session, list lister) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return suggest(cmd.Context(), s, list)
	}
}

// completeFlag completes the value of a flag.
func completeFlag(s *session, list lister) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return suggest(cmd.Context(), s, list)
	}
}

func suggest(ctx context.Context, s *session, list lister) ([]string, cobra.ShellCompDirective) {
	ns, _, err := s.namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	api, err := s.cluster()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := list(ctx, api, ns)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completeLoans(ctx context.Context, api client.Reader, ns string) ([]string, error) {
	list, err := listLoans(ctx, api, ns, false)
	if err != nil {
		return nil, err
	}
	return namesOf(list.Items), nil
}

func completeQueues(ctx context.Context, api client.Reader, ns string) ([]string, error) {
	queues, err := listQueues(ctx, api, ns, false)
	if err != nil {
		return nil, err
	}
	return namesOf(queues), nil
}

func completeJobs(ctx context.Context, api client.Reader, ns string) ([]string, error) {
	list, _, err := listJobs(ctx, api, ns, false)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list {
		names = append(names, shownName(&list[i]))
	}
	return names, nil
}

// qualified are names with their namespace before them.
func qualified(list lister) lister {
	return func(ctx context.Context, api client.Reader, ns string) ([]string, error) {
		names, err := list(ctx, api, ns)
		for i := range names {
			names[i] = ns + "/" + names[i]
		}
		return names, err
	}
}

// completeSubjects are jobs by their names, and lenders and loans by KIND/NAME.
func completeSubjects(ctx context.Context, api client.Reader, ns string) ([]string, error) {
	names, err := completeJobs(ctx, api, ns)
	if err != nil {
		return nil, err
	}
	own, err := completeOwn(kindLender, kindLoan)(ctx, api, ns)
	return append(names, own...), err
}

// namesOf are the names of objects, without their namespaces.
func namesOf[T any, O interface {
	*T
	GetName() string
}](items []T) []string {
	var names []string
	for i := range items {
		names = append(names, O(&items[i]).GetName())
	}
	return names
}
