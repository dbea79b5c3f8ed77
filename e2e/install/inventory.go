package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// passing are resources whose objects come and go without anybody's doing.
var passing = map[string]bool{
	"events": true, "events.events.k8s.io": true, "endpoints": true, "endpointslices.discovery.k8s.io": true,
	// Made up when they are asked for.
	"componentstatuses": true,
}

// Inventory names every object that an API server lists, of whatever kind: as
// "resource.group namespace/name".
func Inventory(ctx context.Context, config *rest.Config) (map[string]bool, error) {
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	_, lists, err := kinds.ServerGroupsAndResources()
	if err != nil {
		return nil, fmt.Errorf("list the kinds: %w", err)
	}
	all := map[string]bool{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", list.GroupVersion, err)
		}
		for _, kind := range list.APIResources {
			resource := version.WithResource(kind.Name)
			name := strings.TrimSuffix(kind.Name+"."+version.Group, ".")
			if !slices.Contains(kind.Verbs, "list") || strings.Contains(kind.Name, "/") || passing[name] {
				continue
			}
			found, err := objects.Resource(resource).List(ctx, metav1.ListOptions{})
			if gone(err) {
				continue // its definition was just deleted
			}
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", name, err)
			}
			for _, object := range found.Items {
				all[name+" "+object.Namespace+"/"+object.Name] = true
			}
		}
	}
	return all, nil
}

func gone(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) && errors.As(err, &status)
}

// More is what the second inventory has beyond the first.
func More(before, after map[string]bool) []string {
	var more []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if !before[name] {
			more = append(more, name)
		}
	}
	return more
}
