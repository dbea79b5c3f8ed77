package bench

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// summary is one number for each scheduler.
type summary struct {
	stock, ebbtide float64
}

func (s summary) ratio() float64 { return s.ebbtide / s.stock }

// summarize takes one number of each scheduler's rounds.
func summarize(rounds []round, choose func([]float64) float64) summary {
	of := func(s scheduler) float64 {
		var rates []float64
		for _, r := range rounds {
			if r.scheduler == s {
				rates = append(rates, r.podsPerSecond())
			}
		}
		return choose(rates)
	}
	return summary{stock: of(stock), ebbtide: of(ebbtide)}
}

// median of a non-empty list; the mean of the middle two where there are two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// write prints what was compared, every round, and last one line of JSON.
func write(out io.Writer, c Config, rounds []round) error {
	var b strings.Builder
	fmt.Fprintf(&b, method, c.Nodes, gpusPerNode, c.Pods, clientRate, runtime.GOMAXPROCS(0))
	if c.Profiles != "" {
		b.WriteString("CPU profiles were taken, which slows both schedulers down.\n")
	}
	b.WriteByte('\n')
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "ROUND\tSCHEDULER\tPODS\tNODES USED\tSECONDS\tPODS/S\tCPU SECONDS\tCPU MS/POD\t")
	for i, r := range rounds {
		fmt.Fprintf(table, "%d\t%s\t%d\t%d\t%.2f\t%.1f\t%.2f\t%.2f\t\n", i+1, r.scheduler.title(), r.pods, r.nodes, r.took.Seconds(),
			r.podsPerSecond(), r.cpu.Seconds(), float64(r.cpuPerPod().Microseconds())/1000)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	s, best := summarize(rounds, median), summarize(rounds, slices.Max[[]float64])
	fmt.Fprintf(&b, "\nBest round of each: %.1f and %.1f pods/s, ratio %.3f.\n", best.stock, best.ebbtide, best.ratio())
	b.WriteString("The last line has the median round of each.\n")
	fmt.Fprintf(&b, "{\"stockPodsPerSecond\":%.2f,\"ebbtidePodsPerSecond\":%.2f,\"ratio\":%.3f}\n", s.stock, s.ebbtide, s.ratio())
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	return nil
}

const method = `Two schedulers on one control plane: %d nodes with %d GPUs, %d pods of one GPU in every round.
Same for both: etcd, API server, nodes, credentials, a client limit of %d requests per second,
%d CPU cores, one scheduler at a time, and the pods but for spec.schedulerName: online priority,
one namespace, one tenant within its nominal quota.
Different: the binary and its profile. kube-scheduler runs its default profile, ebbtide-scheduler
the one in deploy/kustomize/scheduler.
A round creates all pods while no scheduler runs, starts one, and counts from the first pod to
the last that a watch shows with a node. CPU is what the scheduler's process used in that time.
NODES USED is how many the pods stand on: stock Kubernetes spreads them, Ebbtide fills nodes up.
The order alternates; one short round of each comes before. kwok and the controllers stand
still, so that nothing else runs. The admission policies are left out, since they refuse GPU
pods to any other scheduler; they act when pods are made, not when they are placed.
`
