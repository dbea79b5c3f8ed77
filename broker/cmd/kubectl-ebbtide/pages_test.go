package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/cli"
	"github.com/ebbtide/ebbtide/e2e/arch"
)

// Every command that a page shows is one that there is, with flags that it has and as many
// arguments as it takes.
func TestPagesShowCommandsThatExist(t *testing.T) {
	pages, err := arch.Pages("../../..")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for _, page := range pages {
		for _, words := range page.Commands("kubectl", "ebbtide") {
			name, err := parse(words)
			if err != nil {
				t.Errorf("%s: kubectl ebbtide %s: %v", page.Path, strings.Join(words, " "), err)
			}
			shown[name]++
		}
	}
	for _, name := range []string{"submit", "queue", "loans", "explain", "ledger check", "simulate"} {
		if shown["kubectl ebbtide "+name] == 0 {
			t.Errorf("no page shows %s: commands are not read", name)
		}
	}
}

func TestParse(t *testing.T) {
	for line, known := range map[string]bool{
		"loans -n research": true, "ledger check --file x": true, "COMMAND --help": true, "submit -f job.yaml": true,
		"laons": false, "loans --everything": false, "ledger chekc": false, "loans a b": false,
	} {
		if _, err := parse(strings.Fields(line)); (err == nil) != known {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// parse finds the command that words are for, and has it read its flags and arguments. A
// synopsis, and what has … in it, is not checked beyond its command.
func parse(words []string) (name string, err error) {
	if len(words) == 0 || words[0] == strings.ToUpper(words[0]) || strings.HasPrefix(words[0], "__") {
		return "", nil // in general, or with a word that stands for any command, or for shells alone
	}
	root := cli.NewCommand(cli.Env{
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: io.Discard, ErrOut: io.Discard},
		Clock:   clock.RealClock{}, Getenv: func(string) string { return "" },
	})
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(words)
	if err != nil {
		return "", err
	}
	name = cmd.CommandPath()
	if slices.ContainsFunc(words, func(word string) bool { return strings.ContainsAny(word, "…[(|<") }) {
		return name, nil
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil && !strings.HasPrefix(err.Error(), "flag needs an argument: "+rest[len(rest)-1]) {
		return name, err
	}
	args := cmd.Flags().Args()
	if len(args) == 0 {
		return name, nil // which is how a text names a command, or a flag
	}
	if cmd.HasSubCommands() {
		return name, cobra.NoArgs(cmd, args)
	}
	return name, cmd.ValidateArgs(args)
}
