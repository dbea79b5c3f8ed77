package definition

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
)

// Definition is one version of a kind.
type Definition struct {
	namespaced bool
	schema     *structural.Structural
	fields     validation.SchemaValidator
	// rules take their time to compile, which only those wait for who need them.
	rules func() *cel.Validator
}

// definitions are those of all served versions, read once.
var definitions = sync.OnceValues(read)

// Of is the definition of a kind's version. Its error says that there is none.
func Of(kind schema.GroupVersionKind) (*Definition, error) {
	all, err := definitions()
	if err != nil {
		return nil, fmt.Errorf("reading the definitions: %w", err)
	}
	if d := all[kind]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("apiVersion: there is no kind %s in version %s", kind.Kind, kind.GroupVersion())
}

func read() (map[schema.GroupVersionKind]*Definition, error) {
	manifests, err := deploy.Manifests()
	if err != nil {
		return nil, err
	}
	all := map[schema.GroupVersionKind]*Definition{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil || crd.Kind != "CustomResourceDefinition" {
			continue // of another kind, whose fields may be of other types
		}
		for _, v := range crd.Spec.Versions {
			if !v.Served {
				continue
			}
			kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: crd.Spec.Names.Kind}
			if all[kind], err = define(&v); err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			all[kind].namespaced = crd.Spec.Scope == apiextensionsv1.NamespaceScoped
		}
	}
}

// define prepares a version as the API server does that serves it.
func define(v *apiextensionsv1.CustomResourceDefinitionVersion) (*Definition, error) {
	var given apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &given, nil); err != nil {
		return nil, fmt.Errorf("converting the schema: %w", err)
	}
	s, err := structural.NewStructural(&given)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	s = s.DeepCopy() // defaults are shared with what was given
	if err := defaulting.PruneDefaults(s); err != nil {
		return nil, fmt.Errorf("reading the defaults: %w", err)
	}
	fields, _, err := validation.NewSchemaValidator(&given)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return &Definition{
		schema: s, fields: fields,
		rules: sync.OnceValue(func() *cel.Validator { return cel.NewValidator(s, true, celconfig.PerCallLimit) }),
	}, nil
}
