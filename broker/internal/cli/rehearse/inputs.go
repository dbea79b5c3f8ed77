package rehearse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/internal/past"
	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// Inputs say what is played.
type Inputs struct {
	// Load are files, each [NAME=]FILE; Jobs a file; Nodes a file or COUNTxGPUS[:FLAVOR].
	Load  []string
	Jobs  string
	Nodes string
	// Town, if not nil, is what Prometheus knows, in the place of those that are not given.
	Town *past.Town
	// Rules are the LendingPolicies, TenantQuotas and the like; nil: none, and all is assumed.
	Rules *Objects

	// Length of what is played, 0 is that of the longest load; Warmup of it is not counted.
	Length, Warmup time.Duration
	// Drain is how long after Length jobs may still end; 0 is a week.
	Drain time.Duration
	Seed  uint64
	// Points is in how many parts of the time the results' series are told; 0 is none.
	Points int

	Services ServiceDefaults
	Costs    sim.Costs
	// Like, if not nil, is a stage with the same services under other rules: what their load
	// means is what it means there.
	Like *Stage
}

// ServiceDefaults are of services of which nothing else says them.
type ServiceDefaults struct {
	// Slots is how many requests a replica serves at once; 0: so many that the load's 99.9th
	// percentile fills all replicas as they are meant to be filled.
	Slots float64
	// RequestTime is how long a request takes, by which rates become requests in flight.
	RequestTime time.Duration
	// Share of all GPUs that services own together, GPUs of one replica (0: of a node, 8 at
	// most), and Reload from a replica's start until it serves.
	Share  float64
	GPUs   int64
	Reload time.Duration
}

// Defaults are the inputs of which nothing was said. A job's costs are those by which the
// simulations of GFS (ASPLOS 2026) go, but for the checkpoints: every 15 minutes instead of
// every hour.
func Defaults() Inputs {
	return Inputs{
		Drain: 7 * 24 * time.Hour, Seed: 1,
		Services: ServiceDefaults{Share: 0.5, Reload: 30 * time.Second},
		Costs: sim.Costs{
			CheckpointEvery: 15 * time.Minute, Grace: 30 * time.Second, Exit: 2 * time.Second, Restart: 60 * time.Second, Reshape: 5 * time.Second,
		},
	}
}

// readLoads reads all files with loads, in the order of the services' names.
func readLoads(files []string) ([]load, error) {
	var all []load
	for _, word := range files {
		name, file, named := strings.Cut(word, "=")
		if !named {
			name, file = "", word
		}
		loads, err := readLoad(file)
		if err != nil {
			return nil, fmt.Errorf("--load: %w", err)
		}
		if named && len(loads) > 1 {
			return nil, fmt.Errorf("--load: %s: has %d services with names of their own: leave %s= out", file, len(loads), name)
		}
		for _, l := range loads {
			switch {
			case named:
				l.Service = name
			case l.Service == "":
				l.Service = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
			}
			if slices.ContainsFunc(all, func(o load) bool { return o.Service == l.Service }) {
				return nil, fmt.Errorf("--load: %s: service %s is in a file before: name it otherwise with NAME=%s", file, l.Service, file)
			}
			all = append(all, load{Load: l})
		}
	}
	slices.SortFunc(all, func(a, b load) int { return strings.Compare(a.Service, b.Service) })
	return all, nil
}

func readLoad(file string) ([]workload.Load, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return workload.ReadLoad(file, f)
}

// readNodes reads a file, or makes nodes of COUNTxGPUS[:FLAVOR],...
func readNodes(from string) ([]sim.Node, error) {
	if from == "" {
		return nil, errors.New("--nodes: must be given, or --from-prometheus: a file with nodes, or 70x8 for 70 nodes with 8 GPUs each")
	}
	nodes, made, err := makeNodes(from)
	if err != nil {
		return nil, fmt.Errorf("--nodes: %w", err)
	}
	if made {
		return nodes, nil
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, fmt.Errorf("--nodes: %w, and %q is not like 70x8 (nodes x GPUs)", err, from)
	}
	defer f.Close()
	if nodes, err = workload.ReadNodes(from, f); err != nil {
		return nil, fmt.Errorf("--nodes: %w", err)
	}
	return nodes, nil
}

// mostNodes bounds what a slip of the finger can ask for.
const mostNodes = 100_000

func makeNodes(from string) (nodes []sim.Node, made bool, err error) {
	for _, word := range strings.Split(from, ",") {
		size, flavor, has := strings.Cut(word, ":")
		if !has {
			flavor = gang.DefaultFlavor
		}
		count, each, is := sizeOf(size)
		if !is {
			return nil, false, nil
		}
		if count < 1 || each < 1 || each > 1024 || int64(len(nodes))+count > mostNodes || flavor == "" {
			return nil, false, fmt.Errorf("%q: must be from 1 to %d nodes, each of 1 to 1024 GPUs", word, mostNodes)
		}
		for range count {
			nodes = append(nodes, sim.Node{Name: fmt.Sprintf("node-%06d", len(nodes)), Units: []sim.NodeUnits{{Flavor: flavor, Count: each}}})
		}
	}
	return nodes, true, nil
}

// sizeOf reads COUNTxGPUS.
func sizeOf(word string) (count, each int64, ok bool) {
	left, right, found := strings.Cut(word, "x")
	count, err := strconv.ParseInt(left, 10, 32)
	if err != nil || !found {
		return 0, 0, false
	}
	each, err = strconv.ParseInt(right, 10, 32)
	return count, each, err == nil
}

// flavorsOf nodes with their units, by name.
func flavorsOf(nodes []sim.Node) (names []string, units map[string]int64) {
	units = map[string]int64{}
	for _, n := range nodes {
		for _, u := range n.Units {
			if _, known := units[u.Flavor]; !known {
				names = append(names, u.Flavor)
			}
			units[u.Flavor] += u.Count
		}
	}
	slices.Sort(names)
	return names, units
}
