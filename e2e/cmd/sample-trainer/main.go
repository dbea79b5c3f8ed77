// Command sample-trainer is a small training program whose units can be taken back at
// any time: it saves when it is told so and on SIGTERM, and goes on from there. Package
// sample says what it promises.
//
// It ends with 0 when all steps are done, with 143 when it was stopped and has saved its
// work, and with 1 when something could not be read or written.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/e2e/sample"
)

func main() {
	c := sample.Config{Warn: func(err error) { fmt.Fprintln(os.Stderr, "sample-trainer:", err) }}
	flag.Uint64Var(&c.Seed, "seed", 1, "fixes the data")
	flag.Int64Var(&c.Steps, "steps", 1000, "how many steps there are to do")
	flag.DurationVar(&c.StepTime, "step-time", 10*time.Millisecond, "how long a step takes at the least")
	flag.DurationVar(&c.CheckpointEvery, "checkpoint-every", time.Minute, "time between two checkpoints; 0: only when told or stopped")
	flag.StringVar(&c.Checkpoint, "checkpoint", "", "file to save to, and to go on from")
	flag.StringVar(&c.Model, "model", "", "file for the model after the last step")
	flag.StringVar(&c.Journal, "journal", "", "file for all that happens, a line of JSON each")
	flag.StringVar(&c.Annotations, "annotations", "", "file of the pod's annotations, from a downward API volume")
	flag.DurationVar(&c.Poll, "poll", 250*time.Millisecond, "how often the annotations are looked at")
	flag.StringVar(&c.Hook, "hook", "", "address to listen on for calls about a reclaim, such as :8080")
	tell := flag.Bool("tell", false, "tell the time of each checkpoint on the pod; needs POD_NAMESPACE, POD_NAME and POD_UID, and the right to patch the pod")
	account := flag.String("service-account", "/var/run/secrets/kubernetes.io/serviceaccount", "folder of the pod's service account")
	ignore := flag.Bool("ignore-sigterm", false, "go on after SIGTERM until SIGKILL comes: what a job should not do")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("%q: only flags are understood", flag.Arg(0)))
	}
	if *tell {
		c.Pod = &sample.Pod{
			Server:  "https://" + net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")),
			Account: *account, Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME"), UID: os.Getenv("POD_UID"),
		}
	}
	stop := make(chan os.Signal, 1)
	if *ignore {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	}
	status, err := sample.Run(context.Background(), c, stop)
	if err != nil {
		fail(err)
	}
	os.Exit(status)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "sample-trainer:", err)
	os.Exit(sample.ExitFailed)
}
