package workload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/workload/recorded"
	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

// Format is one form in which histories are written.
type Format string

// The formats. What is said of a form in docs/reference/histories.md goes by these names.
const (
	CSV           Format = "csv"            // load, jobs, nodes
	AzureWeek     Format = "azure-week"     // load
	AzureRequests Format = "azure-requests" // load
	ServeGen      Format = "servegen"       // load
	DeepSeek      Format = "deepseek"       // load
	OpenbPods     Format = "openb-pods"     // load, jobs
	OpenbNodes    Format = "openb-nodes"    // nodes
	ITP           Format = "itp"            // jobs
	GFS           Format = "gfs"            // jobs
	Slurm         Format = "sacct"          // jobs
	Objects       Format = "kubectl"        // jobs
)

// headers tell the formats apart; what has none of them is CSV.
var headers = []struct {
	format  Format
	columns []string
}{
	{AzureWeek, recorded.AzureWeekColumns},
	{AzureRequests, recorded.AzureRequestColumns},
	{ServeGen, recorded.ModelColumns},
	{DeepSeek, recorded.StepColumns},
	{OpenbPods, recorded.PodColumns},
	{OpenbNodes, recorded.MachineColumns},
	{ITP, recorded.ITPColumns},
	{GFS, recorded.GFSColumns},
	{Slurm, []string{"JobID", "State"}},
}

// formatOf a file with a header: that of which it has all columns.
func formatOf(f *rows.File) Format {
	for _, h := range headers {
		if !slices.ContainsFunc(h.columns, func(c string) bool { return !slices.Contains(f.Header(), c) }) {
			return h.format
		}
	}
	return CSV
}

// other is the error of a file that has something else in it.
func other(f *rows.File, is Format, want string, formats ...string) error {
	return fmt.Errorf("%s: is in the format %s, which has no %s: want %s", f.Name(), is, want, strings.Join(formats, ", "))
}
