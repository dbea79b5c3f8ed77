// Command kubectl-ebbtide is Ebbtide's plugin for kubectl: put it on the PATH and
// call it as "kubectl ebbtide". It submits training jobs and says who holds what,
// why a job waits, and what every loan cost. See package cli for its promises.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the clouds' ways to log in
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ebbtide/ebbtide/broker/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrllog.SetLogger(klog.Background())
	return cli.Run(ctx, cli.Env{
		Streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Clock:   clock.RealClock{},
		Getenv:  os.Getenv,
	}, os.Args[1:])
}
