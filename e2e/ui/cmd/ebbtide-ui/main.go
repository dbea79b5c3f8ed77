// Command ebbtide-ui tries the dashboard in a browser: with a broker that is made up and has
// ten thousand loans, and with a real one in a lab. And it takes the pictures of the docs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `ebbtide-ui test [--only=pages,use,many,lab]    try the dashboard; the last line is JSON
ebbtide-ui screenshots DIR    write the pictures of the docs
ebbtide-ui serve              serve the dashboard with a broker that is made up, until Ctrl-C
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ebbtide-ui:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("ebbtide-ui", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	root := flags.String("root", ".", "the repository")
	only := flags.String("only", "", "parts of the test, with commas between")
	if len(args) == 0 {
		return fmt.Errorf("say what to do:\n%s", usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	folder, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	switch args[0] {
	case "test":
		return test(ctx, folder, *only)
	case "screenshots":
		return screenshots(ctx, folder, flags.Arg(0))
	case "serve":
		return serve(ctx, folder)
	}
	return fmt.Errorf("%q is none of:\n%s", args[0], usage)
}
