// Package traces holds the real measurements that the lab and the simulator replay,
// embedded so that nothing is fetched at run time. README.md names the source, licence and
// processing of each file; package broker/workload/recorded reads them.
//
// It promises values as published: it does not scale, smooth or fill. A row it
// cannot read is an error that names the file and the line, never a skipped row.
package traces

import (
	"embed"
	"fmt"
	"io"

	"github.com/ebbtide/ebbtide/broker/workload/rows"
)

//go:embed data/*/*.csv
var files embed.FS

// The files, by what they hold.
const (
	deepSeekFile = "data/deepseek-2025/h800_inference_nodes_24h.csv"
	tokensFile   = "data/azure-llm-2023/conv_tokens.csv"
	itpFile      = "data/ms-itp-2021/itp_all_jobs.csv"
	machinesFile = "data/alibaba-openb-2023/openb_node_list_gpu_node.csv"
	modelsFile   = "data/servegen/model_rps_10min.csv"
)

// azureFile of a service.
func azureFile(service string) (string, error) {
	if service != "code" && service != "conv" {
		return "", fmt.Errorf("azure week: service is %q, want code or conv", service)
	}
	return "data/azure-llm-2024/" + service + "_week_rpm.csv", nil
}

// open an embedded file. There is nothing to close.
func open(file string) (io.Reader, error) {
	f, err := files.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	return f, nil
}

func table(file string) (*rows.File, error) {
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	return rows.Comma(file, f)
}
