// Command ebbtide-scheduler is the stock kube-scheduler with the plugin Ebbtide
// compiled in. It takes kube-scheduler's flags and configuration.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build information metric
	"k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/ebbtide/ebbtide/scheduler-plugin/ebbtide"
)

func main() {
	command := app.NewSchedulerCommand(app.WithPlugin(ebbtide.Name, ebbtide.Factory()))
	command.Use = "ebbtide-scheduler"
	os.Exit(cli.Run(command))
}
