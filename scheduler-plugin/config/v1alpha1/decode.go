package v1alpha1

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// document is EbbtideArgs as it is written.
type document struct {
	APIVersion    string  `json:"apiVersion"`
	Kind          string  `json:"kind"`
	TakeBackAfter *string `json:"takeBackAfter"`
	GangTimeout   *string `json:"gangTimeout"`
	MaxGrace      *string `json:"maxGrace"`
	RestartCost   *string `json:"restartCost"`
}

// Decode reads the plugin's arguments as the scheduler hands them over: nil when
// none are given, else *runtime.Unknown holding JSON. What is absent gets its
// default. The error names the field at fault.
func Decode(obj runtime.Object) (*EbbtideArgs, error) {
	args := Default()
	if obj == nil {
		return &args, nil
	}
	unknown, ok := obj.(*runtime.Unknown)
	if !ok {
		return nil, fmt.Errorf("want args of type %T, got %T", &runtime.Unknown{}, obj)
	}
	var doc document
	if len(unknown.Raw) > 0 {
		if err := yaml.UnmarshalStrict(unknown.Raw, &doc); err != nil {
			return nil, fmt.Errorf("read %s: %w", Kind, err)
		}
	}
	errs := doc.checkType()
	errs = append(errs, duration(field.NewPath("takeBackAfter"), doc.TakeBackAfter, &args.TakeBackAfter)...)
	errs = append(errs, duration(field.NewPath("gangTimeout"), doc.GangTimeout, &args.GangTimeout)...)
	errs = append(errs, duration(field.NewPath("maxGrace"), doc.MaxGrace, &args.MaxGrace)...)
	errs = append(errs, duration(field.NewPath("restartCost"), doc.RestartCost, &args.RestartCost)...)
	if len(errs) == 0 {
		errs = Validate(&args)
	}
	if err := errs.ToAggregate(); err != nil {
		return nil, fmt.Errorf("check %s: %w", Kind, err)
	}
	return &args, nil
}

func (d *document) checkType() field.ErrorList {
	var errs field.ErrorList
	if d.APIVersion != "" && d.APIVersion != GroupVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), d.APIVersion, []string{GroupVersion}))
	}
	if d.Kind != "" && d.Kind != Kind {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), d.Kind, []string{Kind}))
	}
	return errs
}

// duration sets out to what text says; without text, out keeps its default.
func duration(path *field.Path, text *string, out *time.Duration) field.ErrorList {
	if text == nil {
		return nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil {
		return field.ErrorList{field.Invalid(path, *text, `must be a duration such as "30s"`)}
	}
	*out = d
	return nil
}
