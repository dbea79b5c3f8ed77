package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/ebbtide/ebbtide/broker/internal/cli"
	"github.com/ebbtide/ebbtide/e2e/arch"
)

func program() *cobra.Command {
	return cli.NewCommand(cli.Env{
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: io.Discard, ErrOut: io.Discard},
		Clock:   clock.RealClock{}, Getenv: func(string) string { return "" },
	})
}

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
			name, err := arch.Parse(program(), words)
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
		"loans -n research": true, "ledger check --file x": true, "COMMAND --help": true, "submit -f job.yaml": true, "submit -f": true,
		"laons": false, "loans --everything": false, "ledger chekc": false, "loans a b": false,
	} {
		if _, err := arch.Parse(program(), strings.Fields(line)); (err == nil) != known {
			t.Errorf("%q: %v", line, err)
		}
	}
}
