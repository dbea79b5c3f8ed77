package rehearse

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/sim"
	"github.com/ebbtide/ebbtide/broker/workload"
)

// jobFile is a history of jobs, which each run reads anew.
type jobFile struct {
	file    string
	list    []sim.Job // in the place of the file
	options workload.Options
	length  time.Duration
	// Of nodes: units by flavor, and the most that one node has.
	units, largest map[string]int64
	// only is the one flavor that there is; empty if there are several.
	only string
	// tenants are by what jobs call theirs, queues where a tenant's jobs go that name none, and
	// owners the tenants of all queues. Empty: not known yet.
	tenants, queues, owners map[string]string
	// asked is how many jobs of what they call their tenant name which queue.
	asked map[string]map[string]int64
}

// stream is a run's reading of it.
type stream struct {
	*jobFile
	opened io.Closer
	from   sim.Jobs
	// Counts of what was changed and left out.
	moved, tooLarge int
}

func (f *jobFile) open() (*stream, error) {
	if f.file == "" {
		return &stream{jobFile: f, from: sim.List(f.list)}, nil
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, fmt.Errorf("--jobs: %w", err)
	}
	from, err := workload.OpenJobs(f.file, file, f.options)
	if err != nil {
		_ = file.Close() // only read
		return nil, fmt.Errorf("--jobs: %w", err)
	}
	return &stream{jobFile: f, opened: file, from: from}, nil
}

func (s *stream) close() {
	if s.opened != nil {
		_ = s.opened.Close() // only read
	}
}

// Next implements sim.Jobs. Jobs that no cluster of these nodes could run are left out.
func (s *stream) Next() (sim.Job, bool, error) {
	for {
		j, ok, err := s.from.Next()
		if err != nil {
			return j, false, fmt.Errorf("--jobs: %w", err)
		}
		if !ok || j.Submit >= s.length {
			return sim.Job{}, false, nil
		}
		if s.units[j.Flavor] == 0 && s.only != "" {
			s.moved++
			j.Flavor = s.only
		}
		if j.UnitsPerPod > s.largest[j.Flavor] || j.Units() > s.units[j.Flavor] {
			if s.units[j.Flavor] == 0 {
				return j, false, fmt.Errorf("--jobs: job %s asks for flavor %q: no node has any (--nodes has %s)", j.Name, j.Flavor, strings.Join(sorted(s.units), ", "))
			}
			s.tooLarge++
			continue
		}
		if tenant := s.tenants[j.Tenant]; tenant != "" {
			if s.owners[j.Queue] != tenant {
				j.Queue = s.queues[tenant]
			}
			j.Tenant = tenant
		}
		return j, true, nil
	}
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Demand is what the jobs of a tenant ask for.
type Demand struct {
	Tenant    string  `json:"tenant"`
	Jobs      int64   `json:"jobs"`
	UnitHours float64 `json:"unitHours"`
	// Nominal quota, of all flavors.
	Nominal int64 `json:"nominal"`
}

// survey reads all jobs once.
func (f *jobFile) survey() (demand []Demand, notes []string, err error) {
	s, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	defer s.close()
	f.asked = map[string]map[string]int64{}
	byTenant := map[string]*Demand{}
	for {
		j, ok, err := s.Next()
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			break
		}
		d := byTenant[j.Tenant]
		if d == nil {
			d = &Demand{Tenant: j.Tenant}
			byTenant[j.Tenant], f.asked[j.Tenant] = d, map[string]int64{}
		}
		if j.Queue != "" {
			f.asked[j.Tenant][j.Queue]++
		}
		d.Jobs++
		d.UnitHours += float64(j.Units()) * j.Duration.Hours()
	}
	for _, name := range sorted(byTenant) {
		demand = append(demand, *byTenant[name])
	}
	if told, is := s.from.(workload.Jobs); is {
		notes = slices.Clone(told.Notes())
	}
	if s.moved > 0 {
		notes = append(notes, fmt.Sprintf("%d jobs asked for other GPUs, and are given %s", s.moved, s.only))
	}
	if s.tooLarge > 0 {
		notes = append(notes, fmt.Sprintf("%d jobs are larger than these nodes, and are left out", s.tooLarge))
	}
	return demand, notes, nil
}
