package simgpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/mig"
	"github.com/ebbtide/ebbtide/mig/device"
)

// Latency is how long calls take.
type Latency struct {
	Read      time.Duration `json:"read"`
	CreateGI  time.Duration `json:"createGI"`
	CreateCI  time.Duration `json:"createCI"`
	DestroyCI time.Duration `json:"destroyCI"`
	DestroyGI time.Duration `json:"destroyGI"`
}

// DefaultLatency is of the order that is told of real GPUs: about a second for the end
// of a GPU instance, less for all else.
func DefaultLatency() Latency {
	return Latency{
		Read: 5 * time.Millisecond, CreateGI: 300 * time.Millisecond, CreateCI: 50 * time.Millisecond,
		DestroyCI: 50 * time.Millisecond, DestroyGI: time.Second,
	}
}

// Sim is the GPUs of one folder. It is for many callers at a time.
type Sim struct {
	dir   string
	name  string
	sleep func(time.Duration)
	now   func() time.Time

	mu sync.Mutex
	// seen are the instances whose activity was asked for: the first answer is empty.
	seen map[string]bool
}

var (
	_ device.Driver    = (*Sim)(nil)
	_ device.Describer = (*Sim)(nil)
)

// Option changes how a folder is opened.
type Option func(*Sim)

// WithSleep makes calls take their time by fn instead of by the real clock.
func WithSleep(fn func(time.Duration)) Option { return func(s *Sim) { s.sleep = fn } }

// WithClock has the log's times from fn.
func WithClock(fn func() time.Time) Option { return func(s *Sim) { s.now = fn } }

// WithName is who the log says wrote to the GPUs; otherwise "driver".
func WithName(name string) Option { return func(s *Sim) { s.name = name } }

// Create makes a folder with GPUs in it, which must have none, and opens it. Calls take
// DefaultLatency; SetLatency changes that.
func Create(dir string, cards []Card, options ...Option) (*Sim, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create simulated GPUs: %w", err)
	}
	s := newSim(dir, options)
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, stateFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create simulated GPUs: %s has some already", dir)
	}
	t := &tx{state: &state{Latency: DefaultLatency()}, now: s.now(), by: "install"}
	for n, o := range cards {
		c, err := o.build(filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir)), n)
		if err != nil {
			return nil, fmt.Errorf("create simulated GPUs: %w", err)
		}
		t.Cards = append(t.Cards, c)
		if err := t.install(c, o.Layout); err != nil {
			return nil, fmt.Errorf("create simulated GPUs: card %d: %w", n, err)
		}
	}
	return s, s.save(t.state, t.written)
}

// Open opens a folder that Create made.
func Open(dir string, options ...Option) (*Sim, error) {
	s := newSim(dir, options)
	if _, err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

func newSim(dir string, options []Option) *Sim {
	s := &Sim{dir: dir, name: "driver", sleep: time.Sleep, now: time.Now, seen: map[string]bool{}}
	for _, o := range options {
		o(s)
	}
	return s
}

// Describe tells that it is a simulation.
func (s *Sim) Describe(context.Context) (device.Facts, error) {
	return device.Facts{Driver: "simulated", NVML: "simulated", Simulated: true}, nil
}

// Read lists the GPUs.
func (s *Sim) Read(ctx context.Context) ([]device.GPU, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st, err := s.load()
	if err != nil {
		return nil, err
	}
	s.sleep(st.Latency.Read)
	// An answer is of one moment: the state after the time that it took.
	problems := map[string]error{}
	if len(st.Faults) > 0 {
		if err := s.meet(OpRead, "", nil); err != nil {
			return nil, fmt.Errorf("read simulated GPUs: %w", err)
		}
		for _, c := range st.Cards {
			problems[c.UUID] = s.meet(OpRead, c.UUID, nil)
		}
	}
	if st, err = s.load(); err != nil {
		return nil, err
	}
	var gpus []device.GPU
	for _, c := range st.Cards {
		if !c.Removed {
			gpus = append(gpus, c.describe(len(gpus), problems[c.UUID]))
		}
	}
	slices.SortFunc(gpus, func(a, b device.GPU) int { return cmp.Compare(a.UUID, b.UUID) })
	return gpus, nil
}

// describe is what the driver tells of a GPU, or of one that gave an error instead.
func (c *card) describe(index int, problem error) device.GPU {
	g := device.GPU{UUID: c.UUID, PCI: c.PCI, PCIDevice: c.PCIDevice, Product: c.Product, Index: index}
	if c.Lost {
		problem = device.ErrLost
	}
	if problem != nil {
		g.Problem = problem.Error()
		return g
	}
	g.MemoryMiB, g.MIG, g.Pending, g.Capable = c.MemoryMiB, c.MIG, c.Pending, true
	g.Healthy, g.Problem = c.Problem == "", c.Problem
	geometry := c.Geometry
	g.Geometry = &geometry
	if !c.MIG {
		g.Processes = append([]device.Process{}, c.Processes...)
		return g
	}
	g.Instances = []device.Instance{}
	for _, i := range c.Instances {
		g.Instances = append(g.Instances, i.describe())
	}
	slices.SortFunc(g.Instances, func(a, b device.Instance) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Profile, b.Profile))
	})
	return g
}

func (i *instance) describe() device.Instance {
	return device.Instance{
		Placed: i.Placed, GI: i.GI, CI: i.CI, UUID: i.UUID, Whole: i.CI >= 0,
		Processes: append([]device.Process{}, i.Processes...),
	}
}

// Activity is what SetActivity said, where the driver of such a GPU measures it.
func (s *Sim) Activity(ctx context.Context, gpu string, at *mig.Placed) (device.Activity, error) {
	if err := ctx.Err(); err != nil {
		return device.Activity{}, err
	}
	if err := s.meet(OpActivity, gpu, at); err != nil {
		return device.Activity{}, err
	}
	st, err := s.load()
	if err != nil {
		return device.Activity{}, err
	}
	c, err := st.card(gpu)
	if err != nil {
		return device.Activity{}, err
	}
	if at == nil {
		return s.measure(c, gpu, c.Activity, c.Processes, c.Family == Hopper, !c.MIG), nil
	}
	i, err := c.at(*at)
	if err != nil {
		return device.Activity{}, err
	}
	return s.measure(c, fmt.Sprint(gpu, " ", i.Serial), i.Activity, i.Processes, c.Family == Hopper, i.CI >= 0), nil
}

// measure puts together what a driver would: shares by gpm from the second call on,
// memory where there is a device to ask.
func (s *Sim) measure(c *card, key string, shares *Shares, processes []device.Process, gpm, memory bool) device.Activity {
	s.mu.Lock()
	again := s.seen[key]
	s.seen[key] = true // the first call has none before it to compare with
	s.mu.Unlock()
	var a device.Activity
	if memory {
		var used int64
		for _, p := range processes {
			used += p.MemoryMiB
		}
		a.MemoryUsedMiB, a.Source = &used, "nvml"
	}
	if gpm && again && shares != nil {
		a.Graphics, a.SM, a.Tensor, a.DRAM = &shares.Graphics, &shares.SM, &shares.Tensor, &shares.DRAM
		a.Source = "gpm"
	}
	return a
}
