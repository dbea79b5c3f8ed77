package ebbtide

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	fwk "k8s.io/kube-scheduler/framework"

	config "github.com/ebbtide/ebbtide/scheduler-plugin/config/v1alpha1"
)

// Factory returns what makes the plugin for each profile of one scheduler. All
// profiles that enable it share one plugin, and so one count of what is used and one
// memory of gangs. Their arguments must be equal, and their filters should be: when
// the plugin asks whether a pod would fit, it asks the first profile.
func Factory() func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	f := &factory{}
	return f.plugin
}

type factory struct {
	mu   sync.Mutex
	made *Ebbtide
	// informers are those of the scheduler for which the plugin was made.
	informers informers.SharedInformerFactory
}

func (f *factory) plugin(ctx context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made != nil && f.informers == handle.SharedInformerFactory() {
		return f.made, f.made.join(obj, handle.ProfileName())
	}
	made, err := newPlugin(ctx, obj, handle)
	if err != nil {
		return nil, err
	}
	f.made, f.informers = made, handle.SharedInformerFactory()
	return made, nil
}

// join makes the plugin serve one more profile.
func (p *Ebbtide) join(obj runtime.Object, profile string) error {
	args, err := config.Decode(obj)
	if err != nil {
		return err
	}
	if *args != p.args {
		return fmt.Errorf("profile %s: the arguments of %s differ from those in profile %s: all profiles share one plugin", profile, Name, p.handle.ProfileName())
	}
	p.profiles.add(profile)
	return nil
}

// profiles are the names of the profiles, beside the first, that the plugin serves.
type profiles struct {
	mu    sync.Mutex
	names []string
}

func (s *profiles) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
}

// list returns the given first name and all others.
func (s *profiles) list(first string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat([]string{first}, s.names)
}
